"""The converter's benchmark, at small size: where CPU time goes, and what is said to bound it."""

import threading
import time
from dataclasses import replace
from pathlib import Path

from restac_ros.bench.conversion import (
    ConversionFigures,
    make_bags,
    measure_conversion,
    part_of,
)
from restac_ros.bench.cpu_profile import CpuProfile, StackCall
from restac_ros.bench.settings import ConvertBench
from restac_ros.bench.table import missed_targets
from restac_ros.contract.load import load_contract
from restac_ros.dataset.bag.bag_reader import open_bag
from restac_ros.dataset.fingerprint import fingerprint

FIGURES = ConversionFigures(
    bags=1, workers=2, cores=2, bag_mb=900.0, episode_s=10.0, wall_s=1.0, cpu_s=1.9, memory_peak_mb=1.0,
    parts={'encode': 3.0, 'read': 1.0}, load_average=0.0,
)  # fmt: skip


def test_it_measures_the_command_and_its_parts(slow_contract_file: Path, tmp_path: Path) -> None:
    settings = ConvertBench(1.5, 2, 1, '64x48')
    bags = make_bags(settings, load_contract(slow_contract_file), tmp_path)
    assert len({fingerprint(bag) for bag in bags}) == 2
    assert all(open_bag(bag).notes == [] for bag in bags)
    figures = measure_conversion(bags[:1], slow_contract_file, 1, tmp_path)
    assert figures.episode_s > 1
    assert figures.cpu_s > 0
    assert {'load libraries', 'decode and letterbox', 'encode'} <= set(figures.parts)


def test_what_bounds_it() -> None:
    assert missed_targets(FIGURES.rows) == []
    assert FIGURES.bound == 'the CPU, 1.90 of 2 cores busy; most in: encode (75%)'
    slow = replace(FIGURES, wall_s=4.0)
    assert 'only 0.47 of 2 cores busy' in slow.bound
    assert missed_targets(slow.rows) == ['speed: 2.5 x real time, expected >= 5.0 x real time']


def test_a_stack_belongs_to_the_innermost_part() -> None:
    inside = StackCall('/any/restac_ros/framing/decode.py', 'decode_image')
    assert part_of(
        [StackCall('/lib/cv2.py', 'x'), inside, StackCall('/any/restac_ros/dataset/writer.py', 'add')]
    ) == ('decode and letterbox')
    assert part_of([StackCall('/elsewhere/decode.py', 'decode_image')]) == 'other'


def test_cpu_time_goes_to_what_a_thread_is_doing() -> None:
    def burn() -> None:
        end_s = time.thread_time() + 0.3
        while time.thread_time() < end_s:
            sum(range(1000))

    def classify(stack: list[StackCall]) -> str:
        return 'burning' if any(call.function == 'burn' for call in stack) else 'else'

    with CpuProfile(classify) as profile:
        worker = threading.Thread(target=burn)
        worker.start()
        worker.join()
    assert profile.seconds['burning'] > 0.1
    assert profile.seconds['burning'] > 5 * profile.seconds['else']

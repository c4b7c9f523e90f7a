"""The benchmarks of training, at small size: they run, and hold what they find against the targets."""

from dataclasses import replace
from pathlib import Path

import pytest

from micro import MICRO, add_micro_preset
from restac_ros.bench.loader import LoaderFigures, measure_loader
from restac_ros.bench.settings import LoaderBench, TrainBench
from restac_ros.bench.table import missed_targets
from restac_ros.bench.training import TrainingFigures, measure_training
from restac_ros.bench.training_data import record_dataset, write_numbers
from restac_ros.contract.load import load_contract

LOADER = LoaderFigures(
    samples_per_s=500.0, decode_samples_per_s=600.0, ratio=1.2, cpu_ratio=1.1, ratios=(1.2,), threads=4,
    workers=0, cores=2, stats_rows=1_000_000, stats_s=20.0, load_average=0.0,
)  # fmt: skip
TRAINING = TrainingFigures(
    step_s=2.0, bare_s=2.0, ratio=1.0, ratios=(1.0,), data_wait=0.01, save_s=4.0, save_blocked_s=1.0,
    compile_s=9.0, load_average=0.0,
)  # fmt: skip


@pytest.fixture(scope='module')
def recorded(slow_contract_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record_dataset(tmp_path_factory.mktemp('bench'), load_contract(slow_contract_file), 1.5, 1)


def test_it_loads_and_decodes_the_same_samples(recorded: Path, tmp_path: Path) -> None:
    numbers = write_numbers(tmp_path / 'numbers', recorded, 1200)
    figures = measure_loader(recorded, numbers, LoaderBench(samples=32, rounds=1, threads=1, rows=1200))
    assert figures.samples_per_s > 0
    assert figures.ratio > 0
    assert len(figures.ratios) == 1
    assert figures.stats_s > 0


def test_it_trains_waits_and_saves(recorded: Path, tmp_path: Path) -> None:
    add_micro_preset()
    settings = TrainBench(MICRO, batch_size=2, rounds=1, steps=3, workers=0)
    figures = measure_training(recorded, tmp_path / 'run', settings)
    assert figures.ratio == pytest.approx(figures.step_s / figures.bare_s)
    assert 0 <= figures.data_wait < 1
    assert figures.save_s >= figures.save_blocked_s > 0


def test_targets_are_held() -> None:
    assert missed_targets(LOADER.rows) == missed_targets(TRAINING.rows) == []
    slow = replace(LOADER, samples_per_s=399.0, ratio=1.6, stats_s=61.0)
    assert missed_targets(slow.rows) == [
        'samples/s: 3 views, touch, state: 399, expected >= 400',
        'time, ratio to the plain decode: 1.60, expected <= 1.50',
        'statistics of 1,000,000 frames: 61.0 s, expected <= 60.0 s',
    ]
    assert missed_targets(replace(LOADER, stats_rows=1000, stats_s=61.0).rows) == []
    waiting = replace(TRAINING, ratio=1.06, data_wait=0.04, save_s=9.0)
    assert missed_targets(waiting.rows) == [
        'ratio of the two: 1.060, expected <= 1.050',
        'waiting for data: 4.0%, expected <= 3.0%',
        'saving every 200 steps: 2.25%, expected <= 2.00%',
    ]

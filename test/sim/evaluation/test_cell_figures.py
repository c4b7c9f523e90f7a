"""Figures over attempts: shares, pairs of the same scenes, gate and surprise."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from restac_ros.sim.cell.intervals import paired_difference, wilson_interval
from restac_ros.sim.cell.parameters import CellError
from restac_ros.sim.evaluation.attempt_record import AttemptRecord, FeltFrames, read_record, write_record
from restac_ros.sim.evaluation.cell_figures import ALIGNED_M, cell_figures, contact_to_gate_ms
from restac_ros.sim.evaluation.cell_report import COLUMNS, CellReport
from restac_ros.sim.evaluation.machine import Machine
from restac_ros.sim.evaluation.settings import SimEvaluationConfig

NAMES = ('touching', 'as it is')


def record(seed: int, success: bool, miss_m: float = 0.003) -> AttemptRecord:
    """In contact from 2 s on, where the gate opens a frame later."""
    time_s = np.arange(0, 4, 1 / 18)
    contact = time_s >= 2
    gate = np.where(np.roll(contact, 1) & contact, 0.9, 0.1)
    logvar = np.where(contact, 0.0, -2.0) + 0.01 * np.sin(time_s)
    felt = FeltFrames(
        time_s.tolist(), (time_s + 0.03).tolist(), contact.tolist(), gate.tolist(), logvar.tolist(),
        np.exp(logvar).tolist(),
    )  # fmt: skip
    return AttemptRecord(
        seed=seed,
        success=success,
        seconds=4.0,
        touched_s=2.0,
        inserted_s=3.0 if success else None,
        contact_share=0.5,
        peak_n=6.0 + seed,
        mean_n=3.0,
        touch_miss_m=miss_m,
        miss_m=0.0,
        halted='',
        dropped=False,
        refused=0,
        chunks=30,
        triggered=2,
        held=10,
        hold_reasons={'touch pending': 10},
        felt=felt,
    )


def test_figures_are_those_of_the_attempts() -> None:
    made = [record(0, True), record(1, False, ALIGNED_M + 0.001), record(2, False), record(3, True)]
    before = [replace(one, success=False) for one in made]
    found = cell_figures(NAMES, made, None, before, 0)
    assert found.success == (0.5, *wilson_interval(2, 4))
    assert found.aligned.value == 0.75
    assert found.inserted_if_aligned.value == pytest.approx(2 / 3)
    assert (found.interaction_s.count, found.interaction_s.median) == (2, 1.0)
    assert (found.peak_n.median, found.peak_n.largest) == (7.5, 9.0)
    assert found.held_share == 0.25
    assert found.against_first is None
    assert found.against_as_it_is.value == 0.5
    assert found.gate.auroc.value > 0.95
    assert found.gate.rise.median_ms == pytest.approx(1000 / 18)
    # In contact from the frame at 2.0 s on; the gate opens with the next, and is known 30 ms later.
    assert found.contact_to_gate.median_ms == pytest.approx(1000 / 18 + 30)
    assert (found.contact_to_gate.contacts, len(found.contact_to_gate.latencies_ms)) == (4, 4)
    assert found.surprise.mean_ratio == pytest.approx(1.0)
    assert found.surprise.rank_correlation == pytest.approx(1.0)


def opening(seed: int, opens_s: float) -> AttemptRecord:
    """As `record`, with a gate that opens at a time."""
    made = record(seed, True)
    gate = np.where(np.array(made.felt.time_s) >= opens_s, 0.9, 0.1).tolist()
    return replace(made, felt=replace(made.felt, gate=gate))


def risen(opens_s: Sequence[float]) -> dict[str, str]:
    """The row of attempts whose gates open at these times."""
    found = cell_figures(NAMES, [opening(*one) for one in enumerate(opens_s)], None, None, 0)
    report = CellReport(
        '', '', Machine('', ''), {}, '', '', SimEvaluationConfig(), [], [found], {}, None, []
    )  # fmt: skip
    return dict(zip(COLUMNS, next(report.rows()), strict=True))


def test_a_gate_that_was_open_before_the_contact_has_no_time_and_is_counted() -> None:
    assert contact_to_gate_ms(opening(0, 1.0), 0.5) is None
    assert contact_to_gate_ms(opening(0, 9.0), 0.5) is None
    assert contact_to_gate_ms(opening(0, 2.2), 0.5) == pytest.approx(40 / 18 * 1000 - 2000 + 30)
    row = risen([2.2] * 4 + [1.0] * 6)
    assert row['rise [ms]'] == '222 (4 of 10; 6 open before, 0 never)'
    assert row['contact to gate [ms]'] == '252 (4 of 10; 6 open before, 0 never)'


def test_a_gate_that_never_opens_is_counted() -> None:
    row = risen([2.2] * 3 + [9.0] * 7)
    assert row['rise [ms]'] == '222 (3 of 10; 0 open before, 7 never)'
    assert row['contact to gate [ms]'] == '252 (3 of 10; 0 open before, 7 never)'
    assert risen([2.2] * 10)['contact to gate [ms]'] == '252 (10 of 10)'
    assert risen([9.0] * 10)['contact to gate [ms]'] == '', 'no more open in contact than in free space'


def test_without_touch_there_are_no_figures_of_touch() -> None:
    made = [replace(record(seed, True), felt=FeltFrames()) for seed in range(3)]
    found = cell_figures(NAMES, made, made, None, 0)
    assert found.gate is None
    assert found.surprise is None
    assert found.against_first.value == 0.0


def successes(both: int, only_first: int, only_second: int, neither: int) -> tuple[list[bool], list[bool]]:
    first = [True] * (both + only_first) + [False] * (only_second + neither)
    second = [True] * both + [False] * only_first + [True] * only_second + [False] * neither
    return first, second


def test_a_difference_of_pairs_without_correlation_adds_the_squares_of_wilsons_intervals() -> None:
    first, second = successes(6, 5, 3, 4)  # 6 * 4 - 5 * 3 is half of 18: nothing after the correction
    found = paired_difference(first, second)
    (low_1, high_1), (low_2, high_2) = wilson_interval(11, 18), wilson_interval(9, 18)
    assert found.value == pytest.approx(-2 / 18)
    assert found.low == pytest.approx(-2 / 18 - np.hypot(9 / 18 - low_2, high_1 - 11 / 18))
    assert found.high == pytest.approx(-2 / 18 + np.hypot(high_2 - 9 / 18, 11 / 18 - low_1))


def test_pairs_that_agree_make_the_interval_narrower_and_mcnemar_counts_those_that_do_not() -> None:
    first, second = successes(20, 12, 2, 16)
    found, turned = paired_difference(first, second), paired_difference(second, first)
    assert (found.only_first, found.only_second) == (12, 2)
    assert found.p_value == pytest.approx(2 * (1 + 14 + 91) / 2**14)
    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low))
    apart = paired_difference(*successes(10, 22, 12, 6))  # the same shares of successes
    assert apart.value == found.value
    assert apart.high - apart.low > found.high - found.low
    same = paired_difference([True, True, False], [True, True, False])
    assert same.low < 0 < same.high
    assert same.p_value == 1.0
    with pytest.raises(ValueError, match='expected the same scenes'):
        paired_difference([True], [True, False])


def test_a_record_is_read_as_it_was_written_and_only_for_what_it_is_of(tmp_path: Path) -> None:
    path, made = tmp_path / 'a' / '3.json', record(3, True)
    assert read_record(path, 'this') is None
    write_record(made, 'this', path)
    assert read_record(path, 'this') == made
    assert [file.name for file in path.parent.iterdir()] == ['3.json']
    with pytest.raises(CellError, match="found 'this', expected 'that'; give another --to"):
        read_record(path, 'that')
    path.write_text('{"identity": "this", "seed": 3}')
    with pytest.raises(CellError, match='is no record of an attempt'):
        read_record(path, 'this')

"""When a gate's rise triggers a replan: against a table of what should happen, and what can never happen."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restac_ros.runtime.surprise import SurpriseRule, SurpriseTrigger

MS = 10**6


def rises(gates: list[float], rule: SurpriseRule, period_ns: int = 50 * MS) -> list[int]:
    """At which of these gates, evenly spaced, a replan is triggered."""
    trigger = SurpriseTrigger(rule)
    return [index for index, gate in enumerate(gates) if trigger.rises(gate, index * period_ns)]


@pytest.mark.parametrize(
    ('gates', 'expected'),
    [
        ([0.1, 0.7], [1]),
        ([0.1, 0.6], []),  # up to the threshold is not above it
        ([0.1, 0.7, 0.8, 0.9], [1]),
        ([0.1, 0.7, 0.5, 0.7], [1]),  # never came down to the release level
        ([0.1, 0.7, 0.4, 0.7], [1, 3]),
        ([0.9, 0.8, 0.9], []),  # high from the beginning: did not rise
        ([0.5, 0.7], [1]),  # above the release level at first, but not above the threshold
        ([0.9, 0.5, 0.9, 0.3, 0.9], [4]),
        ([], []),
    ],
)
def test_a_rise_through_the_threshold_triggers_once(gates: list[float], expected: list[int]) -> None:
    assert rises(gates, SurpriseRule(0.6, 0.4, 0)) == expected


def test_a_rise_too_soon_waits_until_the_interval_is_over_if_the_gate_stays_high() -> None:
    rule = SurpriseRule(0.6, 0.4, 200 * MS)
    assert rises([0.1, 0.9, 0.1, 0.9, 0.9, 0.9, 0.9], rule) == [1, 5]
    assert rises([0.1, 0.9, 0.1, 0.9, 0.1, 0.1, 0.1], rule) == [1]


def test_a_threshold_of_one_switches_it_off() -> None:
    assert rises([0.0, 1.0, 0.0, 1.0], SurpriseRule(1.0, 0.0, 0)) == []


def test_a_new_run_knows_nothing_of_the_one_before() -> None:
    rule = SurpriseRule(0.6, 0.4, 500 * MS)
    assert rises([0.1, 0.9], rule) == rises([0.1, 0.9], rule) == [1]


@pytest.mark.parametrize('gate', [math.nan, math.inf, -0.1, 1.1])
def test_what_is_no_gate_raises_and_changes_nothing(gate: float) -> None:
    trigger = SurpriseTrigger(SurpriseRule(0.6, 0.4, 0))
    assert not trigger.rises(0.1, 0)
    with pytest.raises(ValueError, match='expected a number from 0 to 1'):
        trigger.rises(gate, 1)
    assert trigger.rises(0.9, 2)


@given(
    gates=st.lists(st.floats(0, 1), max_size=60),
    levels=st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted),
    interval=st.integers(0, 5),
)
def test_whatever_the_gates_do_triggers_are_apart_above_and_released_between(
    gates: list[float], levels: list[float], interval: int
) -> None:
    release, threshold = levels
    found = rises(gates, SurpriseRule(threshold, release, interval), period_ns=1)
    assert all(gates[index] > threshold for index in found)
    for before, after in itertools.pairwise(found):
        assert after - before >= interval
        assert min(gates[before:after]) <= release

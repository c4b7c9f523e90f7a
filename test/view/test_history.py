"""Recent values, the policy's time and the tool's trail: bounded, ordered, anew when time is set back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from restac_ros.view.history import MAX_POINTS, MAX_ROWS, SPACING_M, History, Timeline, Trail

S = 10**9


@given(st.lists(st.integers(0, 60 * S), max_size=60), st.integers(0, 70 * S))
def test_history_is_the_newest_run_within_the_span(stamps: list[int], now_ns: int) -> None:
    """Against the plain reading of its docstring: late rows left out, much earlier ones begin anew."""
    history, kept = History(['value'], 20 * S), []
    for number, stamp in enumerate(stamps):
        history.append(stamp, number)
        if kept and stamp < kept[-1][0]:
            if kept[-1][0] - stamp < S:
                continue
            kept = []
        kept.append((stamp, number))
    times, columns = history.since(now_ns)
    newest = kept[-1][0] if kept else 0
    expected = [row for row in kept if max(now_ns, newest) - 20 * S <= row[0] <= now_ns]
    np.testing.assert_allclose(times, [(stamp - now_ns) / S for stamp, _ in expected])
    assert columns['value'].tolist() == [number for _, number in expected]
    assert (np.diff(times) >= 0).all()


def test_history_is_bounded_whatever_arrives() -> None:
    history = History(['value'], 20 * S)
    for i in range(3 * MAX_ROWS):
        history.append(i, float(i))
    assert len(history) == MAX_ROWS
    assert history.since(3 * MAX_ROWS)[1]['value'].tolist() == list(range(2 * MAX_ROWS, 3 * MAX_ROWS))
    with pytest.raises(ValueError, match='found 2 values'):
        history.append(0, 1.0, 2.0)


def test_time_goes_on_when_messages_stop() -> None:
    timeline = Timeline()
    assert timeline.now_ns(5 * S) is None
    assert timeline.observe(100 * S, 5 * S) is False
    assert timeline.now_ns(7 * S) == 102 * S
    assert timeline.observe(100 * S - 1, 6 * S) is False  # a late message moves nothing
    assert timeline.now_ns(7 * S) == 102 * S


def test_a_bag_that_begins_anew_sets_time_back() -> None:
    timeline = Timeline()
    timeline.observe(100 * S, 5 * S)
    assert timeline.observe(90 * S, 6 * S) is True
    assert timeline.now_ns(6 * S) == 90 * S


def test_the_trail_is_thin_recent_and_bounded() -> None:
    trail = Trail(20 * S)
    for i in range(3 * MAX_POINTS):
        trail.append(i * S // 100, np.array([i * SPACING_M * 1.01, 0, 0]), i)
    positions, gates = trail.path()
    assert len(positions) == MAX_POINTS
    assert gates[-1] == 3 * MAX_POINTS - 1
    for _ in range(50):
        trail.append(12 * S, positions[-1] + 0.1 * SPACING_M, 0.0)
    assert len(trail.path()[0]) == MAX_POINTS  # standing still adds nothing
    trail.append(40 * S, positions[-1] + 1.0, 0.5)
    assert len(trail.path()[0]) == 1  # the rest is older than the span


def test_a_trail_keeps_its_own_copy() -> None:
    position, trail = np.zeros(3), Trail(S)
    trail.append(0, position, 0.0)
    position += 1
    assert trail.path()[0].tolist() == [[0, 0, 0]]

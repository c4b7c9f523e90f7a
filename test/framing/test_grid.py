"""The grid has no drift."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restac_ros.framing.grid import Grid

rates = st.integers(1, 120)
starts = st.integers(0, 2 * 10**18)


@pytest.mark.parametrize('fps', [7, 15, 30, 60])
def test_no_drift_over_ten_hours(fps):
    start = 1_760_000_000_123_456_789
    grid = Grid(start, fps)
    for hour in range(11):
        assert grid.tick_ns(hour * 3600 * fps) == start + hour * 3600 * 10**9


@given(start=starts, fps=rates, index=st.integers(0, 10**8))
def test_ticks_are_within_a_nanosecond_of_the_exact_time(start, fps, index):
    exact = start * fps + index * 10**9
    assert 0 <= exact - Grid(start, fps).tick_ns(index) * fps < fps

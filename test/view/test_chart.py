"""The strip chart: values land where its axes say, gaps stay gaps, nothing breaks it."""

from collections.abc import Callable

import numpy as np
import pytest

from restac_ros.view.chart import (
    CHUNK_COLUMNS,
    DASHED,
    FILL,
    GATE_COLUMNS,
    HEIGHT_PX,
    LEFT_PX,
    RIGHT_PX,
    TOUCH_COLUMNS,
    WIDTH_PX,
    Axis,
    Story,
    strip_chart,
)
from restac_ros.view.colours import GREEN, INVALID, ORANGE, TEXT, gate_colours
from restac_ros.view.history import History

S = 10**9
RIGHT_EDGE = WIDTH_PX - RIGHT_PX
SPAN_S = 20.0


@pytest.fixture
def chart() -> Callable[..., np.ndarray]:
    """Draws gates given as (seconds before now, gate) and further columns."""

    def draw(
        rows: list[tuple[float, float]],
        chunks: list[float] = (),
        logvar: float = 0.5,
        touches: list[tuple[float, float]] = (),
        triggered: bool = False,
        **story,
    ) -> np.ndarray:
        columns = GATE_COLUMNS, CHUNK_COLUMNS, TOUCH_COLUMNS
        gate_history, chunk_history, touch_history = (History(names, 20 * S) for names in columns)
        for seconds, gate in rows:
            gate_history.append(100 * S + round(seconds * S), gate, logvar, 9.0, 60.0)
        for seconds in chunks:
            chunk_history.append(100 * S + round(seconds * S), 0.5, 30.0, 90.0, triggered)
        for seconds, change in touches:
            touch_history.append(100 * S + round(seconds * S), change)
        recent = (history.since(100 * S) for history in (gate_history, chunk_history, touch_history))
        return strip_chart(*recent, SPAN_S, Story(**story))

    return draw


def column(seconds: float) -> int:
    return round(RIGHT_EDGE + seconds / SPAN_S * (RIGHT_EDGE - LEFT_PX))


def steady(gate: float, start: float = -19.9, end: float = 0.0) -> list[tuple[float, float]]:
    return [(t, gate) for t in np.arange(start, end, 0.06)]


def panel_rows(image: np.ndarray, at: int) -> np.ndarray:
    """Rows of the gate's panel in which column `at` is filled, by comparing with an empty chart."""
    return np.flatnonzero((image[:, at] != image[:, LEFT_PX + 1]).any(axis=-1))


@pytest.mark.parametrize('gate', [0.25, 0.5, 0.9])
def test_the_area_under_the_gate_is_as_high_as_the_gate_and_of_its_colour(
    gate: float, chart: Callable
) -> None:
    image, empty = chart(steady(gate)), chart([])
    at = column(-9.7)
    changed = np.flatnonzero((image[:, at] != empty[:, at]).any(axis=-1))
    top, bottom = _gate_panel()
    rows = changed[(changed >= top) & (changed <= bottom)]
    assert len(rows) == pytest.approx(gate * (bottom - top), abs=3)
    fill = (gate_colours(gate) * FILL).astype(np.uint8)
    assert (image[rows[len(rows) // 2], at] == fill).all()
    # Its upper edge is the curve itself; antialiased, hence within a pixel.
    assert (np.abs(image[rows[0] : rows[0] + 3, at].astype(int) - TEXT).max(axis=-1) < 120).any()


def _gate_panel() -> tuple[int, int]:
    from restac_ros.view.chart import _panels

    return _panels()[0]


def test_gaps_and_unknown_values_are_not_bridged(chart: Callable) -> None:
    empty = chart([])
    top, bottom = _gate_panel()
    gap = chart(steady(0.8, -19.9, -12.0) + steady(0.8, -6.0, 0.0))
    nan = chart(steady(0.8, -19.9, -12.0) + steady(np.nan, -12.0, -6.0) + steady(0.8, -6.0, 0.0))
    for image in (gap, nan):
        np.testing.assert_array_equal(image[top:bottom, column(-9.0)], empty[top:bottom, column(-9.0)])
        assert (image[top:bottom, column(-15.0)] != empty[top:bottom, column(-15.0)]).any()
        assert (image[top:bottom, column(-3.0)] != empty[top:bottom, column(-3.0)]).any()


def test_what_is_older_than_the_span_has_left_the_chart(chart: Callable) -> None:
    np.testing.assert_array_equal(chart([(-25.0, 0.9), (-22.0, 0.9)]), chart([]))


def test_chunks_leave_ticks(chart: Callable) -> None:
    image = chart([], chunks=[-10.0])
    _, bottom = _gate_panel()
    assert (image[bottom - 2, column(-10.0)] == TEXT).all()
    assert not (image[bottom - 2, column(-11.0)] == TEXT).all()


@pytest.mark.parametrize('logvar', [0.0, 2.9, -8.0, 1e4, 1e30, np.nan, np.inf])
def test_any_logvar_can_be_drawn(logvar: float, chart: Callable) -> None:
    image = chart(steady(0.5), chunks=[-1.0, -0.5], logvar=logvar)
    assert image.shape == (HEIGHT_PX, WIDTH_PX, 3)
    assert image.dtype == np.uint8


def test_a_problem_is_written_on_it(chart: Callable) -> None:
    assert (chart(steady(0.5), problem='no gate for 2.0 s') != chart(steady(0.5))).any()


def test_the_gates_lines_are_drawn_where_its_axis_says(chart: Callable) -> None:
    image, (top, bottom) = chart([], gate_lines=(0.6, 0.4)), _gate_panel()
    for value in (0.6, 0.4):
        row = round(bottom - value * (bottom - top))
        assert (image[row, LEFT_PX + 1 : RIGHT_EDGE - 8] == DASHED).all(axis=-1).mean() > 0.4
    assert not (chart([])[top:bottom, LEFT_PX + 1 : RIGHT_EDGE] == DASHED).all(axis=-1).any()


def test_a_chunk_that_touch_triggered_is_marked_over_the_whole_panel(chart: Callable) -> None:
    (top, bottom), at = _gate_panel(), column(-10.0)
    assert (chart([], chunks=[-10.0], triggered=True)[top + 9 : bottom, at] == ORANGE).all()
    assert not (chart([], chunks=[-10.0])[top : bottom + 1, at] == ORANGE).all(axis=-1).any()


def test_touch_is_drawn_over_time_with_its_contact_level(chart: Callable) -> None:
    from restac_ros.view.chart import _panels

    top, bottom = _panels()[1]
    quiet = chart([], touches=[(t, 1.0) for t in np.arange(-10, 0, 0.1)], contact_level=6.0)
    pressed = chart([], touches=[(t, 18.0) for t in np.arange(-10, 0, 0.1)], contact_level=6.0)

    def height(image: np.ndarray) -> int:
        away = np.abs(image[top : bottom + 1, column(-5.0)].astype(int) - GREEN).max(axis=-1)
        curve = away < 60
        return bottom - top - int(np.flatnonzero(curve)[0])

    assert height(quiet) < 0.3 * (bottom - top) < 0.8 * (bottom - top) < height(pressed)
    row = round(bottom - 6.0 / 20.0 * (bottom - top))
    assert (quiet[row, LEFT_PX + 1 : RIGHT_EDGE - 8] == DASHED).all(axis=-1).mean() > 0.4


def test_prompt_checkpoint_and_why_it_holds_are_written_above_and_never_over_the_edge(
    chart: Callable,
) -> None:
    lines = (('prompt: ' + 'press the button ' * 20, TEXT), ('held: joints missing', INVALID))
    image = chart(steady(0.5), headlines=lines)
    assert (image[:18] != chart(steady(0.5))[:18]).any()
    assert (image[:18, -8:] == chart([])[:18, -8:]).all()


def test_an_empty_chart_before_the_first_message(chart: Callable) -> None:
    assert chart([], problem='no gate yet').shape == (HEIGHT_PX, WIDTH_PX, 3)


def test_axes_map_linearly_and_logarithmically_and_keep_what_exceeds_them_inside() -> None:
    linear = Axis(10, 110, 0.0, 1.0)
    np.testing.assert_allclose(linear.rows(np.array([0, 0.25, 1, 7, -1])), [110, 85, 10, 10, 110])
    decades = Axis(10, 110, 1.0, 100.0, logarithmic=True)
    np.testing.assert_allclose(decades.rows(np.array([1, 10, 100, 0, 1e9])), [110, 60, 10, 110, 10])
    assert np.isnan(linear.rows(np.nan))

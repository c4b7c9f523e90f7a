"""The strip chart: gate, touch, log-variance and latencies of the last seconds, in a few milliseconds."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np

from restac_ros.view.colours import FAINT, GREEN, INVALID, ORANGE, PANEL, PINK, SKY, TEXT, gate_colours
from restac_ros.view.drawing import LINE_PX, SMALL_PX, canvas, fitted, put_text, text_width_px

WIDTH_PX, HEIGHT_PX = 620, 470
LEFT_PX, RIGHT_PX, BOTTOM_PX, TITLE_PX = 46, 140, 22, 17
HEADLINES = 3  # lines above the panels
TOP_PX = 4 + HEADLINES * LINE_PX
GAP_S = 0.6  # a line is interrupted where nothing came for longer
FILL = 0.45  # brightness of the area under the gate
GRID, DASHED = (62, 62, 62), (190, 190, 140)
MIN_LOGVAR_SD = 3.0
MIN_CHANGE = 20.0  # grey levels
LATENCY_MS = (1.0, 1000.0)

GATE_COLUMNS = ('gate', 'logvar_standardised', 'touch_ms', 'tactile_age_ms')
CHUNK_COLUMNS = ('gate', 'act_ms', 'prefix_age_ms', 'triggered')
TOUCH_COLUMNS = ('change',)
TITLES = (
    'gate: share of touch let into the action',
    'touch: change of the gel image against one without contact [grey levels]',
    'log-variance: how unsure vision is of what touch will feel [standard deviations]',
    'durations and ages [ms]',
)
Colour = tuple[int, int, int]
Recent = tuple[np.ndarray, dict[str, np.ndarray]]  # times in s before now, and values by column


@dataclass(frozen=True)
class Axis:
    """A panel's place and scale: value `low` lies at row `bottom`, `high` at row `top`."""

    top: int
    bottom: int
    low: float
    high: float
    logarithmic: bool = False

    def rows(self, values: np.ndarray | float) -> np.ndarray:
        """Return rows, px, of values [N], kept within the panel; NaN stays NaN."""
        shown = np.clip(np.asarray(values, dtype=np.float64), self.low, self.high)
        low, high = self.low, self.high
        if self.logarithmic:
            shown, low, high = np.log10(shown), np.log10(low), np.log10(high)
        return self.bottom - (shown - low) / (high - low) * (self.bottom - self.top)


@dataclass(frozen=True)
class Line:
    """One curve: times in s before now, values in the panel's unit, and its legend."""

    name: str
    times_s: np.ndarray
    values: np.ndarray
    colour: tuple[int, int, int]
    text: str


class Story(NamedTuple):
    """What a chart shows besides its curves.

    gate_lines:    values above which a chunk is planned at once, and down to which the gate must come before
                   that can happen again; empty where none is known
    contact_level: change of the gel image from which on there is contact, grey levels
    headlines:     prompt, checkpoint, and whether the policy acts, with the colour of each
    problem:       why no more gates come
    """

    gate_lines: tuple[float, ...] = ()
    contact_level: float | None = None
    headlines: tuple[tuple[str, Colour], ...] = ()
    problem: str = ''


def strip_chart(gates: Recent, chunks: Recent, touches: Recent, span_s: float, story: Story) -> np.ndarray:
    """The chart as uint8 [HEIGHT_PX, WIDTH_PX, 3] RGB.

    gates, chunks, touches: times in s before now, and columns, of GATE_COLUMNS, CHUNK_COLUMNS, TOUCH_COLUMNS
    """
    (gate_times, gate), (chunk_times, chunk), (touch_times, touch) = gates, chunks, touches
    change, logvar = touch['change'], gate['logvar_standardised']
    sd = _limit(np.abs(logvar), MIN_LOGVAR_SD)
    top_change = _limit(change, max(2 * (story.contact_level or 0.0), MIN_CHANGE))
    scales = ((0.0, 1.0), (0.0, top_change), (-sd, sd), LATENCY_MS)
    axes = tuple(
        Axis(*place, *scale, logarithmic=scale is LATENCY_MS)
        for place, scale in zip(_panels(), scales, strict=True)
    )
    image = _background(axes, span_s, story.gate_lines, story.contact_level).copy()
    _fill_under_gate(image, axes[0], gate_times, gate['gate'], span_s)
    _mark_chunks(image, axes[0], _columns(chunk_times, span_s), chunk['triggered'] > 0)
    latencies = [
        ('act', chunk_times, chunk['act_ms'], ORANGE),
        ('touch', gate_times, gate['touch_ms'], SKY),
        ('prefix age', chunk_times, chunk['prefix_age_ms'], PINK),
        ('tactile age', gate_times, gate['tactile_age_ms'], GREEN),
    ]
    panels = [
        [Line('gate', gate_times, gate['gate'], TEXT, _last('{:.2f}', gate['gate']))],
        [Line('change', touch_times, change, GREEN, _last('{:.0f}', change))],
        [Line('log-variance', gate_times, logvar, SKY, _last('{:+.1f} sd', logvar))],
        [Line(name, times, ms, colour, _last('{:.0f} ms', ms)) for name, times, ms, colour in latencies],
    ]
    for axis, lines in zip(axes, panels, strict=True):
        _draw(image, axis, lines, span_s)
    _legend_of_chunks(image, axes[0], len(chunk_times), int((chunk['triggered'] > 0).sum()))
    for number, (text, colour) in enumerate(story.headlines[:HEADLINES]):
        put_text(image, fitted(text, WIDTH_PX - 16), 8, 14 + number * LINE_PX, colour)
    if not len(touch_times):
        put_text(image, 'no tactile frame received', LEFT_PX + 8, axes[1].top + LINE_PX, INVALID)
    if story.problem:
        put_text(image, story.problem, LEFT_PX + 8, axes[0].top + 2 * LINE_PX, INVALID)
    return image


def _panels() -> list[tuple[int, int]]:
    """(top, bottom) rows of the panels; above each there is room for its title."""
    free = HEIGHT_PX - TOP_PX - BOTTOM_PX - len(TITLES) * TITLE_PX
    top, places = TOP_PX, []
    for share in (0.32, 0.22, 0.18, 0.28):
        top += TITLE_PX
        places.append((top, top + int(share * free)))
        top = places[-1][1]
    return places


def _limit(values: np.ndarray, least: float) -> float:
    """A range that holds the values: `least`, or the double, fourfold ... of it, to seldom change."""
    finite, limit = values[np.isfinite(values)], least
    while finite.size and finite.max() > limit and limit < 1e6:
        limit *= 2
    return limit


@lru_cache(maxsize=8)
def _background(
    axes: tuple[Axis, ...], span_s: float, gate_lines: tuple[float, ...], contact_level: float | None
) -> np.ndarray:
    """Everything that doesn't move; drawn anew when an axis changes."""
    image = canvas(HEIGHT_PX, WIDTH_PX, PANEL)
    right = WIDTH_PX - RIGHT_PX
    for axis, marks, title in zip(axes, _marks(axes), TITLES, strict=True):
        put_text(image, title, LEFT_PX, axis.top - 4, TEXT, SMALL_PX)
        for value, text in marks:
            row = round(float(axis.rows(value)))
            cv2.line(image, (LEFT_PX, row), (right, row), GRID, 1)
            put_text(image, text, LEFT_PX - 12 - text_width_px(text, SMALL_PX), row + 4, TEXT, SMALL_PX)
        cv2.rectangle(image, (LEFT_PX, axis.top), (right, axis.bottom), FAINT, 1)
    _colour_key(image, axes[0])
    for value, name in zip(gate_lines, ('plans at once', 'armed again'), strict=False):
        _level(image, axes[0], value, f'{value:.2f} {name}')
    if contact_level is not None:
        _level(image, axes[1], contact_level, f'{contact_level:.0f} contact')
    for part in range(5):
        seconds = -span_s * (1 - part / 4)
        text = f'{seconds:.0f} s' if seconds else 'now'
        column = int(_columns(np.array([seconds]), span_s)[0]) - text_width_px(text, SMALL_PX) // 2
        put_text(image, text, column, HEIGHT_PX - 6, TEXT, SMALL_PX)
    return image


def _level(image: np.ndarray, axis: Axis, value: float, text: str) -> None:
    """A dashed line across a panel, named on its right."""
    row, right = round(float(axis.rows(value))), WIDTH_PX - RIGHT_PX
    for left in range(LEFT_PX, right, 8):
        cv2.line(image, (left, row), (min(left + 4, right), row), DASHED, 1)
    put_text(image, text, right + 8, row + 4, DASHED, SMALL_PX)


def _mark_chunks(image: np.ndarray, axis: Axis, columns: np.ndarray, triggered: np.ndarray) -> None:
    """A tick for every chunk; a line with a head over the whole panel where touch triggered it."""
    columns = columns.astype(int)
    image[axis.bottom - 4 : axis.bottom + 1, columns[~triggered]] = TEXT
    for column in columns[triggered].tolist():
        cv2.line(image, (column, axis.top), (column, axis.bottom), ORANGE, 1)
        head = np.array([(column - 4, axis.top), (column + 4, axis.top), (column, axis.top + 7)])
        cv2.fillConvexPoly(image, head, ORANGE, cv2.LINE_AA)


def _legend_of_chunks(image: np.ndarray, axis: Axis, chunks: int, triggered: int) -> None:
    left = WIDTH_PX - RIGHT_PX + 8
    put_text(image, f'{chunks} chunks', left, axis.bottom - LINE_PX, TEXT, SMALL_PX)
    put_text(image, f'{triggered} by touch', left, axis.bottom, ORANGE, SMALL_PX)


def _colour_key(image: np.ndarray, axis: Axis) -> None:
    """A strip along the gate's axis that shows which colour means which gate, here and in space."""
    rows = np.arange(axis.top, axis.bottom + 1)
    values = (axis.bottom - rows) / (axis.bottom - axis.top)
    image[rows, LEFT_PX - 7 : LEFT_PX - 1] = gate_colours(values)[:, None]


def _marks(axes: Sequence[Axis]) -> list[list[tuple[float, str]]]:
    change, sd = axes[1].high, axes[2].high
    return [
        [(0.0, '0'), (0.5, '0.5'), (1.0, '1')],
        [(0.0, '0'), (change, f'{change:.0f}')],
        [(-sd, f'{-sd:.0f}'), (0.0, '0'), (sd, f'{sd:+.0f}')],
        [(1.0, '1'), (10.0, '10'), (100.0, '100'), (1000.0, '1000')],
    ]


def _columns(times_s: np.ndarray, span_s: float) -> np.ndarray:
    """Columns (float) of times before now."""
    return WIDTH_PX - RIGHT_PX + times_s / span_s * (WIDTH_PX - RIGHT_PX - LEFT_PX)


def _fill_under_gate(
    image: np.ndarray, axis: Axis, times_s: np.ndarray, gate: np.ndarray, span_s: float
) -> None:
    """Colour the area under the gate's curve by the gate; nothing where there is a gap."""
    known = np.isfinite(gate)
    times_s, gate = times_s[known], gate[known]
    if len(times_s) < 2:
        return
    left, right = LEFT_PX + 1, WIDTH_PX - RIGHT_PX
    at_s = np.linspace((left - right) / (right - LEFT_PX) * span_s, 0.0, right - left, endpoint=False)
    after = np.clip(np.searchsorted(times_s, at_s), 1, len(times_s) - 1)
    covered = (at_s >= times_s[0]) & (at_s <= times_s[-1]) & (times_s[after] - times_s[after - 1] <= GAP_S)
    values = np.interp(at_s, times_s, gate)
    rows = np.arange(axis.top + 1, axis.bottom)[:, None]
    below = (covered & (rows >= axis.rows(values))).astype(np.uint8)
    fill = (gate_colours(values) * FILL).astype(np.uint8)
    area = image[axis.top + 1 : axis.bottom, left:right]
    area[:] = cv2.copyTo(np.tile(fill, (len(rows), 1, 1)), below, area.copy())


def _draw(image: np.ndarray, axis: Axis, lines: Sequence[Line], span_s: float) -> None:
    """Curves, interrupted at gaps and unknown values, and their legend on the right."""
    for place, line in enumerate(lines):
        for part in _runs(line.times_s, line.values):
            points = np.stack([_columns(line.times_s[part], span_s), axis.rows(line.values[part])], axis=-1)
            cv2.polylines(image, [np.rint(points).astype(np.int32)], False, line.colour, 1, cv2.LINE_AA)
        left, row = WIDTH_PX - RIGHT_PX + 8, axis.top + 9 + place * LINE_PX
        put_text(image, line.name, left, row, line.colour)
        put_text(image, line.text, WIDTH_PX - 8 - text_width_px(line.text), row, line.colour)


def _runs(times_s: np.ndarray, values: np.ndarray) -> list[slice]:
    """Slices without a gap or an unknown value inside."""
    if not len(times_s):
        return []
    known = np.isfinite(values)
    breaks = np.flatnonzero((np.diff(times_s) > GAP_S) | (known[1:] != known[:-1])) + 1
    edges = [0, *breaks.tolist(), len(times_s)]
    return [slice(a, b) for a, b in pairwise(edges) if known[a]]


def _last(form: str, values: np.ndarray) -> str:
    """The newest value as text."""
    return form.format(values[-1]) if len(values) else '-'

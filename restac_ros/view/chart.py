"""The strip chart: gate, logvar and latencies of the last seconds, drawn by OpenCV in about a millisecond."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import cv2
import numpy as np

from restac_ros.view.colours import FAINT, GREEN, INVALID, ORANGE, PANEL, PINK, SKY, TEXT, gate_colours
from restac_ros.view.drawing import LINE_PX, canvas, put_text
from restac_ros.view.history import History

WIDTH_PX, HEIGHT_PX = 540, 350
LEFT_PX, RIGHT_PX, TOP_PX, BOTTOM_PX, BETWEEN_PX = 42, 132, 8, 20, 16
GAP_S = 0.6  # a line is interrupted where nothing came for longer
FILL = 0.45  # brightness of the area under the gate
SMALL = 0.34  # letters of the axes
GRID = (62, 62, 62)
SATURATED = (0.02, 0.98)  # of GateState.saturated
MIN_LOGVAR_SD = 3.0
LATENCY_MS = (1.0, 1000.0)

GATE_COLUMNS = ('gate', 'logvar_standardised', 'touch_ms', 'tactile_age_ms')
CHUNK_COLUMNS = ('gate', 'act_ms', 'prefix_age_ms')


@dataclass(frozen=True)
class Axis:
    """A panel's place and scale: value `low` lies at row `bottom`, `high` at row `top`."""

    top: int
    bottom: int
    low: float
    high: float
    logarithmic: bool = False

    def rows(self, values: np.ndarray | float) -> np.ndarray:
        """Rows (float) of values, kept within the panel; NaN stays NaN."""
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


def strip_chart(
    gates: History, chunks: History, now_ns: int | None, span_s: float, problem: str = ''
) -> np.ndarray:
    """The chart as uint8 [HEIGHT_PX, WIDTH_PX, 3] RGB.

    gates, chunks: rows of GATE_COLUMNS and CHUNK_COLUMNS
    now_ns:        time at the right edge; None before the first message
    problem:       why no more comes, written into the gate's panel
    """
    gate_times, gate = gates.since(now_ns or 0)
    chunk_times, chunk = chunks.since(now_ns or 0)
    top, middle, bottom = _panels()
    sd = _logvar_limit(gate['logvar_standardised'])
    axes = (Axis(*top, 0.0, 1.0), Axis(*middle, -sd, sd), Axis(*bottom, *LATENCY_MS, logarithmic=True))
    image = _background(axes, span_s).copy()
    _fill_under_gate(image, axes[0], gate_times, gate['gate'], span_s)
    for column in _columns(chunk_times, span_s).astype(int).tolist():
        image[axes[0].bottom - 4 : axes[0].bottom + 1, column] = TEXT
    logvar = gate['logvar_standardised']
    _draw(
        image, axes[0], [Line('gate', gate_times, gate['gate'], TEXT, _last('{:.2f}', gate['gate']))], span_s
    )
    _draw(image, axes[1], [Line('logvar, sd', gate_times, logvar, SKY, _last('{:+.1f}', logvar))], span_s)
    latencies = [
        ('act', chunk_times, chunk['act_ms'], ORANGE),
        ('touch', gate_times, gate['touch_ms'], SKY),
        ('prefix age', chunk_times, chunk['prefix_age_ms'], PINK),
        ('tactile age', gate_times, gate['tactile_age_ms'], GREEN),
    ]
    lines = [Line(name, times, ms, colour, _last('{:.0f} ms', ms)) for name, times, ms, colour in latencies]
    _draw(image, axes[2], lines, span_s)
    put_text(
        image, f'{len(chunk_times)} chunks', WIDTH_PX - RIGHT_PX + 8, axes[0].top + 2 * LINE_PX + 6, TEXT
    )
    if problem:
        put_text(image, problem, LEFT_PX + 8, axes[0].top + LINE_PX, INVALID)
    return image


def _panels() -> list[tuple[int, int]]:
    """(top, bottom) rows of the three panels, the lowest a little larger for its four lines."""
    free = HEIGHT_PX - TOP_PX - BOTTOM_PX - 2 * BETWEEN_PX
    shares, top, places = (0.34, 0.26, 0.40), TOP_PX, []
    for share in shares:
        places.append((top, top + int(share * free)))
        top = places[-1][1] + BETWEEN_PX
    return places


def _logvar_limit(logvar_sd: np.ndarray) -> float:
    """A symmetric range that holds the values: 3, 6, 12, ... standard deviations, to seldom change."""
    finite = np.abs(logvar_sd[np.isfinite(logvar_sd)])
    limit = MIN_LOGVAR_SD
    while finite.size and finite.max() > limit and limit < 1e6:
        limit *= 2
    return limit


@lru_cache(maxsize=8)
def _background(axes: tuple[Axis, ...], span_s: float) -> np.ndarray:
    """Everything that doesn't move; drawn anew when an axis changes."""
    image = canvas(HEIGHT_PX, WIDTH_PX, PANEL)
    right = WIDTH_PX - RIGHT_PX
    for axis, marks in zip(axes, _marks(axes), strict=True):
        for value, text in marks:
            row = round(float(axis.rows(value)))
            cv2.line(image, (LEFT_PX, row), (right, row), GRID, 1)
            put_text(image, text, 4, row + 4, TEXT, SMALL)
        cv2.rectangle(image, (LEFT_PX, axis.top), (right, axis.bottom), FAINT, 1)
    _colour_key(image, axes[0])
    for row in axes[0].rows(np.array(SATURATED)):
        cv2.line(image, (LEFT_PX, round(float(row))), (right, round(float(row))), FAINT, 1)
    for part in range(5):
        seconds = -span_s * (1 - part / 4)
        column = int(_columns(np.array([seconds]), span_s)[0])
        put_text(image, f'{seconds:.0f} s' if seconds else 'now', column - 12, HEIGHT_PX - 6, TEXT, SMALL)
    return image


def _colour_key(image: np.ndarray, axis: Axis) -> None:
    """A strip along the gate's axis that shows which colour means which gate, here and in space."""
    rows = np.arange(axis.top, axis.bottom + 1)
    values = (axis.bottom - rows) / (axis.bottom - axis.top)
    image[rows, LEFT_PX - 7 : LEFT_PX - 1] = gate_colours(values)[:, None]


def _marks(axes: Sequence[Axis]) -> list[list[tuple[float, str]]]:
    sd = axes[1].high
    return [
        [(0.0, '0'), (0.5, '0.5'), (1.0, '1')],
        [(-sd, f'{-sd:.0f}'), (0.0, '0'), (sd, f'{sd:+.0f}')],
        [(1.0, '1'), (10.0, '10'), (100.0, '100'), (1000.0, '1 s')],
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
        left, row = WIDTH_PX - RIGHT_PX + 8, axis.top + 11 + place * (LINE_PX + 4)
        put_text(image, line.name, left, row, line.colour)
        put_text(image, line.text, left + 74, row, line.colour)


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

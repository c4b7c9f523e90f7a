"""Recent values over time, the executed path, and the time of the policy's clock."""

from collections import deque
from collections.abc import Sequence

import numpy as np

RESTART_NS = 1_000_000_000  # a stamp this far back is no late message: a bag begins anew, or a clock was set
MAX_ROWS = 8192
SPACING_M = 0.015  # between two points of a trail
MAX_POINTS = 100  # of a trail: 1.5 m of path


class History:
    """Rows of numbers of the last `span_ns`, bounded whatever arrives."""

    def __init__(self, columns: Sequence[str], span_ns: int) -> None:
        self.columns = tuple(columns)
        self._span_ns = span_ns
        # Arrays, as a chart reads all rows each time. Rows `first` to `end` count; those before are old.
        self._stamps_ns = np.empty(2 * MAX_ROWS, dtype=np.int64)
        self._values = np.empty((2 * MAX_ROWS, len(self.columns)))
        self._first = self._end = 0

    def __len__(self) -> int:
        return self._end - self._first

    def append(self, stamp_ns: int, *values: float) -> None:
        """Add a row; ignore a late one, and start anew with a much earlier one."""
        if len(values) != len(self.columns):
            names = ', '.join(self.columns)
            raise ValueError(f'found {len(values)} values; expected one for each of {names}')
        if len(self) and stamp_ns < (newest_ns := int(self._stamps_ns[self._end - 1])):
            if newest_ns - stamp_ns < RESTART_NS:
                return
            self.clear()
        if self._end == len(self._stamps_ns):
            count = len(self)
            for rows in (self._stamps_ns, self._values):
                rows[:count] = rows[self._first :]
            self._first, self._end = 0, count
        self._stamps_ns[self._end], self._values[self._end] = stamp_ns, values
        self._end += 1
        self._first = max(self._first, self._end - MAX_ROWS)
        self._first = self._index(stamp_ns - self._span_ns)

    def clear(self) -> None:
        """Remove all rows."""
        self._first = self._end = 0

    def since(self, now_ns: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Times before `now_ns` in s, float64 [N], negative and rising, and each column, float64 [N]."""
        rows = slice(self._index(now_ns - self._span_ns), self._index(now_ns + 1))
        columns = self._values[rows].T.copy()
        return (self._stamps_ns[rows] - now_ns) * 1e-9, dict(zip(self.columns, columns, strict=True))

    def _index(self, stamp_ns: int) -> int:
        """Return the index of the first row that is not before `stamp_ns`."""
        return self._first + int(np.searchsorted(self._stamps_ns[self._first : self._end], stamp_ns))


class Timeline:
    """The time of the clock that stamps the policy's messages: live, simulated or replayed.

    It continues from the newest stamp by the reader's steady clock, so that charts move and ages grow also
    when messages stop.
    """

    def __init__(self) -> None:
        self._stamp_ns: int | None = None
        self._seen_ns = 0

    def observe(self, stamp_ns: int, steady_ns: int) -> bool:
        """Note a stamp received at `steady_ns` of the steady clock; return whether time was set back."""
        restarted = self._stamp_ns is not None and stamp_ns < self._stamp_ns - RESTART_NS
        if self._stamp_ns is None or restarted or stamp_ns > self._stamp_ns:
            self._stamp_ns, self._seen_ns = stamp_ns, steady_ns
        return restarted

    def now_ns(self, steady_ns: int) -> int | None:
        """Return the time at `steady_ns` of the steady clock, ns; None before the first stamp."""
        return None if self._stamp_ns is None else self._stamp_ns + max(0, steady_ns - self._seen_ns)


class Trail:
    """The executed path of the last `span_ns`, each point with the gate at that time."""

    def __init__(self, span_ns: int) -> None:
        self._span_ns = span_ns
        self._points: deque[tuple[int, np.ndarray, float]] = deque(maxlen=MAX_POINTS)

    def append(self, steady_ns: int, position_m: np.ndarray, gate: float) -> None:
        """Add the tool's position [3] in the base frame, unless it lies within SPACING_M of the last one."""
        points = self._points
        if points and steady_ns < points[-1][0]:
            points.clear()
        while points and points[0][0] < steady_ns - self._span_ns:
            points.popleft()
        if not points or np.linalg.norm(position_m - points[-1][1]) >= SPACING_M:
            points.append((steady_ns, np.array(position_m, dtype=np.float64), gate))

    def clear(self) -> None:
        """Remove all points."""
        self._points.clear()

    def path(self) -> tuple[np.ndarray, np.ndarray]:
        """Positions float64 [N, 3] in m, oldest first, and gates float64 [N]."""
        positions = np.array([position for _, position, _ in self._points]).reshape(-1, 3)
        return positions, np.array([gate for _, _, gate in self._points], dtype=np.float64)

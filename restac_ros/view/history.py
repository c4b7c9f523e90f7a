"""Recent values over time, and the time on the policy's own clock."""

from collections import deque
from collections.abc import Sequence

import numpy as np

RESTART_NS = 1_000_000_000  # a stamp this far back is no late message: a bag begins anew, or a clock was set
MAX_ROWS = 8192


class History:
    """Rows of numbers of the last `span_ns`, bounded whatever arrives."""

    def __init__(self, columns: Sequence[str], span_ns: int) -> None:
        self.columns = tuple(columns)
        self._span_ns = span_ns
        self._rows: deque[tuple[int, tuple[float, ...]]] = deque(maxlen=MAX_ROWS)

    def __len__(self) -> int:
        return len(self._rows)

    def append(self, stamp_ns: int, *values: float) -> None:
        """Add a row; a late one is left out, a much earlier one starts the history anew."""
        if len(values) != len(self.columns):
            raise ValueError(
                f'found {len(values)} values; expected one for each of {", ".join(self.columns)}'
            )
        rows = self._rows
        if rows and stamp_ns < rows[-1][0]:
            if rows[-1][0] - stamp_ns < RESTART_NS:
                return
            rows.clear()
        rows.append((stamp_ns, values))
        while rows[0][0] < stamp_ns - self._span_ns:
            rows.popleft()

    def clear(self) -> None:
        """Forget everything."""
        self._rows.clear()

    def since(self, now_ns: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Times before `now_ns` in s, float64 [N], negative and rising, and each column, float64 [N]."""
        rows = [row for row in self._rows if now_ns - self._span_ns <= row[0] <= now_ns]
        times_s = np.array([(stamp_ns - now_ns) * 1e-9 for stamp_ns, _ in rows])
        values = np.array([values for _, values in rows], dtype=np.float64).reshape(-1, len(self.columns))
        return times_s, dict(zip(self.columns, values.T, strict=True))


class Timeline:
    """What time it is on the clock that stamps the policy's messages, whether live, simulated or replayed.

    It goes on from the newest stamp with the reader's steady clock, so that charts keep moving, and ages
    keep growing, when messages stop.
    """

    def __init__(self) -> None:
        self._stamp_ns: int | None = None
        self._seen_ns = 0

    def observe(self, stamp_ns: int, seen_ns: int) -> bool:
        """Take note of a stamp, seen at `seen_ns` on the steady clock. True if time was set back."""
        restarted = self._stamp_ns is not None and stamp_ns < self._stamp_ns - RESTART_NS
        if self._stamp_ns is None or restarted or stamp_ns > self._stamp_ns:
            self._stamp_ns, self._seen_ns = stamp_ns, seen_ns
        return restarted

    def now_ns(self, seen_ns: int) -> int | None:
        """The time at `seen_ns` on the steady clock; None before the first stamp."""
        return None if self._stamp_ns is None else self._stamp_ns + max(0, seen_ns - self._seen_ns)

"""Recent values over time, and the time on the policy's own clock."""

from collections.abc import Sequence

import numpy as np

RESTART_NS = 1_000_000_000  # a stamp this far back is no late message: a bag begins anew, or a clock was set
MAX_ROWS = 8192


class History:
    """Rows of numbers of the last `span_ns`, bounded whatever arrives."""

    def __init__(self, columns: Sequence[str], span_ns: int) -> None:
        self.columns = tuple(columns)
        self._span_ns = span_ns
        # Rows first .. end are alive. Room for twice as many, so that they are moved to the front but rarely.
        self._stamps_ns = np.zeros(2 * MAX_ROWS, dtype=np.int64)
        self._values = np.zeros((2 * MAX_ROWS, len(self.columns)))
        self._first = self._end = 0

    def __len__(self) -> int:
        return self._end - self._first

    def append(self, stamp_ns: int, *values: float) -> None:
        """Add a row; a late one is left out, a much earlier one starts the history anew."""
        if len(values) != len(self.columns):
            names = ', '.join(self.columns)
            raise ValueError(f'found {len(values)} values; expected one for each of {names}')
        if len(self) and stamp_ns < (newest_ns := int(self._stamps_ns[self._end - 1])):
            if newest_ns - stamp_ns < RESTART_NS:
                return
            self.clear()
        if self._end == len(self._stamps_ns):
            self._move_to_front()
        self._stamps_ns[self._end] = stamp_ns
        self._values[self._end] = values
        self._end += 1
        self._first = max(self._first, self._end - MAX_ROWS)
        while self._stamps_ns[self._first] < stamp_ns - self._span_ns:
            self._first += 1

    def clear(self) -> None:
        """Forget everything."""
        self._first = self._end = 0

    def since(self, now_ns: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Times before `now_ns` in s, float64 [N], negative and rising, and each column, float64 [N].

        The columns are views, good until the next `append`.
        """
        stamps_ns = self._stamps_ns[self._first : self._end]
        low = self._first + np.searchsorted(stamps_ns, now_ns - self._span_ns, side='left')
        high = self._first + np.searchsorted(stamps_ns, now_ns, side='right')
        times_s = (self._stamps_ns[low:high] - now_ns) * 1e-9
        return times_s, dict(zip(self.columns, self._values[low:high].T, strict=True))

    def _move_to_front(self) -> None:
        count = len(self)
        self._stamps_ns[:count] = self._stamps_ns[self._first : self._end].copy()
        self._values[:count] = self._values[self._first : self._end].copy()
        self._first, self._end = 0, count


class Timeline:
    """What time it is on the clock that stamps the policy's messages, whether live, simulated or replayed.

    It goes on from the newest stamp with the reader's steady clock, so that charts keep moving, and ages
    keep growing, when messages stop.
    """

    def __init__(self) -> None:
        self._stamp_ns: int | None = None
        self._seen_ns = 0

    def observe(self, stamp_ns: int, steady_ns: int) -> bool:
        """Take note of a stamp, seen at `steady_ns` on the steady clock. True if time was set back."""
        restarted = self._stamp_ns is not None and stamp_ns < self._stamp_ns - RESTART_NS
        if self._stamp_ns is None or restarted or stamp_ns > self._stamp_ns:
            self._stamp_ns, self._seen_ns = stamp_ns, steady_ns
        return restarted

    def now_ns(self, steady_ns: int) -> int | None:
        """The time at `steady_ns` on the steady clock; None before the first stamp."""
        return None if self._stamp_ns is None else self._stamp_ns + max(0, steady_ns - self._seen_ns)

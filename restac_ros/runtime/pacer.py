"""Ticks of a fixed period, on a clock that may stand still or jump."""


class Pacer:
    """A late tick delays no later one; missed ticks are skipped; a clock set back starts anew."""

    def __init__(self, period_ns: int, now_ns: int) -> None:
        self.period_ns = period_ns
        self._due_ns = now_ns

    def remaining_ns(self, now_ns: int) -> int:
        """Return the time until the next tick, ns; 0 when it is due."""
        if now_ns < self._due_ns - self.period_ns:
            self._due_ns = now_ns
        return max(0, self._due_ns - now_ns)

    def ticked(self, now_ns: int) -> None:
        """Note the end of a tick: the next one is due at the next multiple of the period."""
        late_ns = now_ns - self._due_ns
        self._due_ns += self.period_ns * max(1, -(-late_ns // self.period_ns))

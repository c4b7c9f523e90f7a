"""Ticks of a fixed period, on a clock that may stand still or jump, and the pace of a simulation."""

from collections.abc import Callable

LAG_NS = 20_000_000  # that a simulation may catch up


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


class SimulationPace:
    """At most `rate` times real time; what a busy machine has lost is not caught up, beyond `LAG_NS`.

    `now_ns` is a steady clock.
    """

    def __init__(self, rate: float, now_ns: Callable[[], int]) -> None:
        self._rate, self._clock_ns = rate, now_ns
        self._begun_ns, self.lost_ns = now_ns(), 0

    def elapsed_ns(self) -> int:
        """Return how far the simulation may be, ns after its start."""
        return round((self._clock_ns() - self._begun_ns) * self._rate) - self.lost_ns

    def reached(self, simulated_ns: int) -> None:
        """Note how far the simulation is."""
        self.lost_ns += max(0, self.elapsed_ns() - simulated_ns - LAG_NS)

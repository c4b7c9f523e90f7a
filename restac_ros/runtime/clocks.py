"""The clocks that are handed to the loops; this layer reads none itself."""

from collections.abc import Callable
from typing import NamedTuple, Self

SIMULATED_POLL_S = 0.002  # longest wait on a simulated clock, which may run at any rate


class Clocks(NamedTuple):
    """The clocks of one node.

    Attributes:
        now_ns: the node's clock, which stamps are compared with: the system's, or a simulated one.
        steady_ns: never set and never simulated; for durations and latencies.
        pace_ns: replans are due by it.
        longest_wait_s: upper limit of a single wait for `pace_ns`; None: no limit.
    """

    now_ns: Callable[[], int]
    steady_ns: Callable[[], int]
    pace_ns: Callable[[], int]
    longest_wait_s: float | None = None

    @classmethod
    def of(cls, now_ns: Callable[[], int], steady_ns: Callable[[], int], simulated: bool) -> Self:
        """Return the clocks of a node; with simulated time, replans are due by that."""
        return (
            cls(now_ns, steady_ns, now_ns, SIMULATED_POLL_S)
            if simulated
            else cls(now_ns, steady_ns, steady_ns)
        )

    def wait_s(self, duration_ns: int) -> float:
        """Return how long to wait at most, `duration_ns` before a time of `pace_ns`."""
        duration_s = duration_ns * 1e-9
        return duration_s if self.longest_wait_s is None else min(duration_s, self.longest_wait_s)


def age_ns(stamp_ns: int, now_ns: int) -> int:
    """Return how long ago a stamp was; 0 where it is ahead, as the contract's max_skew_ms allows."""
    return max(0, now_ns - stamp_ns)

"""When a message arrived, by a simulated clock that runs at any rate."""

from restac_ros.framing.sample import Sample

_WINDOW_NS = 100_000_000
_MAX_CLOCK_LAG_NS = 1_000_000_000  # that a busy machine delays the clock's own messages


class SimulatedArrival:
    """Turns the system time of an arrival into simulated time, by the rate of the one clock to the other.

    The middleware notes arrivals by the system's clock; the rate of the simulated one is measured as messages
    come. Until then a message counts as arrived when it is read: never too early.
    """

    def __init__(self) -> None:
        self._rate = 0.0
        self._since: tuple[int, int] | None = None

    def arrival_ns(self, arrived_ns: int, system_ns: int, simulated_ns: int) -> int:
        """Return the arrival in simulated time, ns; `system_ns` and `simulated_ns` are both clocks now."""
        # Begun just now, not before the first message on the clock, when it is 0; or anew.
        if self._since is None or not self._since[1] or simulated_ns < self._since[1]:
            self._rate, self._since = 0.0, (system_ns, simulated_ns)
        elif (elapsed_ns := system_ns - self._since[0]) >= _WINDOW_NS:
            self._rate = (simulated_ns - self._since[1]) / elapsed_ns
            self._since = (system_ns, simulated_ns)
        return simulated_ns - round(self._rate * max(0, system_ns - arrived_ns))

    def in_order(self, sample: Sample) -> Sample:
        """Return the sample, received no earlier than it was captured.

        Nothing arrives before its simulated time has come: where it seems so, the message that says which
        time it is, is still under way. Stamps that are farther ahead are of another clock, and stay.
        """
        if 0 < sample.stamp_ns - sample.receive_ns <= _MAX_CLOCK_LAG_NS:
            return sample._replace(receive_ns=sample.stamp_ns)
        return sample

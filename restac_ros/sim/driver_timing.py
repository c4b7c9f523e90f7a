"""When simulated drivers capture, stamp and publish, by the contract's rates and latencies."""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

from restac_ros.contract.schema import Stream
from restac_ros.sim.randomness import random_for

_MS = 1_000_000


class DriverTiming(NamedTuple):
    """Delays of one kind of driver.

    Attributes:
        shortest_ms, longest_ms: from the stamp to the publication, uniformly distributed.
        wander: how far a capture strays from its regular time, as a share of the period.
    """

    shortest_ms: float
    longest_ms: float
    wander: float = 0.0


TIMINGS: dict[str, DriverTiming] = {
    'camera': DriverTiming(8.0, 20.0, 0.02),
    'tactile': DriverTiming(15.0, 45.0, 0.15),  # blocking reads in a timer: slow and unsteady
    'arm_joints': DriverTiming(0.05, 0.4),
    'gripper': DriverTiming(0.5, 2.0),
    'tool_pose': DriverTiming(0.05, 0.4),
    'target_pose': DriverTiming(0.05, 0.4),
}
"""By role."""


class DriverTimes(NamedTuple):
    """Times of one message after the start, ns: its capture, its stamp, its publication."""

    capture_ns: int
    stamp_ns: int
    publish_ns: int


def driver_times(name: str, spec: Stream, seed: int) -> Iterator[DriverTimes]:
    """Yield the times of a stream's messages, without end; captures at least 1 ns apart, published in order.

    The stamp is the capture plus the stream's declared latency. The same seed gives the same times.
    """
    timing, period_ns = TIMINGS[spec.role], 1e9 / spec.rate_hz
    random = random_for(seed, name)
    phase = random.uniform(0.0, 1.0)
    published_ns = captured_ns = -1
    for index in itertools.count():
        wander, delay = random.uniform(-timing.wander, timing.wander), random.uniform()
        due_ns = round((index + phase + wander) * period_ns)
        captured_ns = max(due_ns, captured_ns + 1)
        stamp_ns = captured_ns + spec.latency_ns
        delay_ms = timing.shortest_ms + delay * (timing.longest_ms - timing.shortest_ms)
        published_ns = max(stamp_ns + round(delay_ms * _MS), published_ns + 1)
        yield DriverTimes(captured_ns, stamp_ns, published_ns)

"""Percentiles of recent durations, counted from any thread."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

_WINDOW = 16_384  # at 100 Hz nearly three minutes
LATEST = 32


@dataclass(frozen=True)
class Percentiles:
    """Of the last `_WINDOW` durations, in ms; `count` is of all."""

    count: int
    p50_ms: float
    p99_ms: float
    max_ms: float


@dataclass
class Timing:
    """A duration, ns; 0 until it has been measured."""

    duration_ns: int = 0


class LatencyTracker:
    """Durations of one stage. Appending is atomic; reading copies first."""

    def __init__(self, window: int = _WINDOW) -> None:
        self._recent_ns: deque[int] = deque(maxlen=window)
        self._latest_ns: deque[int] = deque(maxlen=LATEST)
        self._count = 0
        self._max_ns = 0

    def add(self, duration_ns: int) -> None:
        """Count one duration."""
        duration_ns = max(0, duration_ns)  # a clock may have been set back meanwhile
        self._count += 1
        self._max_ns = max(self._max_ns, duration_ns)
        self._recent_ns.append(duration_ns)
        self._latest_ns.append(duration_ns)

    @property
    def recent_max_ns(self) -> int:
        """The longest of the last few durations; 0 before the first."""
        return max(self._latest_ns.copy(), default=0)

    def percentiles(self) -> Percentiles | None:
        """None before the first duration."""
        recent = np.array(self._recent_ns.copy(), dtype=np.float64) / 1e6
        if not recent.size:
            return None
        p50, p99 = np.percentile(recent, [50, 99])
        return Percentiles(self._count, float(p50), float(p99), self._max_ns / 1e6)


class Latencies:
    """A tracker per stage, made once with all names so that a mistyped one raises.

    Args:
        steady_ns: clock that durations are measured with.
        stages: names.
    """

    def __init__(self, steady_ns: Callable[[], int], *stages: str) -> None:
        self._steady_ns = steady_ns
        self._trackers = {stage: LatencyTracker() for stage in stages}

    def add(self, stage: str, duration_ns: int) -> None:
        """Count one duration of a stage."""
        self._trackers[stage].add(duration_ns)

    @contextmanager
    def timed(self, stage: str) -> Iterator[Timing]:
        """Measure the duration of the `with` block; one that raises is not counted."""
        timing, begun_ns = Timing(), self._steady_ns()
        yield timing
        timing.duration_ns = self._steady_ns() - begun_ns
        self._trackers[stage].add(timing.duration_ns)

    def __getitem__(self, stage: str) -> LatencyTracker:
        return self._trackers[stage]

    def table(self) -> dict[str, Percentiles]:
        """Percentiles of every stage with at least one duration."""
        found = {stage: tracker.percentiles() for stage, tracker in self._trackers.items()}
        return {stage: values for stage, values in found.items() if values}

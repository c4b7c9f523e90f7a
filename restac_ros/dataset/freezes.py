"""Finds images that repeat byte for byte: a driver that hangs may publish its last one with new stamps."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from restac_ros.contract.schema import Contract
from restac_ros.framing.sample import Sample
from restac_ros.framing.stamp import HEADER_BYTES

PROBE_BYTES = 4096  # two different images nearly always differ within these: no need to compare the rest
FROZEN_REMEDY = 'A living sensor has noise: restart its driver, check its cable.'


class Freeze(NamedTuple):
    """A run of `count` images with one content, by capture time in ns."""

    start_ns: int
    end_ns: int
    count: int  # type: ignore[assignment]  # not the method of tuple


class ContentWatch:
    """Finds runs of identical images; keeps one image."""

    def __init__(self) -> None:
        self._finished: list[Freeze] = []
        self._content: np.ndarray | None = None
        self._run = Freeze(0, 0, 0)

    def add(self, content: np.ndarray, stamp_ns: int) -> None:
        """Compare an image's bytes uint8 [B] with those before."""
        before, self._content = self._content, content
        if before is not None and same_content(before, content):
            self._run = self._run._replace(end_ns=max(self._run.end_ns, stamp_ns), count=self._run.count + 1)
            return
        if self._run.count > 1:
            self._finished.append(self._run)
        self._run = Freeze(stamp_ns, stamp_ns, 1)

    def runs(self) -> list[Freeze]:
        """Return the runs of at least two images, the one under way last."""
        return [*self._finished, self._run] if self._run.count > 1 else list(self._finished)


def frozen_runs(runs: Iterable[Freeze], max_age_ns: int) -> list[Freeze]:
    """Return the runs that last longer than the stream's samples may age: their images are too old."""
    return [run for run in runs if run.end_ns - run.start_ns > max_age_ns]


def frozen_text(stream: str, images: int, start_s: float, end_s: float) -> str:
    """Describe a frozen stretch; times count from the episode's start."""
    return f'{stream}: {images} identical images from {start_s:.2f} s on, for {end_s - start_s:.2f} s'


class FrozenImages:
    """Watches the image streams of samples that are passed on."""

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self._watches = {
            name: ContentWatch() for name in (*contract.by_role('camera'), *contract.by_role('tactile'))
        }

    def watched(self, samples: Iterable[Sample]) -> Iterator[Sample]:
        """Yield the same samples, which must be whole; compare their images on the way."""
        for sample in samples:
            if watch := self._watches.get(sample.stream):
                # Behind the stamp everything is content, or the frame's name, which does not change.
                watch.add(np.frombuffer(sample.cdr, np.uint8)[HEADER_BYTES:], sample.stamp_ns)
            yield sample

    def notes(self, start_ns: int) -> list[str]:
        """Describe each stretch for which a stream was frozen, timed from `start_ns`."""
        found = []
        for name, watch in self._watches.items():
            for run in frozen_runs(watch.runs(), self._contract.streams[name].max_age_ns):
                start_s, end_s = ((time_ns - start_ns) * 1e-9 for time_ns in (run.start_ns, run.end_ns))
                found.append(f'frozen: {frozen_text(name, run.count, start_s, end_s)}. {FROZEN_REMEDY}')
        return found


def same_content(one: np.ndarray, other: np.ndarray) -> bool:
    """Compare two uint8 [N] byte for byte: exact, and faster than a hash, as images differ early."""
    return (
        one.size == other.size
        and np.array_equal(one[:PROBE_BYTES], other[:PROBE_BYTES])
        and np.array_equal(one, other)
    )

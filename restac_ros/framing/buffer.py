"""The recent samples of one stream, and the choice among them for any recent instant."""

import math
from bisect import bisect_right, insort
from dataclasses import dataclass
from operator import attrgetter

import numpy as np

from restac_ros.contract.schema import Stream
from restac_ros.framing.sample import Sample

# Threads may deliver a stream's messages this much out of order; a receive time further back means that the
# clock was set back.
MAX_REORDER_NS = 100_000_000

_receive_ns = attrgetter('receive_ns')


@dataclass
class StreamCounters:
    """What has happened to one stream's messages since the framer was made.

    out_of_order and duplicates (by stamp) can be in no frame, as a newer capture was there before them;
    future were stamped later than received; evicted were dropped early, as far more came than declared.
    """

    received: int = 0
    zero_stamps: int = 0
    duplicates: int = 0
    out_of_order: int = 0
    future: int = 0
    clock_jumps: int = 0
    evicted: int = 0
    decoded: int = 0
    undecodable: int = 0

    @property
    def repeats_one_stamp(self) -> bool:
        """Whether every message so far has the stamp of the first one."""
        return self.received > 1 and self.duplicates == self.received - 1 and not self.zero_stamps


@dataclass(slots=True, eq=False)
class Entry:
    """A buffered sample; once decoded it holds its value (or why it has none) in place of its bytes."""

    stamp_ns: int
    receive_ns: int
    cdr: bytes | memoryview | None
    value: np.ndarray | None = None
    error: str = ''


class StreamBuffer:
    """Samples that could still be the newest at some instant of the last `history_ns`.

    The newest at t is the one captured last among those received by t. A sample received later *and* captured
    earlier than another can never be it, so what is kept rises in both times: choosing is a binary search,
    and in the usual case pushing is an append. Time moves on with the stream's own receive times.
    """

    def __init__(self, spec: Stream, max_skew_ns: int, history_ns: int) -> None:
        self.spec = spec
        self.counters = StreamCounters()
        self._max_skew_ns = max_skew_ns
        self._history_ns = history_ns
        # Four times the declared rate is no jitter any more: memory stays bounded whatever arrives.
        self._max_entries = 8 + math.ceil(4 * spec.rate_hz * history_ns * 1e-9)
        self._entries: list[Entry] = []
        self._future: list[Entry] = []
        self._newest_receive_ns: int | None = None

    def push(self, sample: Sample) -> None:
        """Add a sample; count its faults."""
        counters, newest = self.counters, self._newest_receive_ns
        counters.received += 1
        counters.zero_stamps += sample.zero_stamp
        if newest is not None and sample.receive_ns < newest - MAX_REORDER_NS:
            # What was received before the clock was set back cannot be compared with what comes now.
            counters.clock_jumps += 1
            self._entries.clear()
            self._future.clear()
            newest = None
        newest = sample.receive_ns if newest is None else max(newest, sample.receive_ns)
        self._newest_receive_ns = newest
        if sample.stamp_ns > sample.receive_ns + self._max_skew_ns:
            counters.future += 1
            insort(self._future, Entry(sample.stamp_ns, sample.receive_ns, None), key=_receive_ns)
        else:
            self._insert(Entry(sample.stamp_ns, sample.receive_ns, sample.cdr))
        self._forget(newest - self._history_ns)

    def newest_at(self, time_ns: int) -> Entry | None:
        """The sample captured last among those received by `time_ns`."""
        return _last_received(self._entries, time_ns)

    def future_at(self, time_ns: int) -> Entry | None:
        """The last refused sample, stamped later than received, among those received by `time_ns`."""
        return _last_received(self._future, time_ns)

    def _insert(self, entry: Entry) -> None:
        entries = self._entries
        place = len(entries)
        if place and entries[-1].receive_ns > entry.receive_ns:
            place = bisect_right(entries, entry.receive_ns, key=_receive_ns)
        if place and entries[place - 1].stamp_ns >= entry.stamp_ns:
            self._count_superseded(entry, entries[place - 1])
            return
        end = place
        while end < len(entries) and entries[end].stamp_ns <= entry.stamp_ns:
            self._count_superseded(entries[end], entry)
            end += 1
        entries[place:end] = [entry]

    def _count_superseded(self, entry: Entry, by: Entry) -> None:
        if entry.stamp_ns == by.stamp_ns:
            self.counters.duplicates += 1
        else:
            self.counters.out_of_order += 1

    def _forget(self, cutoff_ns: int) -> None:
        """Drop what can be chosen at no instant since `cutoff_ns`, and what exceeds the bound on memory."""
        for entries in (self._entries, self._future):
            while len(entries) > 1 and entries[1].receive_ns <= cutoff_ns:
                del entries[0]
            if len(entries) > self._max_entries:
                del entries[0]
                self.counters.evicted += 1


def _last_received(entries: list[Entry], time_ns: int) -> Entry | None:
    place = bisect_right(entries, time_ns, key=_receive_ns)
    return entries[place - 1] if place else None

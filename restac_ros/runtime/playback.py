"""Publishes messages at set times, such as those of a bag."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from restac_ros.dataset.bag.storage import BagMessage
from restac_ros.framing.stamp import read_stamp_ns, with_stamp

READ_AHEAD_BYTES = 256 * 2**20
READ_AHEAD_MESSAGES = 100_000


class Outgoing(NamedTuple):
    """A message due `due_ns` after the start."""

    due_ns: int
    topic: str
    cdr: bytes


@dataclass(frozen=True)
class TimeMap:
    """Bag time -> the present: begins at `start_ns` + `offset_ns`, runs `rate` times as fast."""

    bag_start_ns: int
    start_ns: int
    rate: float
    offset_ns: int = 0

    def due_ns(self, bag_ns: int) -> int:
        """Return how long after the start a message logged at `bag_ns` is due, ns."""
        return self.offset_ns + round((bag_ns - self.bag_start_ns) / self.rate)

    def present_ns(self, bag_ns: int) -> int:
        """Return the present clock's time at that moment, ns."""
        return self.start_ns + self.due_ns(bag_ns)


def scheduled(
    messages: Iterable[BagMessage], time_map: TimeMap, stamped: frozenset[str] | None
) -> Iterator[Outgoing]:
    """Bag messages with the time each is due.

    `stamped` names the types that begin with a header: their stamps are moved into the present, unset ones
    stay unset. None keeps every stamp.
    """
    for message in messages:
        cdr = message.cdr
        if stamped is not None and message.type in stamped:
            stamp_ns = read_stamp_ns(cdr)
            if stamp_ns is not None:
                cdr = with_stamp(cdr, time_map.present_ns(stamp_ns))
        yield Outgoing(time_map.due_ns(message.log_time_ns), message.topic, cdr)


class ReadAhead:
    """Runs an iterator in a thread of its own, a bounded number of messages ahead of its consumer.

    An exception of the iterator is raised where it would have been, in the consumer's thread.
    """

    def __init__(self, messages: Iterator[Outgoing], max_bytes: int = READ_AHEAD_BYTES) -> None:
        self._messages = messages
        self._max_bytes = max_bytes
        self._held: deque[Outgoing] = deque()
        self._held_bytes = 0
        self._ended = self._closed = False
        self._failure: Exception | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, name='read-ahead', daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Outgoing]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._held or self._ended)
                if not self._held:
                    break
                message = self._held.popleft()
                self._held_bytes -= len(message.cdr)
                self._changed.notify()
            yield message
        if self._failure:
            raise self._failure

    def close(self) -> None:
        """Stop reading."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _read(self) -> None:
        try:
            for message in self._messages:
                with self._changed:
                    self._changed.wait_for(self._has_room)
                    if self._closed:
                        return
                    self._held.append(message)
                    self._held_bytes += len(message.cdr)
                    self._changed.notify()
        except Exception as failure:  # noqa: BLE001  raised again in the consumer's thread
            self._failure = failure
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify()

    def _has_room(self) -> bool:
        full = self._held_bytes >= self._max_bytes or len(self._held) >= READ_AHEAD_MESSAGES
        return self._closed or not full


@dataclass
class Played:
    """Counts of published messages by topic, and the greatest delay, ns."""

    counts: dict[str, int]
    late_max_ns: int = 0


def play(
    messages: Iterable[Outgoing],
    publish: Callable[[Outgoing], None],
    elapsed_ns: Callable[[], int],
    pause: Callable[[float], bool],
    played: Played,
) -> bool:
    """Publish each message when it is due; return False when `pause` asked to stop.

    Due times count from the start, so that delays do not add up. `pause(seconds)` waits and returns
    whether to stop; `elapsed_ns()` is the time since the start.
    """
    for message in messages:
        while (ahead_ns := message.due_ns - elapsed_ns()) > 0:
            if pause(ahead_ns * 1e-9):
                return False
        if ahead_ns < 0 and pause(0.0):  # a source that is always late never waits above
            return False
        publish(message)
        played.counts[message.topic] = played.counts.get(message.topic, 0) + 1
        played.late_max_ns = max(played.late_max_ns, -ahead_ns)
    return not pause(0.0)

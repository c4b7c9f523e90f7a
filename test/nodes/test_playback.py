"""What a source publishes and when: times moved into the present, pacing without drift, reading ahead."""

import struct
import threading
from collections.abc import Iterator

import pytest

from restac_ros.dataset.bag.storage import BagMessage
from restac_ros.framing.stamp import read_stamp_ns, with_stamp
from restac_ros.runtime.playback import (
    Outgoing,
    Played,
    ReadAhead,
    TimeMap,
    play,
    scheduled,
)

IMAGE = 'sensor_msgs/msg/Image'
SECOND = 10**9


def stamped(stamp_ns: int, tail: bytes = b'tail', big_endian: bool = False) -> bytes:
    order, mark = ('>', b'\0\0') if big_endian else ('<', b'\0\1')
    return mark + b'\0\0' + struct.pack(f'{order}iI', *divmod(stamp_ns, SECOND)) + tail


class Clock:
    """Time that passes only where it is waited for, a little more than asked."""

    def __init__(self, late_ns: int = 0, stop_after: int | None = None) -> None:
        self.now_ns, self.late_ns, self.stop_after, self.pauses = 0, late_ns, stop_after, 0

    def pause(self, seconds: float) -> bool:
        self.pauses += 1
        self.now_ns += round(seconds * 1e9) + (self.late_ns if seconds else 0)
        return self.stop_after is not None and self.pauses > self.stop_after


@pytest.mark.parametrize('big_endian', [False, True])
def test_a_stamp_is_replaced_and_nothing_else(big_endian: bool) -> None:
    cdr = stamped(12 * SECOND + 345, b'\x07' * 9, big_endian)
    assert read_stamp_ns(cdr) == 12 * SECOND + 345
    assert with_stamp(cdr, 99 * SECOND + 1) == stamped(99 * SECOND + 1, b'\x07' * 9, big_endian)


def test_what_is_no_stamped_message_is_refused() -> None:
    with pytest.raises(ValueError, match='found 3 bytes'):
        read_stamp_ns(b'\0\1\0')


def test_shifted_stamps_keep_their_age_and_zero_stays_zero() -> None:
    bag = [
        BagMessage('/a', IMAGE, stamped(100 * SECOND - 50), 100 * SECOND),
        BagMessage('/a', IMAGE, stamped(0), 101 * SECOND),
        BagMessage('/text', 'std_msgs/msg/String', stamped(7), 102 * SECOND),
    ]
    present = TimeMap(100 * SECOND, 5000 * SECOND, rate=1.0)
    sent = list(scheduled(bag, present, frozenset([IMAGE])))
    assert [message.due_ns for message in sent] == [0, SECOND, 2 * SECOND]
    assert read_stamp_ns(sent[0].cdr) == 5000 * SECOND - 50
    assert read_stamp_ns(sent[1].cdr) is None
    assert sent[2].cdr == bag[2].cdr


def test_kept_stamps_are_the_bags_bytes() -> None:
    bag = [BagMessage('/a', IMAGE, stamped(3), 9)]
    [sent] = scheduled(bag, TimeMap(9, 0, 1.0), None)
    assert sent.cdr == bag[0].cdr


def test_twice_the_rate_halves_times_and_a_repetition_adds() -> None:
    assert TimeMap(100, 0, rate=2.0).due_ns(300) == 100
    assert TimeMap(100, 1000, rate=2.0, offset_ns=50).present_ns(300) == 1150


def test_lateness_does_not_add_up() -> None:
    clock, times, played = Clock(late_ns=7), [], Played({})
    messages = [Outgoing(i * 1000, '/a', b'') for i in range(100)]
    assert play(messages, lambda m: times.append(clock.now_ns), lambda: clock.now_ns, clock.pause, played)
    assert all(0 <= time_ns - 1000 * i <= 8 for i, time_ns in enumerate(times))
    assert played.counts == {'/a': 100}
    assert played.late_max_ns <= 8


def test_a_stop_is_heeded_between_messages() -> None:
    clock, sent = Clock(stop_after=2), []
    messages = [Outgoing(i * SECOND, '/a', b'') for i in range(10)]
    assert not play(messages, sent.append, lambda: clock.now_ns, clock.pause, Played({}))
    assert len(sent) == 3


def test_a_stop_is_heeded_by_a_source_that_is_always_late() -> None:
    sent: list[Outgoing] = []
    messages = [Outgoing(i, '/a', b'') for i in range(10)]
    assert not play(messages, sent.append, lambda: SECOND, lambda _: len(sent) == 3, Played({}))
    assert len(sent) == 3


def test_reading_ahead_keeps_order_and_bounds() -> None:
    given = []

    def source() -> Iterator[Outgoing]:
        for i in range(50):
            given.append(i)
            yield Outgoing(i, '/a', bytes(100))

    reader = ReadAhead(source(), max_bytes=1000)
    reading = iter(reader)
    first = next(reading)
    assert len(given) <= 12  # ten held, one taken, one in hand
    assert [first.due_ns, *(message.due_ns for message in reading)] == list(range(50))


def test_a_reader_that_fails_tells_its_consumer() -> None:
    def source() -> Iterator[Outgoing]:
        yield Outgoing(0, '/a', b'')
        raise OSError('the disk is gone')

    reading = iter(ReadAhead(source()))
    assert next(reading).topic == '/a'
    with pytest.raises(OSError, match='the disk is gone'):
        next(reading)


def test_closing_ends_a_full_reader() -> None:
    endless = (Outgoing(i, '/a', bytes(100)) for i in iter(int, 1))
    before = set(threading.enumerate())
    ReadAhead(endless, max_bytes=1000).close()
    assert set(threading.enumerate()) <= before

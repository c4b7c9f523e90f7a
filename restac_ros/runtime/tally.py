"""Counts of received and lost messages, from the publisher's sequence numbers."""

from dataclasses import asdict, dataclass


@dataclass
class StreamTally:
    """Counts of one subscription.

    received: messages
    lost: numbers missing between the first and the last message of each publisher
    bytes: size of all messages
    zero_stamps: messages whose header stamp was left unset
    refused: messages without a readable stamp
    others: joint states on this topic that name no joint of the stream; in no other count
    restarts: how often the numbers began anew: the publisher was restarted, or there are two
    numbered: False when the middleware numbers no messages, so that losses cannot be counted
    """

    received: int = 0
    lost: int = 0
    bytes: int = 0
    zero_stamps: int = 0
    refused: int = 0
    others: int = 0
    restarts: int = 0
    numbered: bool = True
    _last_number: int | None = None

    def count(self, number: int | None, size: int) -> None:
        """Count a message with the publisher's sequence number (None or 0 where there is none)."""
        self.received += 1
        self.bytes += size
        if not number:
            self.numbered = False
            return
        if self._last_number is not None:
            if number > self._last_number:
                self.lost += number - self._last_number - 1
            else:
                self.restarts += 1
        self._last_number = number

    def summary(self) -> dict[str, int | bool | None]:
        """Return the counts for the summary file; `lost` is None where it is unknown."""
        values = {name: value for name, value in asdict(self).items() if not name.startswith('_')}
        return values if self.numbered else values | {'lost': None}


class RateMeter:
    """Messages per second between two readings of a counter."""

    def __init__(self) -> None:
        self._before: tuple[int, int] | None = None

    def rate_hz(self, count: int, now_ns: int) -> float | None:
        """Return the rate since the previous reading; None at the first one."""
        before, self._before = self._before, (count, now_ns)
        if before is None or now_ns <= before[1]:
            return None
        return (count - before[0]) * 1e9 / (now_ns - before[1])

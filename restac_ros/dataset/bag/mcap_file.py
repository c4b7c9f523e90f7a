"""Messages of one MCAP file in log order, as much as the file still holds."""

import heapq
from collections import Counter
from collections.abc import Collection, Iterator
from io import BytesIO
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO

from mcap.opcode import Opcode

from restac_ros.dataset.bag.mcap_scan import (
    IN_CHUNK,
    MESSAGE_HEAD,
    ScanDamage,
    Span,
    message_head,
    scan,
    span_contents,
    walk_records,
)
from restac_ros.dataset.bag.storage import END_OF_TIME_NS, BagMessage, full_type
from restac_ros.dataset.errors import BagError


class McapFile:
    """Messages of one MCAP file in log order; `damage` says what of it could not be read, or is None.

    Raises:
        BagError: not an MCAP file, or nothing in it was written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.index = scan(path)

    @property
    def damage(self) -> str | None:
        """What cannot be read: the first damaged place, or that the file was never closed."""
        return self.index.damage

    @property
    def counts(self) -> Counter[tuple[str, str]]:
        """Messages by (topic, type)."""
        totals = Counter({self._name(channel): 0 for channel in self.index.channels})
        for span in self.index.spans:
            for channel, count in span.counts.items():
                if channel in self.index.channels:
                    totals[self._name(channel)] += count
        return totals

    @property
    def bounds_ns(self) -> tuple[int, int] | None:
        """First and last log time; None without messages."""
        spans = self.index.spans
        return (min(s.start_ns for s in spans), max(s.end_ns for s in spans)) if spans else None

    @property
    def clock_set_back_ns(self) -> int:
        """How far log times fall behind earlier ones in the order of writing: the clock was set."""
        starts = [span.start_ns for span in self.index.spans]
        latest = accumulate(starts, max)
        return max((before - start for before, start in zip(latest, starts, strict=True)), default=0)

    @property
    def metadata(self) -> dict[str, dict[str, str]]:
        """Metadata records by name."""
        return self.index.metadata

    @property
    def foreign_topics(self) -> list[str]:
        """Topics whose messages are not CDR and therefore left out."""
        return sorted(c.topic for c in self.index.channels.values() if c.message_encoding != 'cdr')

    def messages(
        self,
        topics: Collection[str] | None = None,
        start_ns: int = 0,
        stop_ns: int = END_OF_TIME_NS,
        head_bytes: int | None = None,
    ) -> Iterator[BagMessage]:
        """See `Storage.messages`."""
        wanted = {
            number: self._name(number)
            for number, channel in self.index.channels.items()
            if channel.message_encoding == 'cdr' and (topics is None or channel.topic in topics)
        }
        spans = [s for s in self.index.spans if s.end_ns >= start_ns and s.start_ns < stop_ns]
        waiting: list[tuple[int, int, int, bytes]] = []
        sequence = 0
        with self.path.open('rb') as file:
            for span in sorted(spans, key=lambda span: span.start_ns):
                while waiting and waiting[0][0] < span.start_ns:
                    yield self._message(wanted, heapq.heappop(waiting))
                for channel, log_time_ns, cdr in read_span(self.path, file, span, head_bytes):
                    if channel in wanted and start_ns <= log_time_ns < stop_ns:
                        heapq.heappush(waiting, (log_time_ns, sequence, channel, cdr))
                        sequence += 1
        while waiting:
            yield self._message(wanted, heapq.heappop(waiting))

    @staticmethod
    def _message(names: dict[int, tuple[str, str]], entry: tuple[int, int, int, bytes]) -> BagMessage:
        log_time_ns, _, channel, cdr = entry
        return BagMessage(*names[channel], cdr, log_time_ns)

    def _name(self, channel: int) -> tuple[str, str]:
        found = self.index.channels[channel]
        schema = self.index.schemas.get(found.schema_id)
        return found.topic, full_type(schema.name) if schema else ''


def read_span(
    path: Path, file: BinaryIO, span: Span, head_bytes: int | None = None
) -> list[tuple[int, int, bytes]]:
    """(channel, log time, CDR or the beginning of it) of a span's messages, in file order.

    Raises:
        BagError: the span does not hold what its header says.
    """
    try:
        raw = span_contents(file, span)
        messages = []
        for record in walk_records(BytesIO(raw), 0, len(raw)):
            if record.opcode not in IN_CHUNK:
                raise ScanDamage(record.offset, f'a record {record.opcode:#04x} inside a chunk')
            if record.opcode == Opcode.MESSAGE:
                head = raw[record.offset : record.offset + MESSAGE_HEAD.size]
                channel, log_time_ns = message_head(head, record)
                if not span.start_ns <= log_time_ns <= span.end_ns:
                    raise ScanDamage(record.offset, 'a log time outside its chunk')
                begin, end = record.offset + MESSAGE_HEAD.size, record.offset + record.length
                cdr = raw[begin : end if head_bytes is None else min(end, begin + head_bytes)]
                messages.append((channel, log_time_ns, cdr))
    except ScanDamage as damage:
        raise BagError(
            f'{path}: the chunk at byte {span.offset} is damaged ({damage}). Convert the time '
            'before it, or fetch the file again if it was copied.'
        ) from damage
    return messages

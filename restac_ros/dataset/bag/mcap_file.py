"""Messages of one MCAP file in log order, as much as the file still holds."""

import heapq
from collections import Counter
from collections.abc import Collection, Iterator
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
    span_records,
)
from restac_ros.dataset.bag.storage import END_OF_TIME_NS, BagMessage, full_type
from restac_ros.dataset.errors import BagError


class McapFile:
    """One .mcap file, see `Storage`. `damage` is the first damaged place, or that the file was never closed.

    Raises:
        BagError: not an MCAP file, or nothing in it was written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.index = scan(path)
        self.damage, self.metadata = self.index.damage, self.index.metadata
        channels, spans = self.index.channels, self.index.spans
        self.foreign_topics = sorted(c.topic for c in channels.values() if c.message_encoding != 'cdr')
        self.counts = Counter({self._name(channel): 0 for channel in channels})
        for span in spans:
            for channel in span.counts.keys() & channels.keys():
                self.counts[self._name(channel)] += span.counts[channel]
        starts = [span.start_ns for span in spans]
        self.bounds_ns = (min(starts), max(span.end_ns for span in spans)) if spans else None
        set_back = (before - start for before, start in zip(accumulate(starts, max), starts, strict=True))
        self.clock_set_back_ns = max(set_back, default=0)

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
                    yield _message(wanted, heapq.heappop(waiting))
                for channel, log_time_ns, cdr in read_span(self.path, file, span, head_bytes):
                    if channel in wanted and start_ns <= log_time_ns < stop_ns:
                        heapq.heappush(waiting, (log_time_ns, sequence, channel, cdr))
                        sequence += 1
        while waiting:
            yield _message(wanted, heapq.heappop(waiting))

    def _name(self, channel: int) -> tuple[str, str]:
        found = self.index.channels[channel]
        schema = self.index.schemas.get(found.schema_id)
        return found.topic, full_type(schema.name) if schema else ''


def _message(names: dict[int, tuple[str, str]], entry: tuple[int, int, int, bytes]) -> BagMessage:
    log_time_ns, _, channel, cdr = entry
    return BagMessage(*names[channel], cdr, log_time_ns)


def read_span(
    path: Path, file: BinaryIO, span: Span, head_bytes: int | None = None
) -> list[tuple[int, int, bytes]]:
    """Read (channel, log time, CDR or the beginning of it) of a span's messages, in file order.

    Raises:
        BagError: the span does not hold what its header announces.
    """
    try:
        messages = []
        for record, content in span_records(file, span):
            if record.opcode not in IN_CHUNK:
                raise ScanDamage(record.offset, f'a record {record.opcode:#04x} inside a chunk')
            if record.opcode == Opcode.MESSAGE:
                channel, log_time_ns = message_head(content, record)
                if not span.start_ns <= log_time_ns <= span.end_ns:
                    raise ScanDamage(record.offset, 'a log time outside its chunk')
                messages.append((channel, log_time_ns, bytes(content[MESSAGE_HEAD.size :][:head_bytes])))
    except ScanDamage as damage:
        raise BagError(
            f'{path}: the chunk at byte {span.offset} is damaged ({damage}). Convert the time '
            'before it, or fetch the file again if it was copied.'
        ) from damage
    return messages

"""Finds everything in an MCAP file by walking its records, without the index that a crash leaves out.

Format: https://mcap.dev/spec. A record is opcode (1 byte), length (8 bytes), content; messages lie in chunks
or, as rosbag2's `fastwrite` preset writes them, loose between other records. Sizes are checked before
anything is read.
"""

import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NamedTuple

from mcap.data_stream import ReadDataStream
from mcap.exceptions import EndOfFile
from mcap.opcode import Opcode
from mcap.records import Channel, Metadata, MetadataIndex, Schema
from mcap.writer import MCAP0_MAGIC

from restac_ros.dataset.bag.unpacking import UnpackError, unpack
from restac_ros.dataset.errors import BagError
from restac_ros.dataset.sealed_notes import LIBRARY, is_intact
from restac_ros.git_lfs import what_it_is

MAX_CHUNK_BYTES = 512 * 2**20  # beyond any driver's message; a corrupt length must not fill the memory
MAX_RECORD_BYTES = 16 * 2**20  # of schemas, channels and notes
LOOSE_SPAN_BYTES = 4 * 2**20

RECORD_HEAD = struct.Struct('<BQ')  # opcode, length
CHUNK_HEAD = struct.Struct('<QQQII')  # start, end, uncompressed size, CRC-32, length of compression
MESSAGE_HEAD = struct.Struct('<HIQQ')  # channel, sequence, log time, publish time
INDEX_HEAD = struct.Struct('<HI')  # channel, bytes of the index
STATISTICS_HEAD = struct.Struct('<QHIII')  # messages, schemas, channels, attachments, metadata records
INDEX_ENTRY_BYTES = 16
DATA_END_BYTES = 4

KNOWN_OPCODES = frozenset(int(opcode) for opcode in Opcode)
FIRST_PRIVATE_OPCODE = 0x80
IN_CHUNK = frozenset({Opcode.SCHEMA, Opcode.CHANNEL, Opcode.MESSAGE})
IN_DATA = IN_CHUNK | {Opcode.HEADER, Opcode.CHUNK, Opcode.MESSAGE_INDEX, Opcode.ATTACHMENT, Opcode.METADATA}


class McapRecord(NamedTuple):
    """Where a record's content lies."""

    opcode: int
    offset: int
    length: int


class ScanDamage(Exception):  # noqa: N818 - a finding that the reader works around, reported as text
    """The first record that cannot be true."""

    def __init__(self, offset: int, what: str, opcode: int = 0) -> None:
        super().__init__(f'{what} at byte {offset}')
        self.offset = offset
        self.opcode = opcode


@dataclass
class Span:
    """A run of whole messages in the file: one chunk, or neighbours outside chunks."""

    offset: int  # of the messages' records, still compressed
    length: int
    start_ns: int
    end_ns: int
    compression: str = ''
    uncompressed_size: int = 0
    crc: int = 0
    record_offset: int | None = None  # of the chunk's record; None outside chunks
    index_offsets: dict[int, int] = field(default_factory=dict)  # channel -> its message index record
    index_length: int = 0
    counts: Counter[int] = field(default_factory=Counter)  # messages by channel


@dataclass
class Index:
    """Content of one file; every span holds messages."""

    schemas: dict[int, Schema] = field(default_factory=dict)
    channels: dict[int, Channel] = field(default_factory=dict)
    spans: list[Span] = field(default_factory=list)
    metadata: dict[str, dict[str, str]] = field(default_factory=dict)  # merged by name, the last value wins
    metadata_records: list[MetadataIndex] = field(default_factory=list)
    damage: str | None = None
    end: int = 0  # first byte behind the last whole record
    cut_chunk: Span | None = None  # the whole part of an uncompressed chunk that begins at `end`, cut off


def walk_records(stream: BinaryIO, start: int, stop: int) -> Iterator[McapRecord]:
    """Yield the headers of the records between two offsets.

    Raises:
        ScanDamage: at the first record that does not fit, or has an opcode that no record has.
    """
    position = start
    while position < stop:
        stream.seek(position)
        head = stream.read(RECORD_HEAD.size)
        if len(head) < RECORD_HEAD.size or position + RECORD_HEAD.size > stop:
            raise ScanDamage(position, 'a record header is cut off')
        opcode, length = RECORD_HEAD.unpack(head)
        if opcode not in KNOWN_OPCODES and opcode < FIRST_PRIVATE_OPCODE:
            raise ScanDamage(position, f'no record begins with {opcode:#04x}')
        content = position + RECORD_HEAD.size
        if content + length > stop:
            raise ScanDamage(position, f'a record of {length} bytes has only {stop - content}', opcode)
        yield McapRecord(opcode, content, length)
        position = content + length


def span_contents(file: BinaryIO, span: Span) -> bytes:
    """Read and decompress a span's records; raise ScanDamage where they are not as announced."""
    file.seek(span.offset)
    data = file.read(span.length)
    if len(data) != span.length:
        raise ScanDamage(span.offset, f'{span.length} bytes expected, {len(data)} read')
    if span.record_offset is None:
        return data
    if max(span.length, span.uncompressed_size) > MAX_CHUNK_BYTES:
        raise ScanDamage(
            span.offset, f'a chunk of {span.uncompressed_size} bytes, more than {MAX_CHUNK_BYTES}'
        )
    if span.compression:
        try:
            data = unpack(data, span.compression, span.uncompressed_size)
        except UnpackError as error:
            raise ScanDamage(span.offset, str(error)) from error
    if len(data) != span.uncompressed_size:
        raise ScanDamage(span.offset, f'{span.uncompressed_size} bytes announced, {len(data)} unpacked')
    if span.crc and zlib.crc32(data) != span.crc:
        raise ScanDamage(span.offset, 'its checksum does not match')
    return data


def span_records(file: BinaryIO, span: Span) -> Iterator[tuple[McapRecord, memoryview]]:
    """Yield a span's records (offsets within it) and their contents; raise ScanDamage at a false one."""
    raw = span_contents(file, span)
    view = memoryview(raw)
    for record in walk_records(BytesIO(raw), 0, len(raw)):
        yield record, view[record.offset : record.offset + record.length]


def message_head(content: bytes | memoryview, record: McapRecord) -> tuple[int, int]:
    """Return channel and log time of a message record."""
    if record.length < MESSAGE_HEAD.size:
        raise ScanDamage(record.offset, f'a message record of {record.length} bytes')
    channel, _, log_time_ns, _ = MESSAGE_HEAD.unpack_from(content)
    return channel, log_time_ns


def scan(path: Path) -> Index:
    """Index one file in a single pass that skips the messages' contents.

    Raises:
        BagError: not an MCAP file, or nothing in it was written.
    """
    return _Walker(path).walk()


class _Walker:
    """Builds an Index record by record."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = path.stat().st_size
        self.index = Index(end=len(MCAP0_MAGIC))
        self._is_ours = False
        self._doubts: list[str] = []  # damages that do not end the walk

    def walk(self) -> Index:
        with self.path.open('rb') as file:
            magic = file.read(len(MCAP0_MAGIC))
            if not magic:
                raise BagError(f'{self.path} is empty: the recording stopped before its first message.')
            if magic != MCAP0_MAGIC:
                raise BagError(f'{self.path} is not an MCAP file: {what_it_is(self.path)}.')
            announced: tuple[int, int] | None = None
            try:
                self._data_section(file)
                announced = self._announced(file)
            except ScanDamage as damage:
                self._salvage(file, damage)
            self._learn_unindexed(file)
        found = (sum(span.counts.total() for span in self.index.spans), len(self.index.metadata_records))
        if announced not in (None, found):
            whats = zip(found, announced, ('messages', 'notes'), strict=True)
            self._doubts += [f'{n} of {all_} {what} can be found' for n, all_, what in whats if n != all_]
        if self._doubts and not self.index.damage:
            self.index.damage = '; '.join(self._doubts)
        return self.index

    def _data_section(self, file: BinaryIO) -> None:
        """Every record up to the end of data."""
        for record in walk_records(file, len(MCAP0_MAGIC), self.size):
            if record.opcode == Opcode.DATA_END and record.length == DATA_END_BYTES:
                return
            if record.opcode not in IN_DATA and record.opcode < FIRST_PRIVATE_OPCODE:
                raise ScanDamage(record.offset, f'a record {record.opcode:#04x} among the data')
            self._read_record(file, record)
            self.index.end = record.offset + record.length
        raise ScanDamage(self.size, 'the recording was never closed: it ends')

    def _announced(self, file: BinaryIO) -> tuple[int, int] | None:
        """Read how many messages and metadata records a closed file announces; None without statistics."""
        file.seek(-len(MCAP0_MAGIC), 2)
        if file.read() != MCAP0_MAGIC:
            raise ScanDamage(self.size, 'the end of the file is missing')
        announced = None
        for record in walk_records(file, self.index.end, self.size - len(MCAP0_MAGIC)):
            if record.opcode == Opcode.STATISTICS and record.length >= STATISTICS_HEAD.size:
                file.seek(record.offset)
                messages, *_, notes = STATISTICS_HEAD.unpack(file.read(STATISTICS_HEAD.size))
                announced = messages, notes
        return announced

    def _read_record(self, file: BinaryIO, record: McapRecord) -> None:
        index = self.index
        match record.opcode:
            case Opcode.HEADER:
                self._is_ours = LIBRARY.encode() in _read(file, record)
            case Opcode.CHUNK:
                span = chunk_span(file, record)
                if span.offset + span.length != record.offset + record.length:
                    raise ScanDamage(record.offset, 'a chunk whose sizes contradict each other')
                index.spans.append(span)
            case Opcode.MESSAGE_INDEX:
                self._message_index(file, record)
            case Opcode.MESSAGE:
                if index.spans and index.spans[-1].record_offset is not None:
                    raise ScanDamage(record.offset, 'a message between chunks')
                self._loose(file, record)
            case Opcode.SCHEMA | Opcode.CHANNEL:
                _declare(index, record.opcode, _read(file, record))
            case Opcode.METADATA:
                found = _parse(Metadata, _read(file, record), record.offset)
                if is_intact(found.name, found.metadata, self._is_ours):
                    index.metadata.setdefault(found.name, {}).update(found.metadata)
                else:
                    self._doubts.append(f'the notes at byte {record.offset} are not as they were written')
                place = record.offset - RECORD_HEAD.size, record.length + RECORD_HEAD.size
                index.metadata_records.append(MetadataIndex(*place, found.name))

    def _message_index(self, file: BinaryIO, record: McapRecord) -> None:
        spans = self.index.spans
        if not spans or spans[-1].record_offset is None or record.length < INDEX_HEAD.size:
            raise ScanDamage(record.offset, 'a message index without its chunk')
        file.seek(record.offset)
        channel, size = INDEX_HEAD.unpack(file.read(INDEX_HEAD.size))
        if size != record.length - INDEX_HEAD.size:
            raise ScanDamage(record.offset, 'a message index whose sizes contradict each other')
        spans[-1].index_offsets[channel] = record.offset - RECORD_HEAD.size
        spans[-1].index_length += record.length + RECORD_HEAD.size
        spans[-1].counts[channel] += size // INDEX_ENTRY_BYTES

    def _loose(self, file: BinaryIO, record: McapRecord) -> None:
        """Append a message outside chunks to the last span, or begin the next one."""
        file.seek(record.offset)
        channel, time_ns = message_head(file.read(MESSAGE_HEAD.size), record)
        begin, spans = record.offset - RECORD_HEAD.size, self.index.spans
        last = spans[-1] if spans else None
        if (
            last is None
            or last.record_offset is not None
            or last.offset + last.length != begin
            or last.length > LOOSE_SPAN_BYTES
        ):
            last = Span(offset=begin, length=0, start_ns=time_ns, end_ns=time_ns)
            spans.append(last)
        last.length += RECORD_HEAD.size + record.length
        last.start_ns, last.end_ns = min(last.start_ns, time_ns), max(last.end_ns, time_ns)
        last.counts[channel] += 1

    def _salvage(self, file: BinaryIO, damage: ScanDamage) -> None:
        """Note the damage; keep the whole messages of an uncompressed chunk that was cut off."""
        self.index.damage = f'{damage} of {self.size}'
        if damage.opcode != Opcode.CHUNK:
            return
        file.seek(damage.offset)
        record = McapRecord(
            Opcode.CHUNK, damage.offset + RECORD_HEAD.size, RECORD_HEAD.unpack(file.read(RECORD_HEAD.size))[1]
        )
        try:
            span = chunk_span(file, record)
            if span.compression or span.offset + span.length != record.offset + record.length:
                return  # nothing to be had, or not cut off but damaged
            self.index.cut_chunk = span
            span.length = 0
            for record in walk_records(file, span.offset, self.size):
                if record.opcode == Opcode.MESSAGE:
                    self._loose(file, record)
                elif record.opcode in IN_CHUNK:
                    _declare(self.index, record.opcode, _read(file, record))
                else:
                    return
                span.length = record.offset + record.length - span.offset
        except ScanDamage:
            return  # the cut itself: all before it has been kept

    def _learn_unindexed(self, file: BinaryIO) -> None:
        """Read chunks that no index describes, or that may declare a channel not known yet."""
        for number, span in enumerate(self.index.spans):
            last = self.index.damage is not None and number == len(self.index.spans) - 1
            known = all(channel in self.index.channels for channel in span.counts)
            if span.record_offset is None or (span.counts and known and not last):
                continue
            try:
                counts: Counter[int] = Counter()
                for record, content in span_records(file, span):
                    if record.opcode == Opcode.MESSAGE:
                        counts[message_head(content, record)[0]] += 1
                    else:
                        _declare(self.index, record.opcode, content)
                span.counts = counts
            except ScanDamage as damage:
                self.index.damage = self.index.damage or f'{damage} of {self.size}'
                self.index.end, self.index.cut_chunk = span.record_offset, None
                del self.index.spans[number:]
                break
        self.index.spans = [span for span in self.index.spans if span.counts]


def chunk_span(file: BinaryIO, record: McapRecord) -> Span:
    """Return the span that a chunk record describes; its content may reach beyond the end of the file."""
    file.seek(record.offset)
    head = file.read(CHUNK_HEAD.size)
    if len(head) < CHUNK_HEAD.size:
        raise ScanDamage(record.offset, 'a chunk header is cut off')
    start_ns, end_ns, uncompressed_size, crc, name_length = CHUNK_HEAD.unpack(head)
    name = file.read(name_length) if name_length <= 16 else b''
    size = file.read(8)
    if len(name) != name_length or len(size) < 8:
        raise ScanDamage(record.offset, 'a chunk header that cannot be true')
    return Span(
        offset=record.offset + CHUNK_HEAD.size + name_length + len(size),
        length=int.from_bytes(size, 'little'),
        start_ns=start_ns,
        end_ns=end_ns,
        compression=name.decode('ascii', 'replace'),
        uncompressed_size=uncompressed_size,
        crc=crc,
        record_offset=record.offset - RECORD_HEAD.size,
    )


def _declare(index: Index, opcode: int, content: bytes | memoryview) -> None:
    """Store a schema or a channel; ignore other records."""
    if opcode == Opcode.SCHEMA:
        schema = _parse(Schema, content, 0)
        index.schemas[schema.id] = schema
    elif opcode == Opcode.CHANNEL:
        channel = _parse(Channel, content, 0)
        index.channels[channel.id] = channel


def _read(file: BinaryIO, record: McapRecord) -> bytes:
    if record.length > MAX_RECORD_BYTES:
        raise ScanDamage(record.offset, f'a record of {record.length} bytes, more than {MAX_RECORD_BYTES}')
    file.seek(record.offset)
    return file.read(record.length)


def _parse[R: (Schema, Channel, Metadata)](kind: type[R], content: bytes | memoryview, offset: int) -> R:
    """Parse one small record by mcap's own class; raise ScanDamage where it cannot."""
    try:
        return kind.read(ReadDataStream(BytesIO(content)))
    except (EndOfFile, struct.error, UnicodeDecodeError) as error:
        raise ScanDamage(offset, f'an unreadable {kind.__name__.lower()} record') from error

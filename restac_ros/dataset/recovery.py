"""Completes journals that a crash left unfinished, in place.

Nothing is copied, so that a full disk does not matter; only the torn record at the end is cut off. After a
crash during any step the file can be recovered again.

`python -m restac_ros.dataset.recovery NAME.partial` does it in a process of its own, which may be stopped at
any moment; it reports in a line of JSON.
"""

import argparse
import fcntl
import json
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

from mcap.data_stream import RecordBuilder
from mcap.opcode import Opcode
from mcap.records import (
    ChunkIndex,
    DataEnd,
    Footer,
    McapRecord,
    MessageIndex,
    Statistics,
    SummaryOffset,
)
from mcap.writer import MCAP0_MAGIC

from restac_ros.dataset.bag.bag_writer import PARTIAL
from restac_ros.dataset.bag.mcap_scan import (
    CHUNK_HEAD,
    RECORD_HEAD,
    Index,
    Span,
    message_head,
    scan,
    span_records,
)
from restac_ros.dataset.bag.rosbag2_layout import finish_bag
from restac_ros.dataset.errors import BagError, JournalError

# A crash tears at most what had not been flushed. More than this behind the damage means another cause.
MAX_TAIL_BYTES = 256 * 2**20


class Recovered(NamedTuple):
    """A finished bag, how many messages it holds, and what was cut off (None: nothing)."""

    path: Path
    messages: int
    damage: str | None


def find_unfinished(directory: Path) -> list[Path]:
    """Return the unfinished journals in `directory` that no living recorder is writing."""
    return [
        path for path in sorted(directory.glob(f'*{PARTIAL}')) if _files(path) and not is_being_written(path)
    ]


def recover(partial: Path) -> Recovered:
    """Complete an unfinished journal NAME.partial and rename it to NAME.

    Raises:
        JournalError: it is in use, empty, or damaged in a way that no crash explains; it stays as it is.
    """
    files = _files(partial)
    if not partial.name.endswith(PARTIAL) or not files:
        raise JournalError(f'{partial} is no unfinished journal: expected NAME{PARTIAL} with a .mcap file')
    try:
        with _owned(files[-1]) as file:
            index = scan(files[-1])
            if index.damage:
                _complete(files[-1], file, index)
            final = finish_bag(partial, partial.with_name(partial.name.removesuffix(PARTIAL)))
    except (BagError, OSError) as error:
        raise JournalError(f'{partial} cannot be recovered: {error}') from error
    return Recovered(final, sum(span.counts.total() for span in index.spans), index.damage)


def _files(partial: Path) -> list[Path]:
    return sorted(partial.glob('*.mcap')) if partial.is_dir() else []


def is_being_written(partial: Path) -> bool:
    """Return whether a living recorder is writing an unfinished journal."""
    try:
        with _owned(_files(partial)[-1], 'rb'):
            return False
    except JournalError:
        return True


@contextmanager
def _owned(path: Path, mode: Literal['rb', 'r+b'] = 'r+b') -> Iterator[BinaryIO]:
    """Open and lock the file; raise JournalError while a living recorder is writing it."""
    with path.open(mode) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise JournalError(f'{path.parent} is being recorded by a running process: stop it') from error
        yield file


def _complete(path: Path, file: BinaryIO, index: Index) -> None:
    """Cut off the torn tail and write what `Journal.close` would have written."""
    if not index.spans:
        raise JournalError(f'{path} holds no message: nothing to recover. Remove {path.parent}.')
    keep = index.end
    if chunk := index.cut_chunk:
        keep = chunk.offset + chunk.length
    file.seek(0, 2)
    if (tail := file.tell() - keep) > MAX_TAIL_BYTES:
        raise JournalError(
            f'{path}: {index.damage}; {tail} bytes follow, too many for a crash. Nothing was '
            'changed: convert it as it is, or fetch it again if it was copied.'
        )
    file.truncate(keep)
    if chunk:
        file.seek(index.end)
        file.write(_chunk_head(index, chunk))
    file.flush()
    _append_end(file, scan(path))


def _chunk_head(index: Index, chunk: Span) -> bytes:
    """The head of a chunk record that ends where the file now does."""
    inside = [span for span in index.spans if span.offset >= chunk.offset]
    start_ns = min((span.start_ns for span in inside), default=0)
    end_ns = max((span.end_ns for span in inside), default=0)
    content = CHUNK_HEAD.pack(start_ns, end_ns, chunk.length, 0, 0) + chunk.length.to_bytes(8, 'little')
    return RECORD_HEAD.pack(Opcode.CHUNK, len(content) + chunk.length) + content


def _append_end(file: BinaryIO, index: Index) -> None:
    """Message indexes of the last chunk, the end of data, the summary and the footer."""
    data, summary = RecordBuilder(), RecordBuilder()
    last = index.spans[-1]
    if last.record_offset is not None:
        for channel, entries in _message_entries(file, last).items():
            if channel not in last.index_offsets:
                last.index_offsets[channel] = index.end + data.count
                before = data.count
                MessageIndex(channel, entries).write(data)
                last.index_length += data.count - before
    DataEnd(0).write(data)
    base = index.end + data.count
    offsets = []
    for opcode, records in _summary(index).items():
        begin = summary.count
        for record in records:
            record.write(summary)
        offsets.append(SummaryOffset(opcode, base + begin, summary.count - begin))
    offset_start = base + summary.count
    for record in offsets:
        record.write(summary)
    Footer(base, offset_start, 0).write(summary)
    file.seek(index.end)
    file.write(data.end() + summary.end() + MCAP0_MAGIC)
    file.flush()
    os.fsync(file.fileno())


def _message_entries(file: BinaryIO, span: Span) -> dict[int, list[tuple[int, int]]]:
    """(log time, offset in the chunk) of a chunk's messages by channel."""
    entries: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for record, content in span_records(file, span):
        if record.opcode == Opcode.MESSAGE:
            channel, time_ns = message_head(content, record)
            entries[channel].append((time_ns, record.offset - RECORD_HEAD.size))
    return entries


def _summary(index: Index) -> dict[int, list[McapRecord]]:
    """The summary section: what a reader wants to know without walking the file."""
    totals: Counter[int] = sum((span.counts for span in index.spans), Counter())
    chunks = [
        _chunk_index(span, span.record_offset) for span in index.spans if span.record_offset is not None
    ]
    statistics = Statistics(
        attachment_count=0,
        channel_count=len(index.channels),
        channel_message_counts=dict(totals),
        chunk_count=len(chunks),
        message_count=totals.total(),
        message_end_time=max(span.end_ns for span in index.spans),
        message_start_time=min(span.start_ns for span in index.spans),
        metadata_count=len(index.metadata_records),
        schema_count=len(index.schemas),
    )
    return {
        Opcode.SCHEMA: list(index.schemas.values()),
        Opcode.CHANNEL: list(index.channels.values()),
        Opcode.STATISTICS: [statistics],
        Opcode.CHUNK_INDEX: chunks,
        Opcode.METADATA_INDEX: list(index.metadata_records),
    }


def _chunk_index(span: Span, offset: int) -> McapRecord:
    return ChunkIndex(
        chunk_length=span.offset + span.length - offset,
        chunk_start_offset=offset,
        compression=span.compression,
        compressed_size=span.length,
        message_end_time=span.end_ns,
        message_index_length=span.index_length,
        message_index_offsets=span.index_offsets,
        message_start_time=span.start_ns,
        uncompressed_size=span.uncompressed_size,
    )


def main(arguments: list[str] | None = None) -> int:
    """Recover one journal; prints {"event": "recovered" | "failed", ...}; 0 when recovered."""
    parser = argparse.ArgumentParser(description='Complete a recording that a crash left unfinished.')
    parser.add_argument('partial', type=Path, help='NAME.partial')
    parser.add_argument('--nice', type=int, default=0, help='lower the priority by this much')
    options = parser.parse_args(arguments)
    os.nice(options.nice)
    try:
        recovered = recover(options.partial)
    except (BagError, JournalError) as error:
        print(json.dumps({'event': 'failed', 'error': str(error)}), flush=True)
        return 1
    print(json.dumps({'event': 'recovered', **recovered._asdict()}, default=str), flush=True)
    return 0


if __name__ == '__main__':
    sys.exit(main())

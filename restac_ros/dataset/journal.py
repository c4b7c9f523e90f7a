"""Crash-safe recording: serialised messages appended to an MCAP file that is nearly a bag at every moment.

A journal is a directory NAME.partial until it has been closed and checked; then it is renamed to NAME, a
standard rosbag2 bag. Whatever stops the recorder, all but the last second is in the file: see `recovery`.
"""

import fcntl
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, NamedTuple

from mcap.writer import CompressionType, Writer

from restac_ros.contract.load import dump_contract
from restac_ros.contract.schema import Contract
from restac_ros.dataset.bag_reader import Bag
from restac_ros.dataset.errors import JournalError
from restac_ros.dataset.rosbag2_layout import NO_QOS, describe_type, finish_bag, sync_directory

PARTIAL = '.partial'
NOTES = 'restac_ros'                   # the MCAP metadata record with the contract, the task and the times
CHUNK_BYTES = 768 * 2**10              # rosbag2's own; from 1 MiB on, allocation triples the CPU time
FLUSH_PERIOD_NS = 500_000_000          # twice a second, so that "at most the last second" holds with a margin
COMPRESSIONS = {'none': CompressionType.NONE, 'lz4': CompressionType.LZ4, 'zstd': CompressionType.ZSTD}
MAX_TIME_NS = 2**63 - 1


class Notes(NamedTuple):
    """What a journal says about itself; None where it says nothing, as a plain bag does."""

    contract_text: str | None
    task: str | None
    start_ns: int | None
    end_ns: int | None


def read_notes(bag: Bag) -> Notes:
    """The notes of the journal that `bag` is or was; all None for other bags."""
    notes = bag.metadata.get(NOTES, {})
    start, end = notes.get('start_ns', ''), notes.get('end_ns', '')
    return Notes(notes.get('contract'), notes.get('task'), int(start) if start.isdecimal() else None,
                 int(end) if end.isdecimal() else None)


def check_free_disk(path: Path, needed_bytes: int) -> int:
    """Free bytes where `path` lies or will lie.

    Raises:
        JournalError: fewer than `needed_bytes`.
    """
    existing = next(folder for folder in [path, *path.absolute().parents] if folder.exists())
    free = shutil.disk_usage(existing).free
    if free < needed_bytes:
        raise JournalError(f'{existing} has {free / 1e9:.2f} GB free of {needed_bytes / 1e9:.2f} GB needed. '
                           'Free some, or record to another disk.')
    return free


class Journal:
    """Appends the contract's streams to a bag. Time is the caller's: `receive_ns`, `now_ns`.

    Not thread safe, and `write` blocks for as long as the disk does: call it from one writer thread behind a
    queue. `counts` are messages written by stream, `bytes_written` the sum of their sizes.
    """

    def __init__(self, path: Path | str, contract: Contract, *, start_ns: int, task: str = '',
                 compression: Literal['none', 'lz4', 'zstd'] = 'none', sync: bool = True) -> None:
        """Begin to record into `path`.partial at `start_ns`, where an episode made of it begins.

        `sync` forces every flush to the disk itself: then a power cut, too, costs a second at most.

        Raises:
            JournalError: the directory exists already, or the disk refuses.
        """
        self.path = Path(path)
        self.partial = self.path.with_name(self.path.name + PARTIAL)
        self.file_path = self.partial / f'{self.path.name}_0.mcap'
        self.counts: dict[str, int] = dict.fromkeys(contract.streams, 0)
        self.bytes_written = 0
        self._contract = contract
        self._sync = sync
        self._last_flush_ns = start_ns
        self._failure = ''
        for taken in (self.path, self.partial):
            if taken.exists():
                raise JournalError(f'{taken} exists already. Choose another name, or recover or move it.')
        with self._guarded():
            self.partial.mkdir(parents=True)
            self._file = self.file_path.open('xb')
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)      # tells that a recorder lives
            self._writer = Writer(self._file, chunk_size=CHUNK_BYTES, compression=COMPRESSIONS[compression])
            self._writer.start(profile='ros2', library='restac_ros')
            self._note(contract=dump_contract(contract), task=task, start_ns=str(start_ns))
            self._channels = self._register()
            self._bring_to_disk()
            sync_directory(self.partial.parent)

    def write(self, stream: str, cdr: bytes | memoryview, receive_ns: int) -> None:
        """Append one message; flushes when that is due.

        Raises:
            JournalError: the stream is not in the contract, or the disk refuses.
        """
        channel = self._channels.get(stream)
        if channel is None:
            raise JournalError(f'stream {stream!r} is not recorded; known: {", ".join(self._channels)}')
        if not 0 <= receive_ns <= MAX_TIME_NS:
            raise JournalError(f'stream {stream!r}: receive time {receive_ns} ns is no time since the epoch')
        with self._guarded():
            self._writer.add_message(channel, receive_ns, cdr, receive_ns, self.counts[stream] % 2**32)
        self.counts[stream] += 1
        self.bytes_written += len(cdr)
        self.flush_if_due(receive_ns)

    def flush_if_due(self, now_ns: int) -> None:
        """Flush if half a second has passed; call this at least twice a second also while nothing arrives.

        Raises:
            JournalError: the disk refuses.
        """
        if abs(now_ns - self._last_flush_ns) >= FLUSH_PERIOD_NS:        # abs: the clock may be set back
            self.flush(now_ns)

    def flush(self, now_ns: int) -> None:
        """Bring everything written so far to the disk.

        Raises:
            JournalError: the disk refuses.
        """
        with self._guarded():
            self._writer.flush()
            self._bring_to_disk()
        self._last_flush_ns = now_ns

    def close(self, end_ns: int, task: str | None = None) -> Path:
        """Finish, check by reading back, and give the bag its name; `task` replaces the one given before.

        Raises:
            JournalError: the disk refuses, or the file does not hold what was written; NAME.partial stays.
        """
        with self._guarded():
            self._writer.flush()
            self._note(end_ns=str(end_ns), **({} if task is None else {'task': task}))
            self._writer.finish()
            self._file.flush()
            os.fsync(self._file.fileno())
            expected = Counter({(self._contract.streams[name].topic, self._contract.streams[name].type): count
                                for name, count in self.counts.items()})
            finished = finish_bag(self.partial, self.path, expected)
            self._file.close()
        self._failure = 'it is closed'
        return finished

    def abandon(self) -> None:
        """Stop without finishing: what was written stays in NAME.partial, to be recovered or removed."""
        self._failure = self._failure or 'it was abandoned'
        with suppress(OSError):        # a full disk is a reason to abandon
            self._writer.flush()
            self._file.close()

    def _register(self) -> dict[str, int]:
        """Declare a channel per stream and a schema per type."""
        channels: dict[str, int] = {}
        schemas: dict[str, int] = {}
        for name, stream in self._contract.streams.items():
            described = describe_type(stream.type)
            if stream.type not in schemas:
                definition = described.definition.encode()
                schemas[stream.type] = self._writer.register_schema(stream.type, 'ros2msg', definition)
            about = {'offered_qos_profiles': NO_QOS, 'topic_type_hash': described.hash}
            channels[name] = self._writer.register_channel(stream.topic, 'cdr', schemas[stream.type], about)
        return channels

    def _note(self, **values: str) -> None:
        self._writer.add_metadata(NOTES, values)

    def _bring_to_disk(self) -> None:
        self._file.flush()
        if self._sync:
            os.fdatasync(self._file.fileno())

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Once the disk has refused, the file must get nothing more: what follows a torn record is lost."""
        if self._failure:
            raise JournalError(f'{self.path}: nothing can be recorded any more: {self._failure}')
        try:
            yield
        except OSError as error:
            self._failure = f'{self.file_path}: {error.strerror or error}'
            raise JournalError(f'{self._failure}. What was written before is kept in {self.partial}: make '
                               'room or choose another disk, then recover it.') from error

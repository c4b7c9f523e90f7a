"""Crash-safe writing of bags: serialised messages are appended to an MCAP file.

A bag is a directory NAME.partial until it has been closed and checked; then it is renamed to NAME, a standard
rosbag2 bag. Whatever stops the writer, all but the last second is in the file, and `recovery` completes it.
"""

import fcntl
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from mcap.writer import CompressionType, Writer

from restac_ros.dataset.bag.rosbag2_layout import NO_QOS, describe_type, finish_bag, sync_path
from restac_ros.dataset.errors import JournalError
from restac_ros.dataset.sealed_notes import LIBRARY, NOTES, sealed

PARTIAL = '.partial'
CHUNK_BYTES = 768 * 2**10  # rosbag2's own; from 1 MiB on, allocation triples the CPU time
FLUSH_PERIOD_NS = 500_000_000  # twice a second, so that "at most the last second" holds with a margin
COMPRESSIONS = {'none': CompressionType.NONE, 'lz4': CompressionType.LZ4, 'zstd': CompressionType.ZSTD}
MAX_TIME_NS = 2**63 - 1
Compression = Literal['none', 'lz4', 'zstd']


class BagWriter:
    """Appends messages of declared topics to a bag. Time is the caller's.

    Not thread safe, and writing blocks for as long as the disk does: use it from one thread behind a queue.

    Raises:
        JournalError: from every method, when the disk refuses; and once it has, from all that write later.

    Attributes:
        path: the finished bag.
        partial: the directory while the bag is written.
        file_path: the file that is written.
        bytes_written: sum of the messages' sizes.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        start_ns: int,
        compression: Compression = 'none',
        sync: bool = True,
        steady_ns: Callable[[], int] = lambda: 0,
    ) -> None:
        """Begin to write `path`.partial.

        With `sync`, every flush reaches the disk itself, so that a power cut, too, costs a second at most.
        The clock `steady_ns` measures how long flushes wait for the disk.

        Raises:
            JournalError: the directory exists already, or the disk refuses.
        """
        self.path = Path(path)
        self.partial = self.path.with_name(self.path.name + PARTIAL)
        self.file_path = self.partial / f'{self.path.name}_0.mcap'
        self.bytes_written = 0
        self._sync, self._steady_ns = sync, steady_ns
        self._disk_ns = 0
        self._waits_since_ns: int | None = None
        self._last_flush_ns = start_ns
        self._failure = ''
        self._schemas: dict[str, int] = {}
        self._declared: dict[int, tuple[str, str]] = {}
        self._counts: Counter[int] = Counter()
        for taken in (self.path, self.partial):
            if taken.exists():
                raise JournalError(f'{taken} exists already. Choose another name, or recover or move it.')
        with self._guarded():
            self.partial.mkdir(parents=True)
            self._file = self.file_path.open('xb')
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # shows `recovery` a living recorder
            self._writer = Writer(self._file, chunk_size=CHUNK_BYTES, compression=COMPRESSIONS[compression])
            self._writer.start(profile='ros2', library=LIBRARY)
            self._bring_to_disk()
            sync_path(self.partial.parent)

    @property
    def disk_ns(self) -> int:
        """How long flushes have waited for the disk, with the one under way, ns."""
        since_ns = self._waits_since_ns
        return self._disk_ns + (0 if since_ns is None else self._steady_ns() - since_ns)

    def note(self, **values: str) -> None:
        """Store facts about the recording in its file; a later value of a name replaces an earlier one."""
        with self._guarded():
            self._writer.add_metadata(NOTES, sealed(values))
            self._bring_to_disk()

    def declare(self, topic: str, kind: str) -> int:
        """Return a channel for messages of type `kind` on `topic`; the file gets the type's definition."""
        described = describe_type(kind)
        with self._guarded():
            if kind not in self._schemas:
                definition = described.definition.encode()
                self._schemas[kind] = self._writer.register_schema(kind, 'ros2msg', definition)
            about = {'offered_qos_profiles': NO_QOS, 'topic_type_hash': described.hash}
            channel = self._writer.register_channel(topic, 'cdr', self._schemas[kind], about)
        self._declared[channel] = (topic, kind)
        return channel

    def append(self, channel: int, cdr: bytes | memoryview, log_time_ns: int) -> None:
        """Append one message; flush when that is due."""
        if not 0 <= log_time_ns <= MAX_TIME_NS:
            raise JournalError(f'{self._declared[channel][0]}: {log_time_ns} ns is no time since the epoch')
        with self._guarded():
            sequence = self._counts[channel] % 2**32
            self._writer.add_message(channel, log_time_ns, cdr, log_time_ns, sequence)  # type: ignore[arg-type]  # any buffer
        self._counts[channel] += 1
        self.bytes_written += len(cdr)
        self.flush_if_due(log_time_ns)

    def flush_if_due(self, now_ns: int) -> None:
        """Flush if half a second has passed; call this at least twice a second also while nothing arrives."""
        if abs(now_ns - self._last_flush_ns) >= FLUSH_PERIOD_NS:  # abs: the clock may be set back
            self.flush(now_ns)

    def flush(self, now_ns: int) -> None:
        """Bring everything written so far to the disk."""
        with self._guarded():
            self._writer.flush()
            self._bring_to_disk()
        self._last_flush_ns = now_ns

    def finish(self, **notes: str) -> Path:
        """Close the file with last notes, check it by reading it back, and give the bag its name.

        Raises:
            JournalError: the disk refuses, or the file does not hold what was written; NAME.partial stays.
        """
        with self._guarded():
            self._writer.flush()
            self._writer.add_metadata(NOTES, sealed(notes))
            self._writer.finish()
            self._file.flush()
            os.fsync(self._file.fileno())
            expected: Counter[tuple[str, str]] = Counter()
            for channel, declared in self._declared.items():
                expected[declared] += self._counts[channel]
            finished = finish_bag(self.partial, self.path, expected)
            self._file.close()
        self._failure = 'it is closed'
        return finished

    def abandon(self) -> None:
        """Stop without finishing: what was written stays in NAME.partial, to be recovered or removed."""
        if not self._failure:
            with suppress(Exception):  # whatever was the reason to abandon it may end this, too
                self._writer.flush()
        with suppress(OSError):
            self._file.close()
        self._failure = self._failure or 'it was abandoned'

    def _bring_to_disk(self) -> None:
        self._waits_since_ns = self._steady_ns()
        self._file.flush()
        if self._sync:
            os.fdatasync(self._file.fileno())
        self._disk_ns, self._waits_since_ns = self.disk_ns, None

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Once the disk has refused, the file must get nothing more: what follows a torn record is lost."""
        if self._failure:
            raise JournalError(f'{self.path}: nothing can be recorded any more: {self._failure}')
        try:
            yield
        except OSError as error:
            self._failure = f'{self.file_path}: {error.strerror or error}'
            raise JournalError(
                f'{self._failure}. What was written is kept in {self.partial}: make room '
                'or choose another disk, then recover it.'
            ) from error

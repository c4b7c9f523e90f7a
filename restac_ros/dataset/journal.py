"""Crash-safe recording of a contract's streams, with the contract, the task and the times inside."""

import shutil
from pathlib import Path
from typing import NamedTuple

from restac_ros.contract.load import dump_contract
from restac_ros.contract.schema import Contract
from restac_ros.dataset.bag_reader import Bag
from restac_ros.dataset.bag_writer import NOTES, BagWriter, Compression
from restac_ros.dataset.errors import JournalError


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
    queue. `counts` are messages written by stream.
    """

    def __init__(self, path: Path | str, contract: Contract, *, start_ns: int, task: str = '',
                 compression: Compression = 'none', sync: bool = True) -> None:
        """Begin to record into `path`.partial at `start_ns`, where an episode made of it begins.

        `sync` forces every flush to the disk itself: then a power cut, too, costs a second at most.

        Raises:
            JournalError: the directory exists already, or the disk refuses.
        """
        self._bag = BagWriter(path, start_ns=start_ns, compression=compression, sync=sync)
        self._bag.note(contract=dump_contract(contract), task=task, start_ns=str(start_ns))
        self._channels = {name: self._bag.declare(stream.topic, stream.type)
                          for name, stream in contract.streams.items()}
        self.counts: dict[str, int] = dict.fromkeys(contract.streams, 0)

    @property
    def path(self) -> Path:
        """What the finished bag will be called."""
        return self._bag.path

    @property
    def partial(self) -> Path:
        """The directory while it is being written."""
        return self._bag.partial

    @property
    def file_path(self) -> Path:
        """The file that is being written."""
        return self._bag.file_path

    @property
    def bytes_written(self) -> int:
        """Sum of the messages' sizes."""
        return self._bag.bytes_written

    def write(self, stream: str, cdr: bytes | memoryview, receive_ns: int) -> None:
        """Append one message; flushes when that is due.

        Raises:
            JournalError: the stream is not in the contract, or the disk refuses.
        """
        channel = self._channels.get(stream)
        if channel is None:
            raise JournalError(f'stream {stream!r} is not recorded; known: {", ".join(self._channels)}')
        self._bag.write(channel, cdr, receive_ns)
        self.counts[stream] += 1

    def flush_if_due(self, now_ns: int) -> None:
        """Flush if half a second has passed; call this at least twice a second also while nothing arrives.

        Raises:
            JournalError: the disk refuses.
        """
        self._bag.flush_if_due(now_ns)

    def flush(self, now_ns: int) -> None:
        """Bring everything written so far to the disk.

        Raises:
            JournalError: the disk refuses.
        """
        self._bag.flush(now_ns)

    def close(self, end_ns: int, task: str | None = None) -> Path:
        """Finish, check by reading back, and give the bag its name; `task` replaces the start's.

        Raises:
            JournalError: the disk refuses, or the file does not hold what was written; NAME.partial stays.
        """
        return self._bag.close(end_ns=str(end_ns), **({} if task is None else {'task': task}))

    def abandon(self) -> None:
        """Stop without finishing: what was written stays in NAME.partial, to be recovered or removed."""
        self._bag.abandon()

"""Crash-safe recording of a contract's streams, with the contract, the task and the times inside."""

import json
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from restac_ros.contract.load import dump_contract
from restac_ros.contract.schema import Contract
from restac_ros.dataset.bag.bag_reader import Bag
from restac_ros.dataset.bag.bag_writer import NOTES, BagWriter, Compression
from restac_ros.dataset.errors import BagError, JournalError
from restac_ros.dataset.references import reference_topic


class Notes(NamedTuple):
    """What a journal notes about itself; None where it notes nothing, as a plain bag does.

    `segments` are the stretches (start_ns, end_ns) between which the recording was paused, in order; empty
    when it never was. Frames that reach over a pause would have false time labels. `subtasks` are those that
    were begun, each with its time, ns.
    """

    contract_text: str | None
    task: str | None
    start_ns: int | None
    end_ns: int | None
    segments: tuple[tuple[int, int], ...] = ()
    subtasks: tuple[tuple[int, str], ...] = ()


def read_notes(bag: Bag) -> Notes:
    """Return the notes of the journal that `bag` is or was; all None for other bags.

    Raises:
        BagError: the pauses, or the subtasks, are noted in a way that cannot be true.
    """
    notes = bag.metadata.get(NOTES, {})
    start, end = notes.get('start_ns', ''), notes.get('end_ns', '')
    end_ns = int(end) if end.isdecimal() else None
    return Notes(
        notes.get('contract'),
        notes.get('task'),
        int(start) if start.isdecimal() else None,
        end_ns,
        _segments(bag, notes.get('segments', ''), end_ns),
        _subtasks(bag, notes.get('subtasks', '')),
    )


def _segments(bag: Bag, text: str, end_ns: int | None) -> tuple[tuple[int, int], ...]:
    """The stretches between pauses; one that a crash ended goes on to the last message."""
    if not text:
        return ()
    last_ns = max(end_ns or 0, bag.bounds_ns[1] + 1 if bag.bounds_ns else 0)
    try:
        segments = tuple(
            (start, max(start, last_ns) if end is None else end) for start, end in json.loads(text)
        )
        ordered = all(type(time) is int for segment in segments for time in segment) and all(
            before <= after for before, after in pairwise(time for segment in segments for time in segment)
        )
    except (ValueError, TypeError) as error:
        raise BagError(f'{bag.path}: its note of pauses is unreadable: {text[:80]!r} ({error})') from error
    if not segments or not ordered:
        raise BagError(f'{bag.path}: its note of pauses {text[:80]!r} is no list of stretches in order')
    return segments


def _subtasks(bag: Bag, text: str) -> tuple[tuple[int, str], ...]:
    try:
        found = tuple((time_ns, said) for time_ns, said in json.loads(text or '[]'))
    except (ValueError, TypeError) as error:
        raise BagError(f'{bag.path}: its note of subtasks is unreadable: {text[:80]!r} ({error})') from error
    times = [time_ns for time_ns, _ in found]
    if any(type(time_ns) is not int or type(said) is not str for time_ns, said in found) or times != sorted(
        times
    ):
        raise BagError(
            f'{bag.path}: its note of subtasks {text[:80]!r} is no list of times and texts in order'
        )
    return found


def check_free_disk(path: Path, needed_bytes: int) -> int:
    """Free bytes where `path` lies or will lie.

    Raises:
        JournalError: fewer than `needed_bytes`.
    """
    existing = next(folder for folder in [path, *path.absolute().parents] if folder.exists())
    free = shutil.disk_usage(existing).free
    if free < needed_bytes:
        raise JournalError(
            f'{existing} has {free / 1e9:.2f} GB free of {needed_bytes / 1e9:.2f} GB needed. '
            'Free some, or record to another disk.'
        )
    return free


class Journal(BagWriter):
    """Appends the contract's streams to a bag, with the contract, the task and the pauses in its notes.

    Attributes:
        counts: messages written, by stream.
    """

    def __init__(
        self,
        path: Path | str,
        contract: Contract,
        *,
        start_ns: int,
        task: str = '',
        compression: Compression = 'none',
        sync: bool = True,
        steady_ns: Callable[[], int] = lambda: 0,
    ) -> None:
        """Begin to record into `path`.partial at `start_ns`, where an episode made of it begins.

        Raises:
            JournalError: the directory exists already, or the disk refuses.
        """
        super().__init__(path, start_ns=start_ns, compression=compression, sync=sync, steady_ns=steady_ns)
        self.note(contract=dump_contract(contract), task=task, start_ns=str(start_ns))
        self._channels: dict[str, int] = {}
        for names in contract.by_topic().values():
            stream = contract.streams[names[0]]
            self._channels |= dict.fromkeys(names, self.declare(stream.topic, stream.type))
        self._references = {
            name: (reference_topic(spec.topic), spec.type)
            for name, spec in contract.by_role('tactile').items()
        }
        self._reference_channels: dict[str, int] = {}
        self._last: dict[int, tuple[str, int, bytes | memoryview]] = {}  # by channel: stream, receipt, bytes
        self.counts: dict[str, int] = dict.fromkeys(contract.streams, 0)
        self._segments: list[tuple[int, int]] = []  # those that have ended
        self._subtasks: list[tuple[int, str]] = []
        self._since_ns: int | None = start_ns  # when the one under way began; None while paused

    def write(self, stream: str, cdr: bytes | memoryview, receive_ns: int) -> None:
        """Append one message; flush when that is due.

        Raises:
            JournalError: the stream is not in the contract, or the disk refuses.
        """
        channel = self._channels.get(stream)
        if channel is None:
            raise JournalError(f'stream {stream!r} is not recorded; known: {", ".join(self._channels)}')
        # A message of two streams that share a topic comes once for each and is written once.
        before = self._last.get(channel)
        if before is None or before[0] == stream or before[1] != receive_ns or before[2] is not cdr:
            self.append(channel, cdr, receive_ns)
        self._last[channel] = stream, receive_ns, cdr
        self.counts[stream] += 1

    def write_reference(self, stream: str, cdr: bytes | memoryview, receive_ns: int) -> None:
        """Append the reference image of a tactile stream, which counts as none of its messages.

        Raises:
            JournalError: the stream is not in the contract, or the disk refuses.
        """
        if stream not in self._references:
            raise JournalError(f'{stream!r} is no tactile stream; known: {", ".join(self._references)}')
        topic, kind = self._references[stream]
        if stream not in self._reference_channels:
            self._reference_channels[stream] = self.declare(topic, kind)
        self.append(self._reference_channels[stream], cdr, receive_ns)

    def pause(self, now_ns: int) -> None:
        """End a stretch of the recording; this and all before it is on the disk on return.

        Raises:
            JournalError: it is paused already, or the disk refuses.
        """
        if self._since_ns is None:
            raise JournalError(f'{self.path} is paused already')
        self._segments.append((self._since_ns, max(now_ns, self._since_ns)))
        self._since_ns = None
        self.flush(now_ns)
        self._note_segments()

    def resume(self, now_ns: int) -> None:
        """Begin the next stretch, an episode of its own.

        Raises:
            JournalError: it is not paused, or the disk refuses.
        """
        if self._since_ns is not None:
            raise JournalError(f'{self.path} is not paused')
        self._since_ns = max(now_ns, self._segments[-1][1])
        self._note_segments()

    def begin_subtask(self, text: str, now_ns: int) -> None:
        """Note which part of the task begins; it is on the disk on return.

        Raises:
            JournalError: the disk refuses.
        """
        self._subtasks.append((now_ns, text))
        self.note(subtasks=json.dumps(self._subtasks))

    def close(self, end_ns: int, task: str | None = None) -> Path:
        """Finish the bag (see `BagWriter.finish`); `task` replaces the start's."""
        notes = {} if task is None else {'task': task}
        if self._since_ns is None:
            end_ns = self._segments[-1][1]
        elif self._segments:
            end_ns = max(end_ns, self._since_ns)
            notes['segments'] = json.dumps([*self._segments, (self._since_ns, end_ns)])
        return self.finish(end_ns=str(end_ns), **notes)

    def _note_segments(self) -> None:
        """Note all of them, as a later note replaces an earlier one; null ends the stretch under way."""
        under_way = [] if self._since_ns is None else [(self._since_ns, None)]
        self.note(segments=json.dumps([*self._segments, *under_way]))

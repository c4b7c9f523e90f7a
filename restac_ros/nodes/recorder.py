"""The recorder without ROS: starts, saves, discards episodes, watches the disk, has journals converted."""

import datetime
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from restac_ros.contract.schema import Contract
from restac_ros.dataset.dataset_files import check_appendable, is_dataset, read_info, streams_of
from restac_ros.dataset.journal import check_free_disk
from restac_ros.dataset.recovery import find_unfinished
from restac_ros.framing.sample import Sample
from restac_ros.nodes.conversion import Conversions, Converted, OnGap
from restac_ros.nodes.recording import Recording

TRASH = 'trash'

State = Literal['idle', 'recording', 'saving', 'error']


class RecorderError(RuntimeError):
    """A request that can't be met now; the text says why and what to do."""


@dataclass(frozen=True)
class RecorderSettings:
    """Where recordings go and what they may use. Without `dataset` journals are kept and not converted."""

    journal_dir: Path
    dataset: Path | None
    queue_bytes: int
    min_free_bytes: int
    on_gap: OnGap = 'refuse'


@dataclass(frozen=True)
class RecorderReport:
    """How things stand. `received` and so on count since the running or last episode began."""

    state: State
    message: str
    task: str
    episodes: int
    journal: str
    rows: int
    bytes_written: int
    disk_free: int
    received: Mapping[str, int]
    written: Mapping[str, int]
    dropped: Mapping[str, int]


class Recorder:
    """One recording at a time; those before are closed and converted meanwhile. Call `poll` now and then.

    `inform`, `warn` and `fail` are told what happens, in sentences.
    """

    def __init__(
        self,
        contract: Contract,
        settings: RecorderSettings,
        now_ns: Callable[[], int],
        inform: Callable[[str], None],
        warn: Callable[[str], None],
        fail: Callable[[str], None],
    ) -> None:
        """Raises DatasetError: the data set can't take such episodes; JournalError: too little disk."""
        self._contract, self._settings, self._now_ns = contract, settings, now_ns
        self._inform, self._warn, self._on_failure = inform, warn, fail
        self._recording: Recording | None = None
        self._last: Recording | None = None
        self._closing: list[tuple[Recording, bool]] = []
        self._conversions = Conversions(settings.dataset, settings.on_gap) if settings.dataset else None
        self._task = ''
        self._rows = 0
        self._problem = ''
        self._told_of_drops = False
        self.saved: list[Converted] = []
        check_free_disk(settings.journal_dir, settings.min_free_bytes)
        if settings.dataset and is_dataset(settings.dataset):
            check_appendable(settings.dataset, contract, streams_of(settings.dataset, contract))
        if settings.journal_dir.is_dir() and (left := find_unfinished(settings.journal_dir)):
            names = ', '.join(path.name for path in left)
            warn(f'{settings.journal_dir} holds recordings that a crash left unfinished: {names}')

    def offer(self, sample: Sample) -> None:
        """Take a message, if one is being recorded."""
        if recording := self._recording:
            recording.offer(sample.stream, sample.cdr, sample.receive_ns)

    def start(self, task: str) -> str:
        """Begin an episode.

        Raises:
            RecorderError: one is being recorded, or the task text is missing.
            JournalError: too little disk, or it refuses.
        """
        if self._recording:
            raise RecorderError(f'{self._recording.path.name} is being recorded: save or discard it first')
        if not task.strip():
            raise RecorderError('no task text: set the parameter task, or publish it on ~/task')
        check_free_disk(self._settings.journal_dir, self._settings.min_free_bytes)
        path = self._settings.journal_dir / _name()
        self._problem, self._told_of_drops, self._task = '', False, task
        self._recording = Recording(path, self._contract, task, self._now_ns, self._settings.queue_bytes)
        return f'recording {path}: {task}'

    def save(self, convert: bool = True) -> str:
        """End the episode; it is closed, then converted, while the next may begin. Raises RecorderError."""
        recording = self._end()
        recording.finish()
        self._closing.append((recording, convert))
        return f'saving {recording.path.name}'

    def discard(self) -> str:
        """End the episode and move it to the trash folder; nothing is deleted. Raises RecorderError."""
        recording = self._end()
        place = recording.discard(self._settings.journal_dir / TRASH)
        return f'discarded: moved to {place}'

    def poll(self) -> None:
        """See to what has ended: close -> convert -> tell; end a recording when the disk is nearly full."""
        if self._recording:
            self._watch(self._recording)
        for entry in [entry for entry in self._closing if entry[0].done]:
            self._closing.remove(entry)
            self._closed(*entry)
        if self._conversions and (converted := self._conversions.poll()):
            self._converted(converted)

    @property
    def busy(self) -> bool:
        """Whether an episode is still being closed or converted."""
        return bool(self._closing) or bool(self._conversions and self._conversions.pending)

    @property
    def is_recording(self) -> bool:
        """Whether an episode is being recorded."""
        return self._recording is not None

    def give_up(self) -> None:
        """Wait for journals to be closed, not for episodes; it is said how to make them later."""
        for recording, convert in self._closing:
            recording.join()
            self._closed(recording, convert)
        self._closing.clear()
        for journal in self._conversions.stop() if self._conversions else []:
            self._fail(f'{journal} is not converted; to do it: {self._conversions.by_hand(journal)}')

    def report(self) -> RecorderReport:
        """How things stand."""
        shown = self._recording or self._last
        counts = dict.fromkeys(self._contract.streams, 0)
        return RecorderReport(
            state=self._state(),
            message=self._message(),
            task=self._task,
            episodes=self._episodes(),
            journal=str(shown.path) if shown else '',
            rows=self._rows,
            bytes_written=shown.bytes_written if shown else 0,
            disk_free=_free_bytes(self._settings.journal_dir),
            received=shown.received if shown else counts,
            written=shown.written if shown else counts,
            dropped=shown.dropped if shown else counts,
        )

    def _end(self) -> Recording:
        if self._recording is None:
            raise RecorderError('nothing is being recorded: call ~/start first')
        self._last, self._recording = self._recording, None
        return self._last

    def _watch(self, recording: Recording) -> None:
        if recording.failure:
            self._end()
            self._fail(recording.failure)
            return
        if (dropped := sum(recording.dropped.values())) and not self._told_of_drops:
            self._told_of_drops = True
            self._warn(f'{dropped} messages dropped: the disk is too slow; record to a faster one')
        if (free := _free_bytes(self._settings.journal_dir)) < self._settings.min_free_bytes:
            self.save()
            limit = f'min_free_gb is {self._settings.min_free_bytes / 1e9:g}'
            self._fail(f'the recording was ended: {free / 1e9:.2f} GB of disk left, {limit}; free some')

    def _closed(self, recording: Recording, convert: bool) -> None:
        if recording.failure:
            self._fail(recording.failure)
        elif self._conversions and convert:
            self._conversions.add(recording.path)
        elif self._conversions:
            by_hand = self._conversions.by_hand(recording.path)
            self._inform(f'kept {recording.path}, not converted; to do it: {by_hand}')
        else:
            self._inform(f'saved {recording.path}; not converted, as no data set is given')

    def _converted(self, converted: Converted) -> None:
        self.saved.append(converted)
        if converted.failure:
            self._fail(f'no episode was made of {converted.journal}, which is kept: {converted.failure}')
            return
        self._rows = converted.rows
        for note in converted.notes:
            self._warn(f'{converted.journal.name}: {note}')
        self._inform(f'episode {converted.episode} of {self._settings.dataset}: {converted.rows} frames')

    def _fail(self, text: str) -> None:
        self._problem = text
        self._on_failure(text)

    def _state(self) -> State:
        if self._recording:
            return 'recording'
        if self.busy:
            return 'saving'
        return 'error' if self._problem else 'idle'

    def _message(self) -> str:
        if self._conversions and (progress := self._conversions.progress()):
            return f'saving: {progress}'
        return self._problem

    def _episodes(self) -> int:
        dataset = self._settings.dataset
        return int(read_info(dataset)['total_episodes']) if dataset and is_dataset(dataset) else 0


def _name() -> str:
    """A journal's name: when it was begun, UTC to the millisecond."""
    return datetime.datetime.now(datetime.UTC).strftime('%Y-%m-%dT%H-%M-%S-%f')[:-3]


def _free_bytes(path: Path) -> int:
    existing = next(folder for folder in [path, *path.absolute().parents] if folder.exists())
    return shutil.disk_usage(existing).free

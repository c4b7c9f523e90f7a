"""The recorder without ROS: starts, pauses, saves and discards episodes, and watches what they live on."""

import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from restac_ros.contract.schema import Contract
from restac_ros.dataset.bag.bag_writer import Compression
from restac_ros.dataset.dataset_files import check_appendable, is_dataset, read_info, streams_of
from restac_ros.framing.sample import Sample
from restac_ros.recording.conversion import Converted, OnGap
from restac_ros.recording.guards import Guards
from restac_ros.recording.recording import Recording
from restac_ros.recording.saving import Saving, Voice, recover_command

TRASH = 'trash'
REQUESTS = ('start', 'save', 'discard', 'pause', 'resume', 'recover')  # what a recorder can be asked to do

State = Literal['idle', 'recording', 'paused', 'saving', 'error']


class RecorderError(RuntimeError):
    """A request that can't be met now; the text says why and what to do."""


@dataclass(frozen=True)
class RecorderSettings:
    """Where recordings go and what they may use. Without `dataset` journals are kept and not converted."""

    journal_dir: Path
    dataset: Path | None
    queue_bytes: int
    min_free_bytes: int
    min_free_memory_bytes: int = 0
    on_gap: OnGap = 'refuse'
    compression: Compression = 'none'


@dataclass(frozen=True)
class RecorderReport:
    """How things stand. `received` and so on count since the running or last episode began."""

    state: State
    message: str
    task: str
    episodes: int
    journal: str
    rows: int
    duration_ns: int
    bytes_written: int
    disk_free: int
    received: Mapping[str, int]
    written: Mapping[str, int]
    dropped: Mapping[str, int]
    high_water: Mapping[str, int]
    unfinished: list[Path]


class Recorder:
    """One recording at a time; those before are closed and converted meanwhile. Call `poll` now and then."""

    def __init__(
        self,
        contract: Contract,
        settings: RecorderSettings,
        now_ns: Callable[[], int],
        voice: Voice,
        guards: Guards | None = None,
    ) -> None:
        """Find what a crash left unfinished, and say so.

        Raises:
            DatasetError: the data set can't take such episodes.
            RecorderError: too little disk or memory.
            GuardError: memory cannot be watched.
        """
        self._contract, self._settings, self._now_ns = contract, settings, now_ns
        self._voice = voice._replace(fail=self._fail)
        self._on_failure = voice.fail
        self._guards = guards or Guards(
            settings.journal_dir, settings.min_free_bytes, settings.min_free_memory_bytes
        )
        self._recording: Recording | None = None
        self._last: Recording | None = None
        self._task = ''
        self._problem = ''
        self._told_of_drops = False
        self._check_room()
        if settings.dataset and is_dataset(settings.dataset):
            check_appendable(settings.dataset, contract, streams_of(settings.dataset, contract))
        self._saving = Saving(settings.journal_dir, settings.dataset, settings.on_gap, self._voice)
        if left := self._saving.unfinished:
            names, by_hand = ', '.join(path.name for path in left), recover_command(settings.journal_dir)
            voice.warn(
                f'{settings.journal_dir} holds recordings that a crash left unfinished: {names}. '
                f'Call ~/recover to complete and convert them, or complete them by: {by_hand}'
            )

    def offer(self, sample: Sample) -> None:
        """Take a message, if one is being recorded."""
        if recording := self._recording:
            recording.offer(sample.stream, sample.cdr, sample.receive_ns)

    def start(self, task: str) -> str:
        """Begin an episode.

        Raises:
            RecorderError: one is being recorded, the task text is missing, or disk or memory is short.
            JournalError: the disk refuses.
        """
        if self._recording:
            raise RecorderError(f'{self._recording.path.name} is being recorded: save or discard it first')
        if not task.strip():
            raise RecorderError('no task text: set the parameter task, or publish it on ~/task')
        self._check_room()
        path = self._settings.journal_dir / _name()
        self._problem, self._told_of_drops, self._task = '', False, task
        settings = self._settings
        self._recording = Recording(
            path, self._contract, task, self._now_ns, settings.queue_bytes, settings.compression
        )
        return f'recording {path}: {task}'

    def pause(self) -> str:
        """Record nothing until `resume`; what comes after is an episode of its own. Raises RecorderError."""
        recording = self._running()
        if recording.paused:
            raise RecorderError(f'{recording.path.name} is paused already: resume, save or discard it')
        recording.pause()
        return f'paused {recording.path.name}'

    def resume(self) -> str:
        """Go on recording. Raises RecorderError."""
        recording = self._running()
        if not recording.paused:
            raise RecorderError(f'{recording.path.name} is not paused')
        recording.resume()
        return f'going on with {recording.path.name}'

    def save(self, convert: bool = True) -> str:
        """End the episode; it is closed, then converted, while the next may begin. Raises RecorderError."""
        recording = self._end()
        self._saving.add(recording, convert)
        return f'saving {recording.path.name}'

    def discard(self) -> str:
        """End the episode and move it to the trash folder; nothing is deleted.

        Raises:
            RecorderError: nothing is being recorded.
            JournalError: the disk refuses.
        """
        place = self._end().discard(self._settings.journal_dir / TRASH)
        return f'discarded: moved to {place}'

    def recover(self) -> str:
        """Complete what a crash left, in the background, and convert it. Raises RecorderError."""
        self._saving.look_for_unfinished()
        if not self._saving.unfinished:
            raise RecorderError(f'{self._settings.journal_dir} holds no unfinished recordings')
        self._problem = ''
        begun = self._saving.recover()
        return f'recovering {", ".join(path.name for path in begun)}'

    def poll(self) -> None:
        """See to what has ended, and end a recording while there is disk and memory left to do so."""
        if self._recording:
            self._watch(self._recording)
        self._saving.poll(self._guards.memory_shortage())

    @property
    def busy(self) -> bool:
        """Whether an episode is still being closed, recovered or converted."""
        return self._saving.busy

    @property
    def is_recording(self) -> bool:
        """Whether an episode is being recorded, or paused."""
        return self._recording is not None

    @property
    def is_paused(self) -> bool:
        """Whether an episode is paused."""
        return self._recording is not None and self._recording.paused

    @property
    def saved(self) -> list[Converted]:
        """What became of the recordings converted so far."""
        return self._saving.saved

    def give_up(self) -> None:
        """Wait for journals to be closed, not for episodes; it is said how to make them later."""
        self._saving.give_up()

    def report(self) -> RecorderReport:
        """How things stand."""
        shown = self._recording or self._last
        counts = dict.fromkeys(self._contract.streams, 0)
        return RecorderReport(
            state=self._state(),
            message=self._saving.progress() or self._problem,
            task=self._task,
            episodes=self._episodes(),
            journal=str(shown.path) if shown else '',
            rows=self._saving.rows,
            duration_ns=shown.duration_ns if shown else 0,
            bytes_written=shown.bytes_written if shown else 0,
            disk_free=self._guards.free_disk_bytes,
            received=shown.received if shown else counts,
            written=shown.written if shown else counts,
            dropped=shown.dropped if shown else counts,
            high_water=shown.high_water if shown else counts,
            unfinished=list(self._saving.unfinished),
        )

    def _running(self) -> Recording:
        if self._recording is None:
            raise RecorderError('nothing is being recorded: call ~/start first')
        return self._recording

    def _end(self) -> Recording:
        self._last, self._recording = self._running(), None
        return self._last

    def _check_room(self) -> None:
        if shortage := self._guards.shortage():
            raise RecorderError(shortage)

    def _watch(self, recording: Recording) -> None:
        if recording.done:  # without having been asked to
            self._end()
            self._fail(recording.failure)
            self._saving.look_for_unfinished()
            return
        if (dropped := sum(recording.dropped.values())) and not self._told_of_drops:
            self._told_of_drops = True
            self._voice.warn(f'{dropped} messages dropped: the disk is too slow; record to a faster one')
        if shortage := self._guards.shortage():
            self.save()
            self._fail(f'the recording was ended and saved: {shortage}')

    def _fail(self, text: str) -> None:
        self._problem = text
        self._on_failure(text)

    def _state(self) -> State:
        if self._recording:
            return 'paused' if self._recording.paused else 'recording'
        if self.busy:
            return 'saving'
        return 'error' if self._problem else 'idle'

    def _episodes(self) -> int:
        dataset = self._settings.dataset
        return int(read_info(dataset)['total_episodes']) if dataset and is_dataset(dataset) else 0


def _name() -> str:
    """A journal's name: when it was begun, UTC to the millisecond."""
    return datetime.datetime.now(datetime.UTC).strftime('%Y-%m-%dT%H-%M-%S-%f')[:-3]

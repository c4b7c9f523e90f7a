"""The recorder without ROS: starts, pauses, saves and discards episodes; guards disk and memory."""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from restac_ros.contract.schema import Contract
from restac_ros.dataset.bag.bag_writer import Compression
from restac_ros.dataset.convert import OnGap, longest_run_command
from restac_ros.dataset.dataset_files import check_appendable, is_dataset, streams_of
from restac_ros.framing.sample import Sample
from restac_ros.recording.conversion import Converted, recover_command
from restac_ros.recording.guards import Guards
from restac_ros.recording.recording import Recording, RecordingClocks
from restac_ros.recording.saving import Announcer, Saving

TRASH = 'trash'
SLOW_DISK_SHARE = 0.5  # of the time since the queue began to fill
# Services of the recorder.
REQUESTS = ('start', 'save', 'discard', 'pause', 'resume', 'next_subtask', 'recover')

State = Literal['idle', 'recording', 'paused', 'saving', 'error']


class RecorderError(RuntimeError):
    """A request that is refused now; the text names reason and remedy."""


@dataclass(frozen=True)
class RecorderSettings:
    """Directories and limits of recordings. Without `dataset` journals are kept and not converted.

    `subtasks` are the parts of the task, in the order in which they are gone through.
    """

    journal_dir: Path
    dataset: Path | None
    queue_bytes: int
    min_free_bytes: int
    min_free_memory_bytes: int = 0
    on_gap: OnGap = 'refuse'
    compression: Compression = 'none'
    subtasks: tuple[str, ...] = ()


@dataclass(frozen=True)
class RecorderReport:
    """State of the recorder. `received` etc. count from the begin of the running or last episode."""

    state: State
    message: str
    task: str
    subtask: str
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
    lost_frames: int
    unfinished: list[Path]


class Recorder:
    """Records one episode at a time; closes and converts earlier ones meanwhile. Call `poll` periodically."""

    def __init__(
        self,
        contract: Contract,
        settings: RecorderSettings,
        clocks: RecordingClocks,
        announce: Announcer,
        guards: Guards | None = None,
    ) -> None:
        """Find and report recordings that a crash left unfinished.

        Raises:
            DatasetError: the episodes do not fit the data set.
            RecorderError: too little disk or memory.
        """
        self._contract, self._settings, self._clocks = contract, settings, clocks
        self._announce = announce._replace(fail=self._fail)
        self._on_failure = announce.fail
        self._guards = guards or Guards(
            settings.journal_dir, settings.min_free_bytes, settings.min_free_memory_bytes
        )
        self._recording: Recording | None = None
        self._last: Recording | None = None
        self._task = self._subtask = self._followed = ''
        self._problem = ''
        self._warned: set[str] = set()  # kinds of warnings that were logged for the running take
        self._needed: list[str] = []
        self._references: dict[str, Sample] = {}  # of tactile streams, newest
        self._check_room()
        if settings.dataset and is_dataset(settings.dataset):
            streams = streams_of(settings.dataset, contract)
            check_appendable(settings.dataset, contract, streams)
            self._needed = [name for name in streams if not contract.streams[name].required]
        self._saving = Saving(settings.journal_dir, settings.dataset, settings.on_gap, self._announce)
        if left := self._saving.unfinished:
            names, by_hand = ', '.join(path.name for path in left), recover_command(settings.journal_dir)
            announce.warn(
                f'{settings.journal_dir} holds recordings that a crash left unfinished: {names}. '
                f'Call ~/recover to complete and convert them, or complete them by: {by_hand}'
            )

    def offer(self, sample: Sample) -> None:
        """Record a message, while an episode is being recorded."""
        if recording := self._recording:
            recording.offer(sample)

    def note_reference(self, sample: Sample) -> None:
        """Store the reference image of a tactile stream with the present and all later episodes."""
        self._references[sample.stream] = sample
        if recording := self._recording:
            recording.offer_reference(sample)

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
        settings = self._settings
        path = settings.journal_dir / _name(self._clocks.utc_ns())
        self._problem, self._task, self._subtask = '', task, ''
        self._warned.clear()
        self._recording = Recording(
            path,
            self._contract,
            task,
            self._clocks,
            settings.queue_bytes,
            settings.compression,
            self._needed,
        )
        for sample in self._references.values():
            self._recording.offer_reference(sample)
        if first := self._followed or next(iter(settings.subtasks), ''):
            self.begin_subtask(first)
        return f'recording {path}: {task}{f" ({self._subtask})" if self._subtask else ""}'

    def pause(self) -> str:
        """Pause until `resume`, which begins an episode of its own. Raises RecorderError."""
        recording = self._running()
        if recording.paused:
            raise RecorderError(f'{recording.path.name} is paused already: resume, save or discard it')
        recording.pause()
        return f'paused {recording.path.name}'

    def resume(self) -> str:
        """Continue recording. Raises RecorderError."""
        recording = self._running()
        if not recording.paused:
            raise RecorderError(f'{recording.path.name} is not paused')
        recording.resume()
        return f'going on with {recording.path.name}'

    def begin_subtask(self, text: str) -> str:
        """Note which part of the task begins now; it is stored with the episode. Raises RecorderError."""
        recording = self._running()
        if not (text := text.strip()):
            raise RecorderError('no subtask text, expected words such as "reach the plug"')
        recording.begin_subtask(text)
        self._subtask = text
        return f'subtask: {text}'

    def follow(self, text: str) -> str:
        """Note what a policy acts by from now on: it is the subtask of what is recorded until another is."""
        self._followed = text
        return self.begin_subtask(text) if self._recording else f'next subtask: {text}'

    def stop_following(self) -> None:
        """Begin later episodes as without a policy: the one that was followed is not there any more."""
        self._followed = ''

    def next_subtask(self) -> str:
        """Begin the subtask after the present one, of those in the settings. Raises RecorderError."""
        known = self._settings.subtasks
        self._running()
        if not known:
            raise RecorderError('no subtasks are listed: set the parameter subtasks, or publish on ~/subtask')
        place = known.index(self._subtask) + 1 if self._subtask in known else 0
        if place == len(known):
            raise RecorderError(f'{self._subtask!r} is the last of {len(known)} subtasks: save or discard')
        return self.begin_subtask(known[place])

    def save(self, convert: bool = True) -> str:
        """End the episode; it is closed, then converted, while the next may begin. Raises RecorderError."""
        recording = self._end()
        self._saving.add(recording, convert)
        lost = f': {_lost_text(recording)}' if recording.watch.lost else ''
        return f'saving {recording.path.name}{lost}'

    def discard(self) -> str:
        """End the episode and move it to the trash folder; nothing is deleted.

        Raises:
            RecorderError: nothing is being recorded.
            JournalError: the disk refuses.
        """
        place = self._end().discard(self._settings.journal_dir / TRASH)
        return f'discarded: moved to {place}'

    def recover(self) -> str:
        """Complete and convert unfinished recordings in the background. Raises RecorderError."""
        self._saving.check_unfinished()
        if not self._saving.unfinished:
            raise RecorderError(f'{self._settings.journal_dir} holds no unfinished recordings')
        self._problem = ''
        begun = self._saving.recover()
        return f'recovering {", ".join(path.name for path in begun)}'

    def poll(self) -> None:
        """Process ended jobs; end the recording before disk or memory run out."""
        self._room = self._guards.check()
        if self._recording:
            self._watch(self._recording)
        self._saving.poll(self._room.memory_shortage)

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
        """Outcomes of the conversions so far."""
        return self._saving.saved

    @property
    def state(self) -> State:
        """The state, as published."""
        if self._recording:
            return 'paused' if self._recording.paused else 'recording'
        if self.busy:
            return 'saving'
        return 'error' if self._problem else 'idle'

    def give_up(self, why: str) -> None:
        """Wait for journals to be closed, not for episodes; report `why`, and how to make them later."""
        self._saving.give_up(why)

    def report(self) -> RecorderReport:
        """Return the state and the counts."""
        shown = self._recording or self._last
        counts = dict.fromkeys(self._contract.streams, 0)
        return RecorderReport(
            state=self.state,
            message=self._saving.progress() or self._problem,
            task=self._task,
            subtask=self._subtask,
            episodes=self._saving.episodes,
            journal=str(shown.path) if shown else '',
            rows=self._saving.rows,
            duration_ns=shown.duration_ns if shown else 0,
            bytes_written=shown.bytes_written if shown else 0,
            disk_free=self._room.free_disk_bytes,
            received=shown.received if shown else counts,
            written=shown.written if shown else counts,
            dropped=shown.dropped if shown else counts,
            high_water=shown.high_water if shown else counts,
            lost_frames=shown.watch.lost if shown else 0,
            unfinished=list(self._saving.unfinished),
        )

    def _running(self) -> Recording:
        if self._recording is None:
            raise RecorderError(
                'nothing is being recorded: start one first (restac-ros call recorder_node start)'
            )
        return self._recording

    def _end(self) -> Recording:
        self._last, self._recording = self._running(), None
        return self._last

    def _check_room(self) -> None:
        self._room = self._guards.check()
        if self._room.shortage:
            raise RecorderError(self._room.shortage)

    def _watch(self, recording: Recording) -> None:
        if recording.done:  # by a failure
            self._end()
            self._fail(recording.failure)
            self._saving.check_unfinished()
            return
        if dropped := sum(recording.dropped.values()):
            self._warn_once(
                'dropped', f'{dropped} messages dropped: {self._why_dropped(recording.disk_share)}'
            )
        if recording.watch.lost:
            self._warn_once('lost', f'{_lost_text(recording)}. {self._what_then(recording)}')
        if self._room.shortage:
            self.save()
            self._fail(f'the recording was ended and saved: {self._room.shortage}')

    def _warn_once(self, kind: str, text: str) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            self._announce.warn(text)

    def _why_dropped(self, disk_share: float) -> str:
        if disk_share >= SLOW_DISK_SHARE:
            return 'the disk is too slow; record to a faster one'
        compression = self._settings.compression
        remedy = '' if compression == 'none' else f', or record without {compression} (compression: none)'
        found = f'the writer waited for the disk only {disk_share:.0%} of the time'
        return f'the machine is too busy ({found}); end other programs{remedy}'

    def _what_then(self, recording: Recording) -> str:
        """Consequence and remedy of a lost frame."""
        if self._settings.on_gap == 'longest_run' or self._settings.dataset is None:
            return 'Only the longest run without a gap can become an episode: discard it and record again?'
        by_hand = longest_run_command(recording.path, self._settings.dataset)
        return f'Saving will refuse this take: discard it and record again, or save it and then: {by_hand}'

    def _fail(self, text: str) -> None:
        self._problem = text
        self._on_failure(text)


def _lost_text(recording: Recording) -> str:
    """Describe the lost frames."""
    first, lost = recording.watch.first, recording.watch.lost
    if first is None:
        return ''
    count = 'a frame is lost' if lost == 1 else f'{lost} frames are lost, the first'
    return f'{count} at {first.time_s:.2f} s ({first.reason})'


def _name(utc_ns: int) -> str:
    """A journal's name: when it was begun, UTC to the millisecond."""
    begun = datetime.datetime.fromtimestamp(utc_ns // 10**9, datetime.UTC)
    return f'{begun:%Y-%m-%dT%H-%M-%S}-{utc_ns // 10**6 % 1000:03d}'

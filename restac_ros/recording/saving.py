"""Closes, recovers and converts recordings after their end, and reports the outcomes."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from restac_ros.dataset.bag.bag_writer import PARTIAL
from restac_ros.dataset.dataset_files import is_dataset, read_info
from restac_ros.dataset.recovery import find_unfinished
from restac_ros.recording.background import Background
from restac_ros.recording.conversion import (
    Completed,
    Conversions,
    Converted,
    OnGap,
    Recoveries,
    find_unconverted,
)
from restac_ros.recording.recording import Recording


class Announcer(NamedTuple):
    """Callbacks that log sentences."""

    inform: Callable[[str], None]
    warn: Callable[[str], None]
    fail: Callable[[str], None]


class Saving:
    """Closes, recovers and converts while the next episode may be recorded. Call `poll` periodically.

    Without `dataset` journals are kept and not converted.
    """

    def __init__(self, journal_dir: Path, dataset: Path | None, on_gap: OnGap, announce: Announcer) -> None:
        self._journal_dir, self._dataset, self._announce = journal_dir, dataset, announce
        self._closing: list[tuple[Recording, bool]] = []
        self._recoveries = Recoveries()
        self._conversions = Conversions(dataset, on_gap) if dataset else None
        self._waiting_for = ''
        self.rows = 0
        self.episodes = int(read_info(dataset)['total_episodes']) if dataset and is_dataset(dataset) else 0
        self.saved: list[Converted] = []
        self.unfinished: list[Path] = []
        self.check_unfinished()

    @property
    def busy(self) -> bool:
        """Whether an episode is still being closed, recovered or converted."""
        return bool(self._closing or self._recoveries.pending or self._to_convert)

    @property
    def _to_convert(self) -> list[Path]:
        return self._conversions.pending if self._conversions else []

    def check_unfinished(self) -> None:
        """List recordings that a crash or a failing disk left unclosed or unconverted."""
        found = find_unfinished(self._journal_dir) if self._journal_dir.is_dir() else []
        if self._dataset and self._journal_dir.is_dir():
            found += find_unconverted(self._journal_dir)
        self.unfinished = found

    def add(self, recording: Recording, convert: bool) -> None:
        """Close a recording, then convert it if asked: also after a crash meanwhile, which leaves a log."""
        if convert and self._conversions:
            with suppress(OSError):  # a full disk is reported when the recording is closed
                self._conversions.announce(recording.path)
        recording.finish()
        self._closing.append((recording, convert))

    def recover(self) -> list[Path]:
        """Start to complete and convert all unfinished recordings; return them."""
        begun, self.unfinished = self.unfinished, []
        for path in begun:
            if path.suffix == PARTIAL:
                self._queue(self._recoveries, path)
            elif self._conversions:
                self._queue(self._conversions, path)
        return begun

    def poll(self, memory_shortage: str = '') -> None:
        """Process ended jobs: close -> convert -> report. No job is started while memory is short."""
        for entry in [entry for entry in self._closing if entry[0].done]:
            self._closing.remove(entry)
            self._closed(*entry)
        if completed := self._recoveries.poll():
            self._completed(completed)
        self._waiting_for = memory_shortage
        for converted in self._conversions.poll(not memory_shortage) if self._conversions else []:
            self._converted(converted)

    def progress(self) -> str:
        """Describe the running job; '' when there is none."""
        if self._recoveries.pending:
            return f'recovering {self._recoveries.pending[0].name}'
        if not self._conversions or not self._conversions.pending:
            return ''
        if progress := self._conversions.progress():
            return f'saving: {progress}'
        return f'saving waits: {self._waiting_for}' if self._waiting_for else ''

    def give_up(self, why: str) -> None:
        """Wait for journals to be closed, not for episodes; report `why`, and how to make them later."""
        for recording, convert in self._closing:
            recording.join()
            self._closed(recording, convert)
        self._closing.clear()
        for jobs in filter(None, (self._recoveries, self._conversions)):
            for path in jobs.stop():
                found = f'{path} is not {jobs.done_word}, as {why}'
                self._announce.fail(f'{found}; to do it: {jobs.by_hand(path)}')

    def _closed(self, recording: Recording, convert: bool) -> None:
        conversions, path = self._conversions, recording.path
        if not recording.closed:
            if conversions:
                conversions.withdraw(path)
            self._announce.fail(recording.failure)
            self.check_unfinished()
        elif conversions is None:
            self._announce.inform(f'saved {path}; not converted, as no data set is given')
        elif convert:
            self._queue(conversions, path)
        else:
            by_hand = conversions.by_hand(path)
            self._announce.inform(f'kept {path}, not converted; to do it: {by_hand}')

    def _queue(self, jobs: Background, path: Path) -> None:
        try:
            jobs.add(path)
        except OSError as error:
            found = f'{path} is not {jobs.done_word}: {error}'
            self._announce.fail(f'{found}; make room, then: {jobs.by_hand(path)}')

    def _completed(self, completed: Completed) -> None:
        if completed.failure:
            self._announce.fail(completed.failure)
            self.check_unfinished()
            return
        cut_off = f'; cut off: {completed.damage}' if completed.damage else ''
        self._announce.inform(f'recovered {completed.journal}: {completed.messages} messages{cut_off}')
        if self._conversions:
            self._queue(self._conversions, completed.journal)

    def _converted(self, converted: Converted) -> None:
        if not converted.failure:
            self.episodes = max(self.episodes, converted.episode + 1)
        if converted.already:
            self._announce.inform(f'{converted.journal} is episode {converted.episode} already')
            return
        self.saved.append(converted)
        if converted.failure:
            failure = f'no episode was made of {converted.journal}, which is kept: {converted.failure}'
            self._announce.fail(failure)
            return
        self.rows = converted.rows
        for note in converted.notes:
            self._announce.warn(f'{converted.journal.name}: {note}')
        self._announce.inform(f'episode {converted.episode} of {self._dataset}: {converted.rows} frames')

"""What happens to recordings after they have ended: closed, recovered where need be, converted, told."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from restac_ros.dataset.bag.bag_writer import PARTIAL
from restac_ros.dataset.recovery import find_unfinished
from restac_ros.recording.conversion import (
    Completed,
    Conversions,
    Converted,
    OnGap,
    Recoveries,
    find_unconverted,
)
from restac_ros.recording.recording import Recording


class Voice(NamedTuple):
    """Who is told what happens, in sentences."""

    inform: Callable[[str], None]
    warn: Callable[[str], None]
    fail: Callable[[str], None]


class Saving:
    """Closes, recovers and converts while the next episode may already be recorded. Call `poll` now and then.

    Without `dataset` journals are kept and not converted.
    """

    def __init__(self, journal_dir: Path, dataset: Path | None, on_gap: OnGap, voice: Voice) -> None:
        self._journal_dir, self._dataset, self._voice = journal_dir, dataset, voice
        self._closing: list[tuple[Recording, bool]] = []
        self._recoveries = Recoveries()
        self._conversions = Conversions(dataset, on_gap) if dataset else None
        self._waiting_for = ''
        self.rows = 0
        self.saved: list[Converted] = []
        self.unfinished: list[Path] = []
        self.look_for_unfinished()

    @property
    def busy(self) -> bool:
        """Whether an episode is still being closed, recovered or converted."""
        return bool(self._closing or self._recoveries.pending or self._to_convert)

    @property
    def _to_convert(self) -> list[Path]:
        return self._conversions.pending if self._conversions else []

    def look_for_unfinished(self) -> None:
        """Find what a crash or a failing disk left: recordings not closed, and those not converted."""
        found = find_unfinished(self._journal_dir) if self._journal_dir.is_dir() else []
        if self._dataset and self._journal_dir.is_dir():
            found += find_unconverted(self._journal_dir)
        self.unfinished = found

    def add(self, recording: Recording, convert: bool) -> None:
        """Close a recording, then convert it if asked: also after a crash meanwhile, which leaves a log."""
        if convert and self._conversions:
            with suppress(OSError):  # a full disk is told when it is closed
                self._conversions.announce(recording.path)
        recording.finish()
        self._closing.append((recording, convert))

    def recover(self) -> list[Path]:
        """Begin to complete and convert all that was found unfinished; returns it."""
        begun, self.unfinished = self.unfinished, []
        for path in begun:
            if path.suffix == PARTIAL:
                self._queue_recovery(path)
            else:
                self._queue_conversion(path)
        return begun

    def poll(self, memory_shortage: str = '') -> None:
        """See to what has ended: close -> convert -> tell. No conversion begins while memory is short."""
        for entry in [entry for entry in self._closing if entry[0].done]:
            self._closing.remove(entry)
            self._closed(*entry)
        if completed := self._recoveries.poll():
            self._completed(completed)
        self._waiting_for = memory_shortage
        for converted in self._conversions.poll(not memory_shortage) if self._conversions else []:
            self._converted(converted)

    def progress(self) -> str:
        """What is being done, in words; '' when nothing is."""
        if self._recoveries.pending:
            return f'recovering {self._recoveries.pending[0].name}'
        if not self._to_convert:
            return ''
        if progress := self._conversions.progress():
            return f'saving: {progress}'
        return f'saving waits: {self._waiting_for}' if self._waiting_for else ''

    def give_up(self) -> None:
        """Wait for journals to be closed, not for episodes; it is said how to make them later."""
        for recording, convert in self._closing:
            recording.join()
            self._closed(recording, convert)
        self._closing.clear()
        for partial in self._recoveries.stop():
            self._voice.fail(f'{partial} is not recovered; to do it: {recover_command(self._journal_dir)}')
        for journal in self._conversions.stop() if self._conversions else []:
            self._voice.fail(f'{journal} is not converted; to do it: {self._conversions.by_hand(journal)}')

    def _closed(self, recording: Recording, convert: bool) -> None:
        if recording.failure:
            if self._conversions:
                self._conversions.withdraw(recording.path)
            self._voice.fail(recording.failure)
            self.look_for_unfinished()
        elif self._conversions and convert:
            self._queue_conversion(recording.path)
        elif self._conversions:
            by_hand = self._conversions.by_hand(recording.path)
            self._voice.inform(f'kept {recording.path}, not converted; to do it: {by_hand}')
        else:
            self._voice.inform(f'saved {recording.path}; not converted, as no data set is given')

    def _queue_conversion(self, journal: Path) -> None:
        try:
            self._conversions.add(journal)
        except OSError as error:
            by_hand = self._conversions.by_hand(journal)
            self._voice.fail(f'{journal} is not converted: {error}; make room, then: {by_hand}')

    def _queue_recovery(self, partial: Path) -> None:
        try:
            self._recoveries.add(partial)
        except OSError as error:
            by_hand = recover_command(self._journal_dir)
            self._voice.fail(f'{partial} is not recovered: {error}; make room, then: {by_hand}')

    def _completed(self, completed: Completed) -> None:
        if completed.failure:
            self._voice.fail(completed.failure)
            self.look_for_unfinished()
            return
        cut_off = f'; cut off: {completed.damage}' if completed.damage else ''
        self._voice.inform(f'recovered {completed.journal}: {completed.messages} messages{cut_off}')
        if self._conversions:
            self._queue_conversion(completed.journal)

    def _converted(self, converted: Converted) -> None:
        if converted.already:
            self._voice.inform(f'{converted.journal} is episode {converted.episode} already')
            return
        self.saved.append(converted)
        if converted.failure:
            failure = f'no episode was made of {converted.journal}, which is kept: {converted.failure}'
            self._voice.fail(failure)
            return
        self.rows = converted.rows
        for note in converted.notes:
            self._voice.warn(f'{converted.journal.name}: {note}')
        self._voice.inform(f'episode {converted.episode} of {self._dataset}: {converted.rows} frames')


def recover_command(journal_dir: Path) -> str:
    """What a user can type to complete unfinished recordings."""
    return f'restac-ros recover {journal_dir}'

"""Converts journals to episodes, and completes unfinished ones, in the background."""

import shlex
import sys
from pathlib import Path
from typing import NamedTuple

from restac_ros.dataset.convert import OnGap
from restac_ros.dataset.recording_kind import LOG_SUFFIX
from restac_ros.recording.background import NICENESS, Background, is_locked, last_event, log_of

RECOVERY_LOG_SUFFIX = '.recovery.jsonl'
OUTCOMES = ('done', 'already', 'failed')  # of an episode


class Converted(NamedTuple):
    """Result of a conversion: `rows` frames in `episode`, or the reason of a `failure`.

    `already`: the data set held the episode before. A journal with pauses holds several episodes.
    """

    journal: Path
    rows: int
    episode: int
    failure: str
    notes: tuple[str, ...] = ()
    already: bool = False


class Completed(NamedTuple):
    """Result of a recovery of NAME.partial: the whole `journal`, or the reason of a `failure`."""

    journal: Path
    messages: int
    damage: str
    failure: str


def conversion_command(journal: Path, dataset: Path, on_gap: OnGap) -> list[str]:
    """The command that converts a journal in the background."""
    module = [sys.executable, '-P', '-m', 'restac_ros.dataset.convert']
    return [*module, str(journal), '--to', str(dataset), '--on-gap', on_gap, '--nice', str(NICENESS)]


class Conversions(Background):
    """Converts journals, one after the other.

    Appending an episode is transactional, so stopping a conversion leaves the data set as it was, and the
    journal is kept in any case.
    """

    done_word = 'converted'

    def __init__(self, dataset: Path, on_gap: OnGap) -> None:
        super().__init__(lambda journal: conversion_command(journal, dataset, on_gap), LOG_SUFFIX)
        self._dataset, self._on_gap = dataset, on_gap

    def poll(self, may_start: bool = True) -> list[Converted]:
        """Start the next conversion, if it may; return the episodes of a conversion that has ended."""
        ended = self.ended(may_start)
        if ended is None:
            return []
        found = [_converted(ended.path, event) for event in ended.events if event['event'] in OUTCOMES]
        if ended.status and not any(converted.failure for converted in found):
            log = log_of(ended.path, LOG_SUFFIX)
            failure = f'the converter ended with status {ended.status}: see above, and {log}'
            found.append(Converted(ended.path, 0, -1, failure))
        return found

    def progress(self) -> str:
        """Describe the progress of the running conversion; '' when there is none."""
        if self.under_way is None:
            return ''
        last = self.last_event()
        if last.get('event') != 'progress':
            return 'reading the recording'
        return f'{last["done"]} of {last["total"]} frames'

    def by_hand(self, journal: Path) -> str:
        line = ['restac-ros', 'convert', str(journal), '--to', str(self._dataset), '--on-gap', self._on_gap]
        return shlex.join(line)


class Recoveries(Background):
    """Completes unfinished journals, one after the other. Stopping leaves one that can be recovered again."""

    done_word = 'recovered'

    def __init__(self) -> None:
        module = [sys.executable, '-P', '-m', 'restac_ros.dataset.recovery']
        nice = ['--nice', str(NICENESS)]
        super().__init__(lambda partial: [*module, str(partial), *nice], RECOVERY_LOG_SUFFIX)

    def poll(self) -> Completed | None:
        """Start the next recovery; return one that has ended."""
        ended = self.ended()
        if ended is None:
            return None
        last = ended.events[-1] if ended.events else {}
        if ended.status == 0 and last.get('event') == 'recovered':
            return Completed(Path(last['path']), last['messages'], last['damage'] or '', '')
        log = log_of(ended.path, RECOVERY_LOG_SUFFIX)
        failure = f'its recovery ended with status {ended.status}: see above, and {log}'
        return Completed(ended.path, 0, '', last.get('error', failure))

    def by_hand(self, partial: Path) -> str:
        return recover_command(partial.parent)


def recover_command(journal_dir: Path) -> str:
    """The command by which a user completes unfinished recordings."""
    return f'restac-ros recover {journal_dir}'


def find_unconverted(directory: Path) -> list[Path]:
    """Return whole journals whose requested conversion was cut off by a crash.

    Converting one again is safe: what the data set holds already is skipped.
    """
    cut_off = []
    for log in sorted(directory.glob(f'*{LOG_SUFFIX}')):
        journal = log.with_name(log.name.removesuffix(LOG_SUFFIX))
        if journal.is_dir() and not is_locked(log) and last_event(log).get('event') != 'end':
            cut_off.append(journal)
    return cut_off


def _converted(journal: Path, event: dict) -> Converted:
    if event['event'] == 'failed':
        return Converted(journal, 0, -1, event['error'])
    if event['event'] == 'already':
        return Converted(journal, 0, event['episode_index'], '', already=True)
    report = event['report']
    return Converted(journal, report['rows'], report['episode_index'], '', tuple(report['notes']))

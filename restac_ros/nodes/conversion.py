"""Journals become episodes in a process of their own, one after the other, at low priority."""

import json
import shlex
import subprocess
import sys
from collections import deque
from pathlib import Path
from typing import Literal, NamedTuple

NICENESS = 10  # recording and control come first
STOP_TIMEOUT_S = 10.0
OnGap = Literal['refuse', 'longest_run']
LOG_SUFFIX = '.conversion.jsonl'


class Converted(NamedTuple):
    """How one conversion ended: `rows` in episode `episode`, or `failure` says why there is none."""

    journal: Path
    rows: int
    episode: int
    failure: str
    notes: tuple[str, ...] = ()


def command(journal: Path, dataset: Path, on_gap: OnGap) -> list[str]:
    """The command that converts a journal."""
    module = [sys.executable, '-P', '-m', 'restac_ros.dataset.convert']
    return [*module, str(journal), '--to', str(dataset), '--on-gap', on_gap, '--nice', str(NICENESS)]


class Conversions:
    """A queue of journals and the process that works on the first of them.

    Nothing waits here: `poll` looks what has happened. Appending an episode is transactional, so stopping a
    conversion leaves the data set as it was, and the journal is kept in any case.
    """

    def __init__(self, dataset: Path, on_gap: OnGap) -> None:
        self._dataset, self._on_gap = dataset, on_gap
        self._waiting: deque[Path] = deque()
        self._journal: Path | None = None
        self._process: subprocess.Popen | None = None

    @property
    def pending(self) -> list[Path]:
        """Journals that are no episodes yet, the one under way first."""
        return [*([self._journal] if self._journal else []), *self._waiting]

    def add(self, journal: Path) -> None:
        """Queue a journal."""
        self._waiting.append(journal)

    def poll(self) -> Converted | None:
        """Start what waits; tell a conversion that has ended."""
        if self._process is None:
            if self._waiting:
                self._start(self._waiting.popleft())
            return None
        if self._process.poll() is None:
            return None
        journal, status = self._journal, self._process.returncode
        self._process = self._journal = None
        return _result(journal, status)

    def progress(self) -> str:
        """How far the conversion under way is, in words; '' when there is none."""
        if self._journal is None:
            return ''
        last = _last_line(_log_of(self._journal))
        if last.get('event') != 'progress':
            return 'looking through the recording'
        return f'{last["done"]} of {last["total"]} frames'

    def stop(self) -> list[Path]:
        """Stop the conversion under way; returns the journals that are no episodes."""
        left = self.pending
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = self._journal = None
        self._waiting.clear()
        return left

    def by_hand(self, journal: Path) -> str:
        """What a user can type to convert a journal."""
        return shlex.join(command(journal, self._dataset, self._on_gap))

    def _start(self, journal: Path) -> None:
        self._journal = journal
        with _log_of(journal).open('wb') as log:
            # A session of its own: Ctrl-C in the terminal is for the recorder, which decides.
            self._process = subprocess.Popen(
                command(journal, self._dataset, self._on_gap),
                stdin=subprocess.DEVNULL,
                stdout=log,
                start_new_session=True,
            )


def _log_of(journal: Path) -> Path:
    return journal.with_name(journal.name + LOG_SUFFIX)


def _result(journal: Path, status: int) -> Converted:
    last = _last_line(_log_of(journal))
    match last.get('event'):
        case 'done' if status == 0:
            report = last['report']
            return Converted(journal, report['rows'], report['episode_index'], '', tuple(report['notes']))
        case 'failed':
            return Converted(journal, 0, -1, last['error'])
    failure = f'the converter ended with status {status}: see above, and {_log_of(journal)}'
    return Converted(journal, 0, -1, failure)


def _last_line(log: Path) -> dict:
    """The last whole line of the converter's report; {} before the first."""
    lines = log.read_bytes().split(b'\n')[:-1]
    return json.loads(lines[-1]) if lines else {}

"""Jobs on recordings: one process after the other, at low priority."""

import fcntl
import json
import subprocess
from abc import abstractmethod
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import IO, ClassVar, NamedTuple

NICENESS = 10  # recording and control come first
_STOP_TIMEOUT_S = 10.0
TAIL_BYTES = 64 * 2**10


class Ended(NamedTuple):
    """Result of the job on a path: exit status of the process, and its events in order."""

    path: Path
    status: int
    events: list[dict]


class Background:
    """A queue of paths, and a process that works on the first of them and prints events as lines of JSON.

    `ended` polls, and never blocks. From `announce` or `add` until its job has ended each path has a locked
    log beside it; a log that is not locked and holds no end is left by a crash.
    """

    done_word: ClassVar[str]  # of a path whose job has ended, such as 'converted'

    def __init__(self, line: Callable[[Path], list[str]], log_suffix: str) -> None:
        """`line` returns the command for a path."""
        self._line, self._log_suffix = line, log_suffix
        self._logs: dict[Path, IO[bytes]] = {}  # locked, of all paths whose jobs have not ended
        self._waiting: deque[Path] = deque()
        self._running: tuple[Path, subprocess.Popen[bytes]] | None = None

    @property
    def pending(self) -> list[Path]:
        """Paths whose jobs have not ended, the running one first."""
        return [*([self.under_way] if self.under_way else []), *self._waiting]

    @property
    def under_way(self) -> Path | None:
        """The path of the running job."""
        return self._running[0] if self._running else None

    @abstractmethod
    def by_hand(self, path: Path) -> str:
        """The command by which a user does the job on a path."""

    def announce(self, path: Path) -> None:
        """Lock the log of a path that will be added. Raises OSError: the log cannot be written."""
        log = log_of(path, self._log_suffix).open('wb')
        fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._logs[path] = log

    def withdraw(self, path: Path) -> None:
        """Unlock the log of a path whose job has ended, or will not be added after all."""
        if log := self._logs.pop(path, None):
            log.close()

    def add(self, path: Path) -> None:
        """Queue a path. Raises OSError: its log cannot be written."""
        if path not in self._logs:
            self.announce(path)
        self._waiting.append(path)

    def ended(self, may_start: bool = True) -> Ended | None:
        """Start the next job, if it may; return one that has ended."""
        if self._running is None:
            if self._waiting and may_start:
                self._start(self._waiting.popleft())
            return None
        path, process = self._running
        if (status := process.poll()) is None:
            return None
        self.withdraw(path)
        self._running = None
        return Ended(path, status, read_events(log_of(path, self._log_suffix)))

    def last_event(self) -> dict:
        """Last event of the running job; {} before the first."""
        path = self.under_way
        return last_event(log_of(path, self._log_suffix)) if path else {}

    def stop(self) -> list[Path]:
        """Stop the running job; return the paths whose jobs have not ended."""
        paths = self.pending
        if self._running:
            process = self._running[1]
            process.terminate()
            try:
                process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for path in paths:
            self.withdraw(path)
        self._running = None
        self._waiting.clear()
        return paths

    def _start(self, path: Path) -> None:
        # A session of its own: Ctrl-C in the terminal is for the recorder, which decides. The lock on the
        # log is the process's, too: it stands until both are gone.
        process = subprocess.Popen(
            self._line(path), stdin=subprocess.DEVNULL, stdout=self._logs[path], start_new_session=True
        )
        self._running = path, process


def log_of(path: Path, suffix: str) -> Path:
    """Path of the log of `path`."""
    return path.with_name(path.name + suffix)


def read_events(log: Path) -> list[dict]:
    """Events of all whole lines of a log."""
    return _parse(log.read_bytes().split(b'\n')[:-1])


def last_event(log: Path) -> dict:
    """The last event within the last `TAIL_BYTES` of a log; {} when there is none."""
    with log.open('rb') as file:
        begin = max(0, file.seek(0, 2) - TAIL_BYTES)
        file.seek(begin)
        lines = file.read().split(b'\n')[bool(begin) : -1]
    events = _parse(lines[-1:]) or _parse(lines)[-1:]
    return events[0] if events else {}


def _parse(lines: list[bytes]) -> list[dict]:
    """Parse events; skip other lines, which libraries print."""
    return [json.loads(line) for line in lines if line.startswith(b'{"event"')]


def is_locked(log: Path) -> bool:
    """Whether the job of a log is running or queued."""
    with log.open('rb') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False

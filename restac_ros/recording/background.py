"""Work on recordings in processes of their own, one after the other, at low priority."""

import fcntl
import json
import subprocess
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import IO, NamedTuple

NICENESS = 10  # recording and control come first
_STOP_TIMEOUT_S = 10.0
TAIL_BYTES = 64 * 2**10


class Ended(NamedTuple):
    """How the work on a path ended: the process's exit status and the events it reported, in order."""

    path: Path
    status: int
    events: list[dict]


class _Task(NamedTuple):
    path: Path
    log: IO[bytes]


class _Running(NamedTuple):
    task: _Task
    process: subprocess.Popen[bytes]


class Background:
    """A queue of paths and the process that works on the first of them; it reports in lines of JSON.

    Nothing waits here: `ended` polls. From `announce` or `add` on each path has a log
    beside it, locked until it is done with: where one is not locked and reports no end, there was a crash.
    """

    def __init__(self, line: Callable[[Path], list[str]], log_suffix: str) -> None:
        """`line` makes the command that works on a path."""
        self._line, self._log_suffix = line, log_suffix
        self._announced: dict[Path, IO[bytes]] = {}
        self._waiting: deque[_Task] = deque()
        self._running: _Running | None = None

    @property
    def pending(self) -> list[Path]:
        """Paths that are not done with, the one under way first."""
        return [task.path for task in self._tasks]

    @property
    def under_way(self) -> Path | None:
        """The path that is worked on."""
        return self._running.task.path if self._running else None

    @property
    def _tasks(self) -> list[_Task]:
        return [*([self._running.task] if self._running else []), *self._waiting]

    def announce(self, path: Path) -> None:
        """A path will be added. Raises OSError: its log cannot be written."""
        log = log_of(path, self._log_suffix).open('wb')
        fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._announced[path] = log

    def withdraw(self, path: Path) -> None:
        """A path that may have been announced will not be added."""
        if log := self._announced.pop(path, None):
            log.close()

    def add(self, path: Path) -> None:
        """Queue a path. Raises OSError: its log cannot be written."""
        if path not in self._announced:
            self.announce(path)
        self._waiting.append(_Task(path, self._announced.pop(path)))

    def ended(self, may_start: bool = True) -> Ended | None:
        """Start what waits, if it may; return what has ended."""
        if self._running is None:
            if self._waiting and may_start:
                self._start(self._waiting.popleft())
            return None
        task, process = self._running
        if (status := process.poll()) is None:
            return None
        task.log.close()
        self._running = None
        return Ended(task.path, status, read_events(log_of(task.path, self._log_suffix)))

    def last_event(self) -> dict:
        """What the work under way reported last; {} before the first."""
        path = self.under_way
        return last_event(log_of(path, self._log_suffix)) if path else {}

    def stop(self) -> list[Path]:
        """Stop the work under way; returns the paths that are not done with."""
        tasks = self._tasks
        if self._running:
            process = self._running.process
            process.terminate()
            try:
                process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for task in tasks:
            task.log.close()
        self._running = None
        self._waiting.clear()
        return [task.path for task in tasks]

    def _start(self, task: _Task) -> None:
        # A session of its own: Ctrl-C in the terminal is for the recorder, which decides. The lock on the
        # log is the process's, too: it stands until both are gone.
        process = subprocess.Popen(
            self._line(task.path), stdin=subprocess.DEVNULL, stdout=task.log, start_new_session=True
        )
        self._running = _Running(task, process)


def log_of(path: Path, suffix: str) -> Path:
    """Where the work on `path` is reported."""
    return path.with_name(path.name + suffix)


def read_events(log: Path) -> list[dict]:
    """All whole lines of a log."""
    return _parse(log.read_bytes().split(b'\n')[:-1])


def last_event(log: Path) -> dict:
    """The last whole line of a log, if it is not longer than any but the very last; {} before the first."""
    with log.open('rb') as file:
        begin = max(0, file.seek(0, 2) - TAIL_BYTES)
        file.seek(begin)
        lines = file.read().split(b'\n')[bool(begin) : -1]
    events = _parse(lines[-1:]) or _parse(lines)[-1:]
    return events[0] if events else {}


def _parse(lines: list[bytes]) -> list[dict]:
    """The events; other lines are what libraries print."""
    return [json.loads(line) for line in lines if line.startswith(b'{"event"')]


def is_locked(log: Path) -> bool:
    """Whether somebody still works, or will work, on what `log` is about."""
    with log.open('rb') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False

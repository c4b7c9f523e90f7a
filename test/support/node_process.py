"""Nodes of this package as processes, and how a test waits for what they do."""

import json
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

DEADLINE_S = 240.0  # generous: a busy machine may compile for minutes; nothing waits for it when all is well
POLL_S = 0.02
PAUSE = threading.Event()  # never set: waiting on it is how a condition is polled


def poll_until(
    condition: Callable[[], Any], what: Callable[[], str] | str, deadline_s: float = DEADLINE_S
) -> Any:
    """Poll until `condition` gives something true, which is returned."""
    begun_s = time.monotonic()
    while not (result := condition()):
        if time.monotonic() - begun_s > deadline_s:
            pytest.fail(f'not within {deadline_s:g} s: {what if isinstance(what, str) else what()}')
        PAUSE.wait(POLL_S)
    return result


class NodeProcess:
    """A node of this package in a process of its own; its messages are in `log`, or go to `console`."""

    def __init__(
        self, name: str, line: list[str], env: dict[str, str], directory: Path, console: int | None = None
    ) -> None:
        self.name = name
        self.summary_file = directory / f'{name}.json'
        self._log_file = directory / f'{name}.log'
        with self._log_file.open('wb') as log:
            out = log if console is None else console
            self.process = subprocess.Popen(line, env=env, stdout=out, stderr=subprocess.STDOUT)

    @property
    def log(self) -> str:
        """Everything it has said so far."""
        return self._log_file.read_text(errors='replace')

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def wait_for(self, pattern: str, times: int = 1) -> str:
        """Until a regular expression has been said; returns the last match."""

        def said() -> list[str]:
            found = [match.group(0) for match in re.finditer(pattern, self.log)]
            if len(found) < times and not self.alive:
                pytest.fail(f'{self.name} ended without saying {pattern!r}:\n{self.log}')
            return found if len(found) >= times else []

        return poll_until(said, lambda: f'{self.name} said {pattern!r}; it said:\n{self.log}')[-1]

    def end(self, number: int = signal.SIGINT) -> int:
        """Ask it to stop and wait; returns the exit status."""
        if self.alive:
            self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Until it has ended; returns the exit status."""
        try:
            return self.process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            pytest.fail(f'{self.name} has not ended:\n{self.log}')

    @property
    def summary(self) -> dict:
        """What it left behind."""
        return json.loads(self.summary_file.read_text())

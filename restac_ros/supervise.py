"""Runs a process list as plain processes and stops them in order: the front end without `launch_ros`."""

import os
import signal
import subprocess
import sys
import termios
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from restac_ros.process import MAX_RESTARTS, Process, command
from restac_ros.stopping import is_orphan, let_go_of_terminal, survives_terminal

_POLL_S = 0.1
REQUESTS_TO_KILL = 3
REASONS = {
    signal.SIGINT: 'interrupted',
    signal.SIGTERM: 'asked to stop (SIGTERM)',
    signal.SIGHUP: 'the terminal was closed',
    signal.SIGUSR1: 'ended by key',  # sent by the process with the keyboard
}


@dataclass(frozen=True)
class Ending:
    """How a run ended. `code` for the shell: 0 in order, 130 interrupted, else 1; `reason`: a sentence."""

    code: int
    reason: str


def environment(publishes_sensor_topics: bool) -> dict[str, str]:
    """Return the environment of the nodes. Sensor topics that a source publishes stay on this machine."""
    env = dict(os.environ)
    if publishes_sensor_topics:
        env.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    return env


def remove_summaries(processes: Sequence[Process]) -> None:
    """Remove the summaries of an earlier run in the same directory."""
    for process in processes:
        for file in (process.summary_file, process.played_file):
            if file.is_file():
                file.unlink(missing_ok=True)


@dataclass
class _Child:
    process: Process
    running: subprocess.Popen[bytes]
    restarts: int = 0
    left: bool = False  # ended, and not restarted


class Supervisor:
    """Starts processes, waits until the run is over, and stops the rest in order.

    A vital process that ends by itself ends the run; the streamer ramps to a hold before it ends. Other
    processes are restarted, at most `MAX_RESTARTS` times.
    """

    def __init__(self, processes: Sequence[Process], directory: Path) -> None:
        self._processes = list(processes)
        self._directory = directory
        self._children: list[_Child] = []
        self._env: dict[str, str] = {}
        self._requests, self._reason = 0, ''
        self._passed_on = 0
        self._lines: tuple[int, ...] = ()  # pipe from the other processes to the display
        self._wake = threading.Event()

    def run(self) -> Ending:
        """Run until the end; blocks.

        Ctrl-C, SIGTERM, a closed terminal and the end of the process that started this one end it in order. A
        second Ctrl-C is passed on, a third one kills the remaining processes.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        remove_summaries(self._processes)
        handled = [n for n in REASONS if n != signal.SIGHUP or not survives_terminal()]
        previous = {number: signal.signal(number, self._asked) for number in handled}
        has_keys = os.isatty(0) and any(process.terminal for process in self._processes)
        modes = termios.tcgetattr(0) if has_keys else None
        try:
            if any(process.terminal == 'display' for process in self._processes):
                self._lines = os.pipe()
            self._env = environment(any(p.ends_run for p in self._processes))
            for process in self._processes:
                if self._reason:
                    break
                self._children.append(_Child(process, self._start(process)))
            return self._stop_all(self._watch())
        finally:
            for child in self._children:
                if child.running.poll() is None:
                    child.running.kill()
                    child.running.wait()
            if self._lines:
                os.close(self._lines[0])
            if modes and os.isatty(0):  # the process with the keyboard may have been killed
                # Discard the keys pressed since: the shell would execute them.
                termios.tcsetattr(0, termios.TCSAFLUSH, modes)
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _start(self, process: Process) -> subprocess.Popen[bytes]:
        if process.terminal:  # in our process group, or job control would not reach it
            lines = {'log_descriptor': self._lines[0]} if self._lines else {}
            shown = replace(process, parameters={**process.parameters, **lines})
            return subprocess.Popen(command(shown), env=self._env, pass_fds=self._lines[:1])
        # A session of its own: Ctrl-C in the terminal reaches only us, and we stop the rest in order.
        return subprocess.Popen(
            command(process),
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=self._lines[1] if self._lines else None,
            stderr=self._lines[1] if self._lines else None,
            start_new_session=True,
        )

    def _asked(self, number: int, _: object) -> None:
        self._requests += 1
        self._reason = self._reason or REASONS[signal.Signals(number)]
        if number == signal.SIGHUP:
            let_go_of_terminal()
        self._wake.set()

    def _pause(self) -> None:
        self._wake.wait(_POLL_S)
        self._wake.clear()

    def _watch(self) -> Ending:
        while not self._reason:
            for child in self._children:
                process = child.process
                code = None if child.left else child.running.poll()
                if process.ends_run and (code == 0 or _has_played(process)):
                    return Ending(0, f'{process.executable} has played everything')
                if code is None:
                    continue
                what = f'{process.executable} ended by itself with {_describe(code)}'
                if process.vital:
                    return Ending(1, f'{what}: its messages above say why')
                self._go_on_without(child, what, start_again=code != 0)
            if is_orphan() and not survives_terminal():
                self._reason = 'the process that started this run is gone'
            self._pause()
        return Ending(0 if self._reason == REASONS[signal.SIGUSR1] else 130, self._reason)

    def _go_on_without(self, child: _Child, what: str, start_again: bool) -> None:
        """Restart a process that is not vital unless it ended in order, or too often."""
        child.left = not start_again or child.restarts >= MAX_RESTARTS
        if child.left:
            after = f' after {child.restarts} restarts' if child.restarts else ''
            print(f'*** {what}{after}: the run goes on without it', file=sys.stderr, flush=True)
            return
        child.restarts += 1
        again = f'it is started again ({child.restarts} of {MAX_RESTARTS})'
        print(f'*** {what}: the run goes on, {again}', file=sys.stderr, flush=True)
        child.running = self._start(child.process)

    def _stop_all(self, ending: Ending) -> Ending:
        self._ask_to_stop()
        for child in self._children:
            self._wait(child.process, child.running)
            code = child.running.returncode
            if code != 0 and ending.code == 0 and not child.left:
                found = f'{child.process.executable} stopped with {_describe(code)}'
                ending = Ending(1, f'{found}: its messages above say why')
        return ending

    def _ask_to_stop(self) -> None:
        """Send SIGTERM to all, in reverse order of start, so that the source stops first."""
        self._passed_on = self._requests
        if self._lines:  # the display ends with the last of those that write
            os.close(self._lines[1])
            self._lines = self._lines[:1]
        for child in reversed(self._children):
            if child.running.poll() is None and not _has_played(child.process):  # that one ends by itself
                child.running.send_signal(signal.SIGTERM)  # unlike SIGINT without a traceback at any time

    def _wait(self, process: Process, running: subprocess.Popen[bytes]) -> None:
        ticks_left = process.patience_s / _POLL_S
        while running.poll() is None:
            ticks_left -= 1
            if ticks_left <= 0 or self._requests >= REQUESTS_TO_KILL:
                running.kill()
                running.wait()
                return
            if self._requests > self._passed_on:
                self._ask_to_stop()
            self._pause()


def _has_played(process: Process) -> bool:
    """Whether a source has played everything: the others then stop at once, before they miss its streams."""
    return process.ends_run and process.played_file.exists()


def _describe(code: int) -> str:
    return f'exit status {code}' if code >= 0 else f'signal {signal.Signals(-code).name}'


def has_keyboard() -> bool:
    """Return whether stdin is a terminal and this process runs in the foreground."""
    if not os.isatty(0):
        return False
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:  # not our controlling terminal: no shell shares it with us
        return True

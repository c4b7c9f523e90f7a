"""Runs a process list as plain processes and stops them in order: the front end without `launch_ros`."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from restac_ros.graph import MAX_RESTARTS, Process, command

_POLL_S = 0.1
INTERRUPTS_TO_KILL = 3


@dataclass(frozen=True)
class Ending:
    """How a run ended. `code` for the shell: 0 in order, 130 interrupted, else 1; `reason`: a sentence."""

    code: int
    reason: str


def environment(publishes_sensor_topics: bool) -> dict[str, str]:
    """The nodes' environment. A played bag stays on this machine: its topics carry the real robot's names."""
    env = dict(os.environ)
    if publishes_sensor_topics:
        env.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    return env


@dataclass
class _Child:
    process: Process
    running: subprocess.Popen
    restarts: int = 0
    left: bool = False  # it has ended, and that is that


class Supervisor:
    """Starts processes, waits until the run is over, stops the rest: in order.

    A vital process that ends by itself ends the run; the streamer, told to stop, ramps to a hold first. One
    that isn't vital is started again, at most `MAX_RESTARTS` times: a run is not lost for its picture.
    """

    def __init__(self, processes: Sequence[Process], directory: Path) -> None:
        self._processes = list(processes)
        self._directory = directory
        self._children: list[_Child] = []
        self._env: dict[str, str] = {}
        self._interrupts = 0
        self._wake = threading.Event()

    def run(self) -> Ending:
        """Blocks until the run is over. Ctrl-C ends it in order, a third Ctrl-C kills what is left."""
        self._directory.mkdir(parents=True, exist_ok=True)
        previous = {
            number: signal.signal(number, self._interrupted) for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            self._env = environment(any(p.ends_run for p in self._processes))
            for process in self._processes:
                self._children.append(_Child(process, self._start(process)))
            return self._stop_all(self._watch())
        finally:
            for child in self._children:
                if child.running.poll() is None:
                    child.running.kill()
                    child.running.wait()
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _start(self, process: Process) -> subprocess.Popen:
        # A session of its own: a Ctrl-C in the terminal reaches us only, and we pass it on in order.
        return subprocess.Popen(command(process), env=self._env, start_new_session=True)

    def _interrupted(self, *_: object) -> None:
        self._interrupts += 1
        self._wake.set()

    def _pause(self) -> None:
        self._wake.wait(_POLL_S)
        self._wake.clear()

    def _watch(self) -> Ending:
        while not self._interrupts:
            for child in self._children:
                code = None if child.left else child.running.poll()
                if code is None:
                    continue
                process = child.process
                if process.ends_run and code == 0:
                    return Ending(0, f'{process.executable} has played everything')
                what = f'{process.executable} ended by itself with {_describe(code)}'
                if process.vital:
                    return Ending(1, f'{what}: its messages above say why')
                self._go_on_without(child, what, start_again=code != 0)
            self._pause()
        return Ending(130, 'interrupted')

    def _go_on_without(self, child: _Child, what: str, start_again: bool) -> None:
        """The run needs it not: start it again unless it ended in order, or too often."""
        child.left = not start_again or child.restarts >= MAX_RESTARTS
        if child.left:
            after = f' after {child.restarts} restarts' if child.restarts else ''
            print(f'*** {what}{after}: the run goes on without it', file=sys.stderr, flush=True)
            return
        child.restarts += 1
        print(
            f'*** {what}: the run goes on, it is started again ({child.restarts} of {MAX_RESTARTS})',
            file=sys.stderr,
            flush=True,
        )
        child.running = self._start(child.process)

    def _stop_all(self, ending: Ending) -> Ending:
        # The speaker, who was started last, is told first; then all finish side by side.
        for child in reversed(self._children):
            if child.running.poll() is None:
                child.running.send_signal(signal.SIGINT)
        for child in self._children:
            self._wait(child.process, child.running)
            code = child.running.returncode
            if code != 0 and ending.code == 0 and not child.left:
                ending = Ending(
                    1,
                    f'{child.process.executable} stopped with {_describe(code)}: its messages above say why',
                )
        return ending

    def _wait(self, process: Process, running: subprocess.Popen) -> None:
        ticks_left = process.patience_s / _POLL_S
        while running.poll() is None:
            ticks_left -= 1
            if ticks_left <= 0 or self._interrupts >= INTERRUPTS_TO_KILL:
                running.kill()
                running.wait()
                return
            self._pause()


def _describe(code: int) -> str:
    return f'exit status {code}' if code >= 0 else f'signal {signal.Signals(-code).name}'

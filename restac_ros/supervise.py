"""Runs a process list as plain processes and stops them in order: the front end without `launch_ros`."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from restac_ros.graph import PACKAGE, Process, package_prefix

POLL_S = 0.1
INTERRUPTS_TO_KILL = 3


@dataclass(frozen=True)
class Ending:
    """How a run ended. `code` for the shell: 0 in order, 130 interrupted, else 1; `reason`: a sentence."""

    code: int
    reason: str


def command(process: Process) -> list[str]:
    """Command line of one node, as `ros2 run` would build it."""
    program = package_prefix() / 'lib' / PACKAGE / process.executable
    line = [sys.executable, str(program), '--ros-args', '-r', f'__node:={process.executable}']
    if process.parameter_file:
        line += ['--params-file', str(process.parameter_file)]
    for name, value in process.parameters.items():
        line += ['-p', f'{name}:={_yaml(value)}']
    return line


def _yaml(value: object) -> str:
    """A value as rcl's YAML parser reads it back: strings quoted, so that '1' or 'yes' stay strings."""
    if isinstance(value, bool):
        return 'true' if value else 'false'
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return repr(value)


def environment(publishes_sensor_topics: bool) -> dict[str, str]:
    """The nodes' environment. A played bag stays on this machine: its topics carry the real robot's names."""
    env = dict(os.environ)
    if publishes_sensor_topics:
        env.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    return env


class Supervisor:
    """Starts processes, waits until the run is over, stops the rest: in order."""

    def __init__(self, processes: Sequence[Process], directory: Path) -> None:
        self._processes = list(processes)
        self._directory = directory
        self._children: list[tuple[Process, subprocess.Popen]] = []
        self._interrupts = 0
        self._wake = threading.Event()

    def run(self) -> Ending:
        """Blocks until the run is over. Ctrl-C ends it in order, a third Ctrl-C kills what is left."""
        self._directory.mkdir(parents=True, exist_ok=True)
        previous = {
            number: signal.signal(number, self._interrupted) for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            env = environment(any(p.ends_run for p in self._processes))
            for process in self._processes:
                # A session of its own: a Ctrl-C in the terminal reaches us only, and we pass it on in order.
                child = subprocess.Popen(command(process), env=env, start_new_session=True)
                self._children.append((process, child))
            ending = self._watch()
            return self._stop_all(ending)
        finally:
            for _, child in self._children:
                if child.poll() is None:
                    child.kill()
                    child.wait()
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _interrupted(self, *_: object) -> None:
        self._interrupts += 1
        self._wake.set()

    def _pause(self) -> None:
        self._wake.wait(POLL_S)
        self._wake.clear()

    def _watch(self) -> Ending:
        while not self._interrupts:
            for process, child in self._children:
                code = child.poll()
                if code is None:
                    continue
                if process.ends_run and code == 0:
                    return Ending(0, f'{process.executable} has played everything')
                what = f'{process.executable} ended by itself with {_describe(code)}'
                return Ending(1, f'{what}: its messages above say why')
            self._pause()
        return Ending(130, 'interrupted')

    def _stop_all(self, ending: Ending) -> Ending:
        # The speaker, who was started last, is told first; then all finish side by side.
        for _, child in reversed(self._children):
            if child.poll() is None:
                child.send_signal(signal.SIGINT)
        for process, child in self._children:
            self._wait(process, child)
            code = child.returncode
            if code != 0 and ending.code == 0:
                ending = Ending(
                    1, f'{process.executable} stopped with {_describe(code)}: its messages above say why'
                )
        return ending

    def _wait(self, process: Process, child: subprocess.Popen) -> None:
        ticks_left = process.patience_s / POLL_S
        while child.poll() is None:
            ticks_left -= 1
            if ticks_left <= 0 or self._interrupts >= INTERRUPTS_TO_KILL:
                child.kill()
                child.wait()
                return
            self._pause()


def _describe(code: int) -> str:
    return f'exit status {code}' if code >= 0 else f'signal {signal.Signals(-code).name}'

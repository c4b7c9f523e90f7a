"""`restac-ros record` in a terminal of its own, with real nodes: episodes by keys."""

import json
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip('rclpy')
pytest.importorskip('restac_ros.msg', reason='the messages are not built: `make build`')

from rclpy.qos import DurabilityPolicy, QoSProfile
from restac_ros.msg import RecorderStatus

from restac_ros.installation import GraphError, package_prefix

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
# As they stand in the first line of the display, in colour; the recorder's log says the words, too.
IDLE, RECORDING, PAUSED = (f'm{state}\x1b[0m   ' for state in ('idle', 'recording', 'paused'))
COMMAND = [sys.executable, '-P', '-m', 'restac_ros.cli']


class Terminal:
    """The command, its keyboard, and all that it has shown."""

    def __init__(self, line: list[str], env: dict[str, str]) -> None:
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(line, env=env, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        self.shown = ''
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def press(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def close(self) -> None:
        """As when its window is closed."""
        os.close(self._ours)

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._ours, 65536)
            except OSError:  # the command has ended, or the window was closed
                return
            self.shown += data.decode(errors='replace')


class Demonstrator:
    """Presses keys and waits for what is then shown."""

    def __init__(self, robot, terminal: Terminal, wait_until) -> None:
        self.terminal, self._wait_until = terminal, wait_until
        self._statuses = robot.listen('/recorder_node/status', RecorderStatus, LATCHED)

    def press(self, keys: str, words: str) -> None:
        """Type, and wait until something is shown that was not before."""
        seen = len(self.terminal.shown)
        self.terminal.press(keys)
        self.sees(words, seen)

    def sees(self, words: str, seen: int = 0) -> None:
        self._wait_until(
            lambda: words in self.terminal.shown[seen:], lambda: f'{words!r}; {self.terminal.shown[-3000:]}'
        )

    def begins(self) -> None:
        """Start a take, also before the first message has been received, or while one is late."""
        seen = len(self.terminal.shown)
        self.terminal.press(' ')

        def answered() -> bool:
            shown = self.terminal.shown[seen:]
            return RECORDING in shown or 'Record all the same?' in shown

        self._wait_until(answered, lambda: f'an answer to the key; {self.terminal.shown[-3000:]}')
        if RECORDING not in self.terminal.shown[seen:]:
            self.press('y', RECORDING)

    def has_written(self, count: int) -> None:
        self._wait_until(
            lambda: self._statuses and min(self._statuses[-1].written) >= count,
            lambda: f'messages; {self._statuses[-1:]}',
        )


@pytest.fixture
def start(
    robot, ros_domain: int, wait_until: Callable, tmp_path: Path
) -> Iterator[Callable[..., Demonstrator]]:
    """Start a command of `restac-ros` in a terminal of its own."""
    try:
        package_prefix()
    except GraphError as error:
        pytest.skip(str(error))
    parameters = tmp_path / 'parameters.yaml'
    parameters.write_text('/**/recorder_node:\n  ros__parameters:\n    on_gap: longest_run\n')
    env = {**os.environ, 'ROS_DOMAIN_ID': str(ros_domain), 'COLUMNS': '120', 'LINES': '40'}
    started: list[Terminal] = []

    def run(*arguments: str, **given: str) -> Demonstrator:
        given |= {'params': 'parameters.yaml', 'run-dir': 'run'}
        paths = [text for option, name in given.items() for text in (f'--{option}', str(tmp_path / name))]
        started.append(Terminal([*COMMAND, *arguments, *paths], env))
        return Demonstrator(robot, started[-1], wait_until)

    yield run
    for terminal in started:
        if terminal.process.poll() is None:
            terminal.process.terminate()
            terminal.process.wait()


@pytest.fixture
def demonstrator(start: Callable[..., Demonstrator]) -> Demonstrator:
    return start('record', '--task', 'push', to='dataset')


def episodes_in(dataset: Path) -> tuple[int, list[str]]:
    """How many episodes there are, and their task texts."""
    info = json.loads((dataset / 'meta' / 'info.json').read_text())
    about = sorted(dataset.glob('meta/restac_ros/episodes/*.json'))
    return info['total_episodes'], [json.loads(file.read_text())['task'] for file in about]


def test_episodes_are_recorded_by_keys(demonstrator: Demonstrator, robot, tmp_path: Path) -> None:
    robot.publish_streams()
    demonstrator.sees('space: start/save')
    demonstrator.begins()
    demonstrator.press('p', PAUSED)
    demonstrator.press('p', RECORDING)
    demonstrator.press('d', IDLE)
    demonstrator.terminal.press('tpull\n')
    demonstrator.begins()
    demonstrator.has_written(80)  # seconds: the rate of a shorter stretch is uncertain on a busy machine
    demonstrator.press('p', PAUSED)
    demonstrator.press('p', RECORDING)
    demonstrator.has_written(160)
    demonstrator.press('q', 's: save, d: discard')
    demonstrator.terminal.press('s')
    assert demonstrator.terminal.process.wait(240) == 0, demonstrator.terminal.shown
    assert episodes_in(tmp_path / 'dataset') == (2, ['pull', 'pull'])  # one before the pause, one after
    assert len(list((tmp_path / 'dataset.journals' / 'trash').iterdir())) == 1
    assert 'gelsight' in demonstrator.terminal.shown


def test_a_closed_terminal_ends_in_order_and_saves_the_open_episode(
    demonstrator: Demonstrator, robot, tmp_path: Path
) -> None:
    robot.publish_streams()
    demonstrator.sees('space: start/save')
    demonstrator.begins()
    demonstrator.has_written(30)
    demonstrator.terminal.close()
    demonstrator.terminal.process.wait(240)
    assert episodes_in(tmp_path / 'dataset') == (1, ['push'])


def test_a_run_is_steered_by_keys(start: Callable[..., Demonstrator], robot, tmp_path: Path) -> None:
    robot.publish_streams()
    up = start('up', '--prompt', 'push', record='dataset')
    up.sees('s: save   d: discard   n: next subtask   q: quit')
    up.has_written(30)
    up.press('s', 'saving')
    up.terminal.press('q')
    assert up.terminal.process.wait(240) == 0, up.terminal.shown
    assert 'ended by key' in up.terminal.shown
    assert episodes_in(tmp_path / 'dataset') == (1, ['push'])


def test_without_a_terminal_it_is_refused_with_a_remedy(tmp_path: Path) -> None:
    line = [*COMMAND, 'record', '--to', str(tmp_path / 'dataset')]
    refused = subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert 'stdin is not a terminal' in refused.stderr
    assert 'record.launch.py' in refused.stderr
    assert list(tmp_path.iterdir()) == []

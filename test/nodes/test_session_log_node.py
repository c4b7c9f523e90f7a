"""session_log_node as a process: what was published is in the bag, also when the node is killed."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip('rclpy')
pytest.importorskip('restac_ros.msg', reason='the messages are not built: `make build`')

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from restac_ros.msg import GateState

from restac_ros.dataset.bag.bag_reader import open_bag
from restac_ros.dataset.bag.message_types import typestore
from restac_ros.dataset.recovery import find_unfinished, recover
from restac_ros.graph import PACKAGE, GraphError, package_prefix
from restac_ros.nodes.parameters import ParameterError
from restac_ros.nodes.session_log_node import parse_topics

DEADLINE_S = 60.0
DOMAIN = 60 + os.getpid() % 20
GATES, GATE_TYPE = '/policy_node/gate_state', 'restac_ros/msg/GateState'


class Speaker:
    """Publishes gates until the node's diagnostics say how many it has written."""

    def __init__(self) -> None:
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=DOMAIN)
        self.node = rclpy.create_node('speaker', context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.publisher = self.node.create_publisher(GateState, GATES, 100)
        self.node.create_subscription(DiagnosticArray, '/diagnostics', self._diagnose, 100)
        self.sent = 0
        self.written = 0
        self.message = ''

    def until(self, done: Callable[[], bool], speak: bool = True) -> None:
        start_ns = self.node.get_clock().now().nanoseconds
        while not done():
            age_s = (self.node.get_clock().now().nanoseconds - start_ns) * 1e-9
            assert age_s < DEADLINE_S, f'not within {DEADLINE_S:g} s; the log says {self.message!r}'
            if speak and self.publisher.get_subscription_count():
                self.publisher.publish(GateState(code_index=self.sent, gate=0.5))
                self.sent += 1
            self.executor.spin_once(timeout_sec=0.02)

    def close(self) -> None:
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)

    def _diagnose(self, array: DiagnosticArray) -> None:
        for status in array.status:
            if status.name == 'session_log_node: session log':
                values = {value.key: value.value for value in status.values}
                self.message = status.message
                self.written = int(values.get(GATES, 0))


@pytest.fixture
def speaker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Speaker]:
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    speaker = Speaker()
    yield speaker
    speaker.close()


@pytest.fixture
def start(repository: Path) -> Iterator[Callable[..., subprocess.Popen]]:
    try:
        program = package_prefix() / 'lib' / PACKAGE / 'session_log_node'
    except GraphError as error:
        pytest.skip(str(error))
    if not program.is_file():
        pytest.skip(f'{program} is not installed: `make build`')
    started: list[subprocess.Popen] = []

    def run(**parameters: object) -> subprocess.Popen:
        line = [sys.executable, str(program), '--ros-args', '-r', '__node:=session_log_node']
        for name, value in {'contract': repository / 'config' / 'contract.yaml', **parameters}.items():
            line += ['-p', f'{name}:={value}']
        env = {**os.environ, 'ROS_DOMAIN_ID': str(DOMAIN), 'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'}
        started.append(subprocess.Popen(line, env=env, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.wait()


def codes_in(path: Path) -> list[int]:
    """Code indices of the gates in a bag, in its order."""
    messages = open_bag(path).messages({GATES})
    return [typestore().deserialize_cdr(message.cdr, GATE_TYPE).code_index for message in messages]


def test_all_that_was_said_is_in_the_log(start: Callable, speaker: Speaker, tmp_path: Path) -> None:
    process = start(log_dir=tmp_path, task='insert the plug')
    speaker.until(lambda: speaker.written >= 20)
    process.send_signal(signal.SIGINT)
    assert process.wait(DEADLINE_S) == 0, process.stderr.read()
    [log] = tmp_path.glob('session_*')
    codes = codes_in(log)
    assert len(codes) >= 20
    assert codes == list(range(codes[0], codes[0] + len(codes)))  # none missing, none twice, in order
    bag = open_bag(log)
    assert bag.notes == []
    assert bag.topics['/diagnostics'].count > 0  # its own, as those of all nodes


def test_a_killed_log_is_recovered(start: Callable, speaker: Speaker, tmp_path: Path) -> None:
    process = start(log_dir=tmp_path)
    speaker.until(lambda: speaker.written >= 20)
    certain = speaker.written
    speaker.until(lambda: speaker.written >= certain + 60)  # seconds later: what was certain has been flushed
    process.kill()
    process.wait()
    [partial] = find_unfinished(tmp_path)
    codes = codes_in(recover(partial).path)
    assert len(codes) >= certain
    assert codes == list(range(codes[0], codes[0] + len(codes)))


@pytest.mark.parametrize(
    ('parameters', 'words'),
    [
        ({}, 'log_dir'),
        ({'log_dir': '/proc/nowhere'}, '/proc'),
        ({'topics': '["/a"]', 'log_dir': '/tmp'}, "'/a'"),
    ],
)
def test_what_cannot_be_logged_is_refused(parameters: dict, words: str, start: Callable) -> None:
    process = start(exit_on_refusal='true', **parameters)
    assert process.wait(DEADLINE_S) == 1
    said = process.stderr.read()
    assert 'cannot' in said
    assert words in said


def test_topics_are_read_strictly() -> None:
    assert parse_topics([' /a  std_msgs/msg/String ']) == [('/a', 'std_msgs/msg/String')]
    for entries, words in (
        (['/a'], "'/a'; expected as"),
        (['/a std_msgs/String'], 'expected as'),
        (['/a std_msgs/msg/String', '/a std_msgs/msg/Bool'], 'named twice'),
    ):
        with pytest.raises(ParameterError, match=words):
            parse_topics(entries)

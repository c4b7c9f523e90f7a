"""session_log_node as a process: what was published is in the bag, also when the node is killed."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip('rclpy')
pytest.importorskip('restac_ros.msg', reason='the messages are not built: `make build`')

from diagnostic_msgs.msg import DiagnosticArray
from restac_ros.msg import GateState

from restac_ros.dataset.bag.bag_reader import open_bag
from restac_ros.dataset.bag.message_types import typestore
from restac_ros.dataset.recovery import find_unfinished, recover
from restac_ros.nodes.session_log_node import parse_topics
from restac_ros.runtime.node_parameters import ParameterError
from ros_rig import RosRig

GATES, GATE_TYPE = '/policy_node/gate_state', 'restac_ros/msg/GateState'


class Speaker(RosRig):
    """Publishes gates until the node's diagnostics say how many it has written."""

    def __init__(self, domain: int) -> None:
        super().__init__('speaker', domain)
        self.publisher = self.node.create_publisher(GateState, GATES, 100)
        self.node.create_subscription(DiagnosticArray, '/diagnostics', self._diagnose, 100)
        self.sent = 0
        self.written = 0
        self.message = ''

    def act(self) -> None:
        if self.publisher.get_subscription_count():
            self.publisher.publish(GateState(code_index=self.sent, gate=0.5))
            self.sent += 1

    def seen(self) -> str:
        return self.message

    def _diagnose(self, array: DiagnosticArray) -> None:
        for status in array.status:
            if status.name == 'session_log_node: session log':
                values = {value.key: value.value for value in status.values}
                self.message = status.message
                self.written = int(values.get(GATES, 0))


@pytest.fixture
def speaker(ros_domain: int) -> Iterator[Speaker]:
    speaker = Speaker(ros_domain)
    yield speaker
    speaker.close()


def codes_in(path: Path) -> list[int]:
    """Code indices of the gates in a bag, in its order."""
    messages = open_bag(path).messages({GATES})
    return [typestore().deserialize_cdr(message.cdr, GATE_TYPE).code_index for message in messages]


def test_all_that_was_said_is_in_the_log(start_node: Callable, speaker: Speaker, tmp_path: Path) -> None:
    log = start_node('session_log_node', log_dir=tmp_path, task='insert the plug')
    speaker.until(lambda: speaker.written >= 20)
    assert log.end() == 0, log.log
    [path] = tmp_path.glob('session_*')
    codes = codes_in(path)
    assert len(codes) >= 20
    assert codes == list(range(codes[0], codes[0] + len(codes)))  # none missing, none twice, in order
    bag = open_bag(path)
    assert bag.notes == []
    assert bag.topics['/diagnostics'].count > 0  # its own, as those of all nodes


def test_a_killed_log_is_recovered(start_node: Callable, speaker: Speaker, tmp_path: Path) -> None:
    log = start_node('session_log_node', log_dir=tmp_path)
    speaker.until(lambda: speaker.written >= 20)
    certain = speaker.written
    speaker.until(lambda: speaker.written >= certain + 60)  # seconds later: what was certain has been flushed
    log.end(signal.SIGKILL)
    [partial] = find_unfinished(tmp_path)
    codes = codes_in(recover(partial).path)
    assert len(codes) >= certain
    assert codes == list(range(codes[0], codes[0] + len(codes)))


@pytest.mark.parametrize(
    ('parameters', 'words'),
    [
        ({}, 'log_dir'),
        ({'log_dir': '/proc/nowhere'}, '/proc'),
        ({'topics': ['/a'], 'log_dir': '/tmp'}, "'/a'"),
    ],
)
def test_what_cannot_be_logged_is_refused(parameters: dict, words: str, start_node: Callable) -> None:
    log = start_node('session_log_node', exit_on_refusal=True, **parameters)
    assert log.wait() == 1
    assert 'cannot' in log.log
    assert words in log.log


def test_topics_are_read_strictly() -> None:
    assert parse_topics([' /a  std_msgs/msg/String ']) == {'/a': 'std_msgs/msg/String'}
    for entries, words in (
        (['/a'], "'/a'; expected as"),
        (['/a std_msgs/String'], 'expected as'),
        (['/a std_msgs/msg/String', '/a std_msgs/msg/Bool'], 'named twice'),
    ):
        with pytest.raises(ParameterError, match=words):
            parse_topics(entries)

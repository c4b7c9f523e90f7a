"""Replay and synthetic source as processes: every message arrives, as it was recorded, when it is due."""

from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip('rclpy')

from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message, serialize_message
from rclpy.subscription import Subscription
from rclpy.time import Time
from rosgraph_msgs.msg import Clock
from std_msgs.msg import Float64

from restac_ros.contract.load import load_contract
from restac_ros.dataset.bag.bag_reader import open_bag
from restac_ros.dataset.session_log import SessionLog
from restac_ros.framing.stamp import read_stamp_ns, with_stamp
from restac_ros.nodes.subscriptions import message_class

DEPTH = 4000


@pytest.fixture
def hear(robot) -> Callable[[str, str], list[bytes]]:
    """Keeps the serialised messages of a topic."""

    def start(topic: str, type_name: str) -> list[bytes]:
        kept: list[bytes] = []
        subscription = robot.node.create_subscription(
            message_class(type_name), topic, kept.append, QoSProfile(depth=DEPTH), raw=True
        )
        assert isinstance(subscription, Subscription)
        return kept

    return start


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_kept_stamps_are_the_bags_bytes_in_order(
    start_node, hear, wait_until, make_real_bag: Callable[..., Path], storage: str
) -> None:
    bag = make_real_bag('--seconds', '0.5', '--storage', storage)
    expected = {topic: [] for topic in open_bag(bag).topics}
    heard = {topic: hear(topic, found.type) for topic, found in open_bag(bag).topics.items()}
    clock = hear('/clock', 'rosgraph_msgs/msg/Clock')
    for message in open_bag(bag).messages():
        expected[message.topic].append(message.cdr)
    replay = start_node('replay_node', bag=bag, stamps='keep', publish_clock=True, wait_subscribers=1)
    assert replay.wait() == 0, replay.log
    wait_until(lambda: heard == expected, 'every message arrives as it was recorded')
    assert replay.summary['published'] == {
        **{topic: len(messages) for topic, messages in expected.items()},
        '/clock': len(clock),
    }
    times = [deserialize_message(cdr, Clock).clock for cdr in clock]
    first, last = open_bag(bag).bounds_ns
    nanoseconds = [time.sec * 10**9 + time.nanosec for time in times]
    assert nanoseconds[0] == first
    assert nanoseconds == sorted(nanoseconds)
    assert last - nanoseconds[-1] <= 5_000_000


def test_shifted_stamps_lie_in_the_present_and_zero_stays_zero(
    start_node, hear, wait_until, robot, make_real_bag: Callable[..., Path]
) -> None:
    bag = make_real_bag('--seconds', '0.5', '--gelsight-zero-stamp')
    heard = {name: hear(spec.topic, spec.type) for name, spec in robot.contract.streams.items()}
    touch, joints = heard['gelsight_left'], heard['joints']
    before_ns = robot.node.get_clock().now().nanoseconds
    recorded = list(open_bag(bag).messages([robot.contract.streams['joints'].topic]))
    replay = start_node('replay_node', bag=bag, rate=0.5, wait_subscribers=1)
    assert replay.wait() == 0, replay.log
    wait_until(lambda: len(joints) == len(recorded), 'everything acknowledged is handed over')
    assert [read_stamp_ns(cdr) for cdr in touch] == [None] * len(touch)
    got = [read_stamp_ns(cdr) for cdr in joints]
    assert before_ns < got[0] < robot.node.get_clock().now().nanoseconds
    spans = [read_stamp_ns(message.cdr) - read_stamp_ns(recorded[0].cdr) for message in recorded]
    assert [stamp - got[0] for stamp in got] == pytest.approx([2 * span for span in spans], abs=2)
    assert with_stamp(joints[3], 7) == with_stamp(recorded[3].cdr, 7)  # nothing but the stamp has changed


@pytest.mark.parametrize(
    ('parameters', 'message'),
    [
        ({}, 'no bag: name one'),
        ({'bag': '/nowhere/at/all'}, '/nowhere/at/all does not exist'),
        ({'bag': '/nowhere', 'rates': 2.0}, "unknown parameter 'rates'; did you mean 'rate'"),
        ({'bag': '/nowhere', 'rate': -1.0}, "parameter 'rate' is -1.0"),
    ],
)
def test_a_source_that_cannot_speak_says_why_and_ends(start_node, parameters: dict, message: str) -> None:
    replay = start_node('replay_node', **parameters)
    assert replay.wait() == 1
    assert message in replay.log
    assert replay.log.count('[ERROR]') == 1
    assert message in replay.summary['problem']


def test_a_bag_of_other_topics_is_refused(
    start_node, repository: Path, tmp_path: Path, make_real_bag
) -> None:
    text = (repository / 'config' / 'contract.yaml').read_text()
    other = tmp_path / 'contract.yaml'
    other.write_text(text.replace('topic: /', 'topic: /elsewhere/'))
    replay = start_node('replay_node', bag=make_real_bag('--seconds', '0.5'), contract=other)
    assert replay.wait() == 1
    assert 'holds none of the topics of contract' in replay.log


def test_a_session_log_is_played_if_asked_for(
    start_node, hear, wait_until, tmp_path: Path, repository: Path
) -> None:
    """No stream of the contract in it, but what a view draws."""
    contract = load_contract(repository / 'config' / 'contract.yaml')
    log = SessionLog(tmp_path / 'log', contract, start_ns=10**18)
    kind, topic = 'std_msgs/msg/Float64', '/policy_node/something'
    for number in range(5):
        log.write(topic, kind, serialize_message(Float64(data=float(number))), 10**18 + number * 10**7)
    path = log.close(10**18 + 10**9)
    refused = start_node('replay_node', bag=path)
    assert refused.wait() == 1
    assert 'any_topics' in refused.log
    heard = hear(topic, kind)
    replay = start_node('replay_node', bag=path, any_topics=True, loop=True)
    wait_until(lambda: len(heard) >= 5, 'it is played')
    assert replay.end() == 0, replay.log


def test_nothing_is_played_where_somebody_else_publishes(start_node, robot) -> None:
    """A forgotten robot on the same domain: its streams and a bag's would be taken for one."""
    robot.publish_streams()
    topic = robot.contract.streams['main'].topic
    source = start_node('synthetic_node', seconds=1.0, discovery_s=60.0)  # ends at the first that it finds
    assert source.wait() == 1
    assert 'not playing: /robot publishes /' in source.log
    assert 'share_topics' in source.log
    assert source.summary['published'][topic] == 0
    source = start_node('synthetic_node', seconds=0.2, share_topics=True)
    assert source.wait() == 0, source.log


def test_without_listeners_nothing_is_played(start_node) -> None:
    source = start_node('synthetic_node', seconds=1.0, wait_subscribers=1, wait_timeout_s=0.5)
    assert source.wait() == 1
    assert '1 subscribers expected for each topic within 0.5 s, but /cameras/main' in source.log
    assert source.summary['published'] == dict.fromkeys(source.summary['published'], 0)


def test_the_synthetic_source_publishes_for_its_time_then_ends(start_node, hear, wait_until, robot) -> None:
    heard = {name: hear(spec.topic, spec.type) for name, spec in robot.contract.streams.items()}
    source = start_node('synthetic_node', seconds=1.0, wait_subscribers=1)
    assert source.wait() == 0, source.log
    expected = {name: round(spec.rate_hz) for name, spec in robot.contract.streams.items()}
    assert source.summary['streams'] == expected
    assert source.summary['complete']
    assert 'XMLPARSER' not in source.log  # how Fast DDS begins to complain of config/fastdds.xml
    wait_until(lambda: {name: len(kept) for name, kept in heard.items()} == expected, 'all has arrived')


def test_ctrl_c_ends_a_source_at_once_and_says_how_far_it_came(start_node) -> None:
    source = start_node('synthetic_node', seconds=3600.0)
    source.wait_for('playing')
    assert source.end() == 0
    assert not source.summary['complete']


def test_under_simulated_time_a_source_follows_the_clock_in_stamps_and_pace(
    start_node, hear, wait_until, robot
) -> None:
    heard = {name: hear(spec.topic, spec.type) for name, spec in robot.contract.streams.items()}
    clock = robot.node.create_publisher(Clock, '/clock', 10)
    source = start_node('synthetic_node', '-p', 'use_sim_time:=true', seconds=0.5, wait_subscribers=1)
    source.wait_for('waiting for /clock')
    wait_until(lambda: clock.get_subscription_count() > 0, 'the source subscribes to /clock')
    assert not any(heard.values()), 'nothing is published before there is a time'
    now_ns, step_ns = 1000 * 10**9, 10_000_000

    def tick_until_ended() -> bool:
        nonlocal now_ns
        now_ns += step_ns
        clock.publish(Clock(clock=Time(nanoseconds=now_ns).to_msg()))
        return not source.alive

    wait_until(tick_until_ended, lambda: f'the source ends by simulated time: {source.log}')
    assert source.wait() == 0, source.log
    expected = {name: round(spec.rate_hz * 0.5) for name, spec in robot.contract.streams.items()}
    wait_until(lambda: all(len(heard[name]) >= expected[name] - 1 for name in heard), 'all has arrived')
    stamps = [read_stamp_ns(cdr) for kept in heard.values() for cdr in kept]
    assert min(stamps) > 1000 * 10**9
    assert max(stamps) <= now_ns


def test_a_bag_that_gives_the_time_cannot_follow_it(start_node, make_real_bag) -> None:
    bag = make_real_bag('--seconds', '0.5')
    replay = start_node('replay_node', '-p', 'use_sim_time:=true', bag=bag, publish_clock=True)
    assert replay.wait() == 1
    assert 'cannot wait for it; set use_sim_time to false' in replay.log

"""Publishers that do not fit the contract are named, with the remedy; nothing is lost in a stall."""

from pathlib import Path

import pytest

pytest.importorskip('rclpy')
pytest.importorskip('restac_ros.msg', reason='the messages are not built: `make build`')

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from restac_ros.msg import RecorderStatus
from sensor_msgs.msg import CompressedImage, Image, JointState

from restac_ros.contract.load import load_contract
from restac_ros.nodes.subscriptions import STALL_S, UnknownTypeError, message_class, stream_qos


@pytest.fixture
def listener(start_node, tmp_path: Path):
    """A recorder is the lightest node that subscribes to everything."""
    return start_node('recorder_node', journal_dir=tmp_path / 'journals', task='push')


def test_an_incompatible_publisher_is_named_with_the_remedy(listener, robot) -> None:
    spec = robot.contract.streams['side']
    best_effort = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
    robot.node.create_publisher(Image, spec.topic, best_effort)
    listener.wait_for(
        rf'side: a publisher of {spec.topic} has incompatible QoS \(reliability\), no message arrives; '
        'set reliability: best_effort for side in the contract'
    )
    assert listener.alive
    listener.end()
    assert listener.log.count('incompatible') == 1


def test_another_type_on_a_topic_is_named(listener, robot) -> None:
    spec = robot.contract.streams['main']
    robot.node.create_publisher(CompressedImage, spec.topic, 5)
    listener.wait_for(
        rf'main: {spec.topic} is published as sensor_msgs/msg/CompressedImage, the contract expects'
    )
    assert listener.alive


def test_bytes_that_are_no_message_are_counted_and_told_once(listener, robot, wait_until) -> None:
    spec = robot.contract.streams['gripper']
    diagnostics = robot.listen('/diagnostics', DiagnosticArray)
    outlet = robot.node.create_publisher(JointState, spec.topic, 5)
    broken = bytearray(serialize_message(JointState()))
    broken[8:12] = b'\xff\xff\xff\xff'  # nanoseconds of the stamp
    wait_until(lambda: outlet.get_subscription_count() > 0, 'a subscriber')
    for _ in range(3):
        outlet.publish(bytes(broken))
    listener.wait_for(r'gripper: /franka_gripper/joint_states: header stamp .* is no time')
    wait_until(lambda: refused_of(diagnostics, 'gripper') == '3', 'all three counted')
    listener.end()
    assert listener.log.count('is no time') == 1
    assert listener.summary['streams']['gripper'] == {
        'received': 3,
        'lost': 0,
        'bytes': 3 * len(broken),
        'zero_stamps': 0,
        'refused': 3,
        'others': 0,
        'restarts': 0,
        'numbered': True,
    }


def refused_of(diagnostics: list, stream: str) -> str | None:
    statuses = [status for array in diagnostics for status in array.status]
    found = [status for status in statuses if status.name.endswith(f'stream {stream}')]
    return {pair.key: pair.value for pair in found[-1].values}['refused'] if found else None


def test_arm_and_fingers_on_one_topic_are_two_streams(
    start_node, robot, wait_until, repository: Path, tmp_path: Path
) -> None:
    text = (repository / 'config' / 'contract.yaml').read_text()
    shared = tmp_path / 'shared.yaml'
    shared.write_text(text.replace('/franka_gripper/joint_states', robot.contract.streams['joints'].topic))
    listener = start_node(
        'recorder_node',
        contract=shared,
        journal_dir=tmp_path / 'journals',
        task='push',
        autostart_recording=True,
    )
    status = robot.listen('/recorder_node/status', RecorderStatus)
    arm, fingers = (robot.contract.streams[name].joints for name in ('joints', 'gripper'))
    outlet = robot.node.create_publisher(JointState, robot.contract.streams['joints'].topic, 100)
    wait_until(lambda: outlet.get_subscription_count() > 0, 'a subscriber')
    for second in range(1, 31):
        for names in (arm,) if second > 10 else (fingers,) if second > 5 else ((*arm, *fingers),):
            message = JointState(name=list(names), position=[0.0] * len(names))
            message.header.stamp.sec = second
            outlet.publish(message)
    places = [list(robot.contract.streams).index(name) for name in ('joints', 'gripper')]
    wait_until(
        lambda: status and status[-1].received and [status[-1].received[i] for i in places] == [25, 10],
        'both counted',
    )
    assert listener.end() == 0
    assert listener.summary['streams']['joints']['others'] == 5
    assert listener.summary['streams']['gripper']['others'] == 20


def test_joints_of_another_name_are_named_with_those_expected_and_the_remedy(
    listener, robot, wait_until
) -> None:
    spec = robot.contract.streams['joints']
    outlet = robot.node.create_publisher(JointState, spec.topic, 5)
    wait_until(lambda: outlet.get_subscription_count() > 0, 'a subscriber')
    stranger = JointState(name=['panda_joint1', 'panda_joint2'], position=[0.0, 0.0])
    stranger.header.stamp.sec = 1
    outlet.publish(stranger)
    listener.wait_for(
        r'joints .*other joints: /franka/joint_states: no joint fr3_joint1, .*; '
        r'the message has panda_joint1, panda_joint2; set joints'
    )
    assert listener.alive


def test_a_burst_is_received_whole_and_in_order(start_node, robot, wait_until, tmp_path: Path) -> None:
    listener = start_node(
        'recorder_node', journal_dir=tmp_path / 'journals', task='push', autostart_recording=True
    )
    status = robot.listen('/recorder_node/status', RecorderStatus)
    spec = robot.contract.streams['joints']
    outlet = robot.node.create_publisher(JointState, spec.topic, QoSProfile(depth=2000))
    wait_until(lambda: outlet.get_subscription_count() > 0, 'a subscriber')
    message = JointState(name=list(spec.joints), position=[0.0] * 7)
    for second in range(1, 1501):  # more than comes in a second
        message.header.stamp.sec = second
        outlet.publish(message)
    place = list(robot.contract.streams).index('joints')
    wait_until(
        lambda: status and len(status[-1].received) and status[-1].received[place] == 1500, 'all received'
    )
    assert status[-1].lost[place] == 0
    assert listener.end() == 0
    assert listener.summary['written']['joints'] == 1500


def test_queues_hold_a_stall_of_every_stream(repository: Path) -> None:
    contract = load_contract(repository / 'config' / 'contract.yaml')
    for spec in contract.streams.values():
        qos = stream_qos(spec, spec.rate_hz)
        assert qos.depth >= spec.rate_hz * STALL_S
        assert qos.reliability == ReliabilityPolicy.RELIABLE


def test_a_type_that_is_not_installed_is_named_with_its_package() -> None:
    assert message_class('sensor_msgs/msg/Image') is Image
    with pytest.raises(UnknownTypeError, match='install ros-jazzy-franka-msgs'):
        message_class('franka_msgs/msg/FrankaRobotState')
    with pytest.raises(UnknownTypeError, match='sensor_msgs/msg/Imgae is not installed'):
        message_class('sensor_msgs/msg/Imgae')

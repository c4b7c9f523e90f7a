"""The doctor as a process: what it is shown, it names. Rates are not judged here: the machine may be busy."""

from pathlib import Path

import pytest

pytest.importorskip('rclpy')

from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image, JointState

DISCOVERY_S = 60.0  # ends as soon as every topic has a publisher, and messages flow
LISTEN_S = 3.0  # a busy machine may keep a publisher waiting for a second


def kinds(summary: dict, subject: str) -> set[str]:
    return {check['kind'] for check in summary['checks'] if check['subject'] == subject}


def test_a_synthetic_robot_is_in_order(start_node, tmp_path: Path) -> None:
    start_node('synthetic_node', seconds=60.0, wait_subscribers=1)
    doctor = start_node(
        'doctor_node', seconds=LISTEN_S, discovery_s=DISCOVERY_S, journal_dir=tmp_path, write_mb=1
    )
    status = doctor.wait()
    summary = doctor.summary
    assert set(summary['streams']) == {'main', 'handeye', 'side', 'gelsight_left', 'joints', 'gripper'}
    for name, seen in summary['streams'].items():
        assert seen['received'] > 0, doctor.log
        assert kinds(summary, name) <= {'ok', 'rate', 'lost', 'late'}
        assert [publisher['node'] for publisher in seen['publishers']] == ['/synthetic_node']
    assert summary['machine']['write_bytes_per_s'] > 0
    assert status == (0 if summary['healthy'] else 1)


def test_every_fault_has_its_name(start_node, robot, tmp_path: Path) -> None:
    streams = robot.contract.streams
    robot.silent = {'side', 'gripper'}
    robot.zero_stamps = {'gelsight_left'}
    robot.encodings = {'main': 'bgr8'}
    robot.joint_names[0] = 'panda_joint1'
    robot.lag_s = {'handeye': -1.0}
    best_effort = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
    fingers = robot.node.create_publisher(JointState, streams['gripper'].topic, best_effort)
    robot.publish_streams()
    second = robot.node.create_publisher(Image, streams['side'].topic, 5)
    unknown = JointState(name=['left', 'right'], position=[0.0, 0.0])
    robot.node.create_timer(0.05, lambda: fingers.publish(unknown))

    doctor = start_node('doctor_node', seconds=LISTEN_S, discovery_s=DISCOVERY_S)
    assert doctor.wait() == 1, doctor.log
    summary = doctor.summary
    assert second
    assert 'undecodable' in kinds(summary, 'main')
    assert 'future' in kinds(summary, 'handeye')
    assert 'zero-stamp' in kinds(summary, 'gelsight_left')
    assert {'publishers', 'silent'} <= kinds(summary, 'side')
    assert {'undecodable', 'rate'} <= kinds(summary, 'joints')  # 200 Hz at most, 1 kHz declared
    assert {'qos', 'joints'} <= kinds(summary, 'gripper')  # names no joint of it: none of its messages
    assert not summary['healthy']


def test_a_stranger_on_the_topic_of_a_sound_arm_is_no_fault_of_the_arm(start_node, robot) -> None:
    robot.publish_streams()
    stranger = robot.node.create_publisher(JointState, robot.contract.streams['joints'].topic, 5)
    unknown = JointState(name=['left', 'right'], position=[0.0, 0.0])
    unknown.header.stamp.sec = 1
    robot.node.create_timer(0.002, lambda: stranger.publish(unknown))
    doctor = start_node('doctor_node', seconds=LISTEN_S, discovery_s=DISCOVERY_S)
    doctor.wait()
    joints = doctor.summary['streams']['joints']
    assert (joints['received'] > 0, joints['others'] > 0, joints['problem']) == (True, True, ''), doctor.log
    assert not {'undecodable', 'joints', 'publishers'} & kinds(doctor.summary, 'joints')


def test_a_silent_network_is_said_in_the_log(start_node) -> None:
    doctor = start_node('doctor_node', seconds=0.3, discovery_s=0.0, summary_file='')
    assert doctor.wait() == 1
    assert 'ROS_DOMAIN_ID' in doctor.log
    assert 'nobody publishes /franka/joint_states' in doctor.log

"""Teleoperation with real nodes: steps and a gamepad move the simulated arm, and keys record an episode."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from node_process import NodeProcess
from ros_rig import RosRig
from terminal_process import COMMAND, Terminal

pytest.importorskip('rclpy')
pytest.importorskip('restac_ros.msg', reason='the messages are not built: `make build`')
pytest.importorskip('mujoco', reason="the simulated cell is not installed: `pip install -e '.[sim]'`")

from geometry_msgs.msg import PoseStamped, Twist
from sensor_msgs.msg import Joy
from std_msgs.msg import Float64
from std_srvs.srv import Trigger

from restac_ros.contract.load import load_contract
from restac_ros.dataset.lerobot_access import open_dataset
from restac_ros.dataset.references import episode_references
from restac_ros.framing.values import decode_value
from restac_ros.nodes.subscriptions import message_class

SPEED_M_S = 0.1


class Person(RosRig):
    """Sends steps and a gamepad's state, and receives where the arm is and where it is sent."""

    def __init__(self, domain: int, contract_file: Path) -> None:
        super().__init__('person', domain)
        self.contract = load_contract(contract_file)
        self.joints: bytes | None = None
        self.targets: list[PoseStamped] = []
        self.openings: list[float] = []
        self.axes: list[float] | None = None  # of the gamepad, which is silent without
        spec = self.contract.streams['joints']
        node = self.node
        node.create_subscription(message_class(spec.type), spec.topic, self._receive_joints, 10, raw=True)
        node.create_subscription(PoseStamped, 'target_pose', self.targets.append, 1000)
        node.create_subscription(Float64, 'gripper/command', lambda m: self.openings.append(m.data), 10)
        self.steps = node.create_publisher(Twist, 'teleop_node/step', 100)
        self.joy = node.create_publisher(Joy, 'joy', 10)

    def act(self) -> None:
        if self.axes is not None:
            self.joy.publish(Joy(axes=self.axes, buttons=[0, 0, 0, 0]))

    @property
    def place_m(self) -> np.ndarray:
        """Where the tool is, [3] in the base frame."""
        return decode_value(self.contract, 'joints', self.joints)[:3, 3]

    def step(self, x_m: float = 0.0, z_m: float = 0.0) -> None:
        message = Twist()
        message.linear.x, message.linear.z = x_m, z_m
        self.steps.publish(message)

    def seen(self) -> str:
        return f'{len(self.targets)} targets, arm at {self.place_m if self.joints else "?"}'

    def _receive_joints(self, cdr: bytes) -> None:
        self.joints = cdr


@pytest.fixture
def person(ros_domain: int, slow_contract_file: Path) -> Iterator[Person]:
    rig = Person(ros_domain, slow_contract_file)
    yield rig
    rig.close()


@pytest.fixture
def teleop(start_node, slow_contract_file: Path) -> NodeProcess:
    return start_node('teleop_node', contract=slow_contract_file, use_sim_time=True)


@pytest.fixture
def cell(start_node, slow_contract_file: Path) -> NodeProcess:
    options = {'cameras': False, 'end_when_inserted': False, 'seconds': 600.0, 'discovery_s': 0.1}
    return start_node('sim_node', contract=slow_contract_file, **options)


def stamps_s(targets: list[PoseStamped]) -> np.ndarray:
    return np.array([target.header.stamp.sec + 1e-9 * target.header.stamp.nanosec for target in targets])


def test_steps_gamepad_and_gripper_move_the_simulated_arm_within_the_limits(
    cell: NodeProcess, teleop: NodeProcess, person: Person
) -> None:
    person.until(lambda: person.joints and person.steps.get_subscription_count())
    start_m = person.place_m
    for _ in range(5):
        person.step(z_m=0.004)
    person.until(lambda: person.place_m[2] > start_m[2] + 0.0195)
    sent_m = person.targets[-1].pose.position
    np.testing.assert_allclose([sent_m.x, sent_m.y], start_m[:2], atol=1e-3)
    person.step(x_m=math.nan)
    teleop.wait_for('is no number; nothing is moved')

    person.axes = [0.0, -1.0]  # a gamepad with two axes of four, pulled towards the person
    person.until(lambda: person.place_m[0] < start_m[0] - 0.05)
    teleop.wait_for(r'axis 4, axis 3 cannot move anything: the gamepad has 2 axes')
    person.axes = None  # switched off at its stop
    sent = 0

    def standing() -> bool:
        nonlocal sent
        before, sent = sent, len(person.targets)
        return before == sent

    person.until(standing)
    person.joy.publish(Joy(axes=[0.0] * 5, buttons=[0, 1, 0, 0]))
    person.until(lambda: person.openings)
    assert person.openings == [pytest.approx(0.08)]
    assert person.request('teleop_node/close', Trigger).success
    person.until(lambda: len(person.openings) > 1)
    assert person.openings[-1] == 0.0

    places = np.array([[t.pose.position.x, t.pose.position.y, t.pose.position.z] for t in person.targets])
    gaps_s, moves_m = np.diff(stamps_s(person.targets)), np.linalg.norm(np.diff(places, axis=0), axis=1)
    together = (gaps_s > 0) & (gaps_s < 0.1)  # one motion, no pause between
    assert together.sum() > 20
    assert np.all(moves_m[together] <= SPEED_M_S * gaps_s[together] * 1.01 + 1e-6)
    assert cell.end() == 0, cell.log
    assert cell.summary['refused'] == 0
    assert teleop.end() == 0, teleop.log
    assert teleop.summary['steps'] == 5


def test_beside_another_publisher_of_targets_nothing_is_sent(
    cell: NodeProcess, teleop: NodeProcess, person: Person
) -> None:
    person.until(lambda: person.joints and person.steps.get_subscription_count())
    rival = person.node.create_publisher(PoseStamped, 'target_pose', 1)
    teleop.wait_for('not moving: /person may publish /target_pose, too; stop it')
    person.step(z_m=0.004)
    start_m = person.place_m
    person.node.destroy_publisher(rival)

    def moved() -> bool:
        person.step(z_m=0.001)
        return person.place_m[2] > start_m[2] + 0.0035

    person.until(moved)
    assert cell.end() == 0, cell.log
    assert teleop.end() == 0, teleop.log


def test_a_person_moves_the_arm_and_records_by_keys_in_one_terminal(
    person: Person, ros_domain: int, slow_contract_file: Path, tmp_path: Path
) -> None:
    paths = {'to': tmp_path / 'data', 'run-dir': tmp_path / 'run', 'contract': slow_contract_file}
    options = [text for name, path in paths.items() for text in (f'--{name}', str(path))]
    env = {**os.environ, 'ROS_DOMAIN_ID': str(ros_domain), 'COLUMNS': '160', 'LINES': '40'}
    terminal = Terminal([*COMMAND, 'sim', 'teleop', *options], env)
    try:
        person.until(lambda: 'i k j l: forward back left right' in terminal.shown)
        person.until(lambda: person.joints and person.steps.get_subscription_count())
        start_m = person.place_m
        terminal.press(' ')
        person.until(lambda: 'mrecording\x1b[0m   ' in terminal.shown)
        terminal.press('x')
        person.until(lambda: 'save or discard it first' in terminal.shown)
        terminal.press('3')
        for _ in range(4):  # so that there is motion in every part of the recording
            terminal.press('u')
            person.until(lambda: person.place_m[2] > start_m[2] + 0.006)
            terminal.press('o')
            person.until(lambda: person.place_m[2] < start_m[2] + 0.002)
        terminal.press('q')
        person.until(lambda: 's: save, d: discard' in terminal.shown)
        terminal.press('s')
        assert terminal.process.wait(240) == 0, terminal.shown
    finally:
        terminal.end()
    rows = open_dataset(tmp_path / 'data', [0]).hf_dataset
    states = np.array(rows['observation.state'])
    assert np.ptp(states[:, 2]) > 0.002
    reference = episode_references(tmp_path / 'data', 0)['gelsight_left'].astype(int)
    first = np.asarray(rows[0]['observation.images.gelsight_left_rgb'])
    shown = np.rint(255 * first).astype(int).transpose(1, 2, 0)
    assert 0.5 < np.abs(shown - reference).mean() < 3, 'noise, and no more'

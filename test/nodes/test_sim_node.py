"""The simulated cell as a process: what drivers publish, a loop that closes, faults, and clear refusals.

Time is simulated: everything here waits for /clock, however slowly a busy machine lets it run.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from node_process import NodeProcess
from ros_rig import RosRig

pytest.importorskip('rclpy')
pytest.importorskip('restac_ros.msg', reason='the messages are not built: `make build`')
pytest.importorskip('mujoco', reason="the simulated cell is not installed: `pip install -e '.[sim]'`")

from geometry_msgs.msg import PoseStamped, WrenchStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.qos import DurabilityPolicy, QoSProfile
from rosgraph_msgs.msg import Clock
from std_msgs.msg import Float64, UInt8
from std_srvs.srv import SetBool, Trigger

from restac_ros.contract.load import load_contract
from restac_ros.framing.sample import make_sample
from restac_ros.framing.stamp import read_stamp_ns
from restac_ros.framing.values import decode_value
from restac_ros.graph import SIM_ROBOT
from restac_ros.nodes.subscriptions import message_class
from restac_ros.sim.cell.parameters import draw_scene

SEED = 7
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
HOVER_M, DOWN_M_S, APPROACH_S = 0.08, 0.015, 2.5


class Teacher(RosRig):
    """Commands a path by simulated time, and keeps the newest message of each stream.

    `path` maps simulated seconds since the first /clock to a tool position [3] in m.
    """

    def __init__(self, domain: int, contract_file: Path) -> None:
        super().__init__('teacher', domain)
        self.contract = load_contract(contract_file)
        self.newest: dict[str, bytes] = {}
        self.counts: dict[str, int] = {}
        self.modes: list[int] = []
        self.forces_n: list[float] = []
        self.references: list = []
        self.path = None
        self.clock_ns = self.first_ns = 0
        node = self.node
        node.create_subscription(Clock, '/clock', self._receive_clock, 10)
        node.create_subscription(UInt8, '/sim_node/robot_mode', lambda m: self.modes.append(m.data), 10)
        node.create_subscription(WrenchStamped, '/sim_node/contact_force', self._receive_force, 100)
        for name, spec in self.contract.streams.items():
            kind = message_class(spec.type)
            node.create_subscription(
                kind, spec.topic, lambda cdr, name=name: self._keep(name, cdr), 50, raw=True
            )
        self.target = node.create_publisher(PoseStamped, 'target_pose', 1)
        self.gripper = node.create_publisher(Float64, 'gripper/command', 1)

    def _receive_force(self, message: WrenchStamped) -> None:
        assert message.header.frame_id == self.contract.robot.base_frame
        force = message.wrench.force
        self.forces_n.append(float(np.linalg.norm([force.x, force.y, force.z])))

    @property
    def elapsed_s(self) -> float:
        return (self.clock_ns - self.first_ns) * 1e-9

    def connected(self) -> bool:
        """Whether the arm is measured and listens to commands; topics are found one after the other."""
        outlets = (self.target, self.gripper)
        return 'joints' in self.newest and all(outlet.get_subscription_count() for outlet in outlets)

    def value(self, name: str) -> np.ndarray:
        """What framing makes of the newest message of a stream."""
        return decode_value(self.contract, name, self.newest[name])

    def command(self, place_m: np.ndarray, frame: str = 'fr3_link0') -> None:
        message = PoseStamped()
        message.header.frame_id = frame
        position = message.pose.position
        position.x, position.y, position.z = map(float, place_m)
        message.pose.orientation.x, message.pose.orientation.w = 1.0, 0.0
        self.target.publish(message)

    def switch(self, service: str, on: bool) -> None:
        answer = self.request(f'/sim_node/{service}', SetBool, SetBool.Request(data=on))
        assert answer.success, answer.message

    def seen(self) -> str:
        return f'{self.elapsed_s:.2f} s simulated, messages {self.counts}, mode {self.modes[-1:]}'

    def _receive_clock(self, message: Clock) -> None:
        self.clock_ns = message.clock.sec * 10**9 + message.clock.nanosec
        self.first_ns = self.first_ns or self.clock_ns
        if self.path is not None:
            self.command(self.path(self.elapsed_s))

    def _keep(self, name: str, cdr: bytes) -> None:
        self.newest[name] = cdr
        self.counts[name] = self.counts.get(name, 0) + 1


@pytest.fixture
def teacher(ros_domain: int, slow_contract_file: Path) -> Iterator[Teacher]:
    rig = Teacher(ros_domain, slow_contract_file)
    yield rig
    rig.close()


@pytest.fixture
def start_cell(start_node, slow_contract_file: Path):
    def start(*arguments: str, **parameters: object) -> NodeProcess:
        given = {
            'contract': slow_contract_file,
            'seed': SEED,
            'discovery_s': 0.1,
            'cameras': False,
            **parameters,
        }
        return start_node('sim_node', *arguments, **given)

    return start


def test_a_plug_is_inserted_through_topics_and_simulated_time(start_cell, teacher: Teacher) -> None:
    scene = draw_scene(SEED)
    hole_m = np.add(scene.housing_m, scene.hole_m)
    start_m, above_m = np.array(scene.start_m), np.array([*hole_m, HOVER_M])

    def path(time_s: float) -> np.ndarray:
        share = min(time_s / APPROACH_S, 1.0)
        down_m = DOWN_M_S * min(max(time_s - APPROACH_S, 0.0), 2.0)
        return start_m + share * (above_m - start_m) - (0.0, 0.0, down_m)

    teacher.path = path
    cell = start_cell(cameras=True, camera_width_px=64, camera_height_px=48)
    teacher.until(lambda: not cell.alive)
    assert cell.wait() == 0, cell.log
    outcome = cell.summary
    assert outcome['complete']
    assert outcome['inserted_s'] == pytest.approx(outcome['simulated_s'] - 1.0, abs=0.05)
    assert APPROACH_S < outcome['inserted_s'] < 10
    assert outcome['touched_s'] > APPROACH_S
    assert 0 < outcome['peak_n'] < 25
    assert outcome['refused'] == 0
    for name, spec in teacher.contract.streams.items():
        expected = spec.rate_hz * outcome['simulated_s']
        assert outcome['streams'][name] == pytest.approx(expected, abs=3)
        sample = make_sample(teacher.contract, name, teacher.newest[name], teacher.clock_ns)
        assert abs(teacher.clock_ns - sample.stamp_ns) < spec.max_age_ns + 1e9 / spec.rate_hz
    pose = teacher.value('joints')
    np.testing.assert_allclose(pose[:2, 3], hole_m, atol=2e-3)
    assert pose[2, 3] < 0.062 - 0.008, 'the tip is 8 mm below the rim'
    assert teacher.value('main').shape == (224, 224, 3)
    assert teacher.value('gelsight_left').std() > 5
    assert teacher.value('gripper') == pytest.approx(0.011)


def test_the_expert_inserts_the_plug_while_nobody_commands(start_cell, teacher: Teacher) -> None:
    scene = draw_scene(SEED)
    cell = start_cell(expert=True)
    teacher.until(lambda: 'joints' in teacher.newest)
    assert not teacher.target.get_subscription_count(), 'nobody else is listened to'
    for simulated_s in (1, 2, 3, 4, 5):  # each has a deadline of its own
        teacher.until(lambda simulated_s=simulated_s: teacher.elapsed_s > simulated_s or not cell.alive)
    teacher.until(lambda: not cell.alive)
    assert cell.wait() == 0, cell.log
    outcome = cell.summary
    assert outcome['complete']
    assert outcome['touched_s'] < outcome['inserted_s'] < 20
    assert outcome['peak_n'] < 15
    assert teacher.forces_n[0] == 0, 'nothing is touched in the beginning'
    assert 3 < max(teacher.forces_n) <= outcome['peak_n'] + 1e-3, 'which is rounded'
    pose = teacher.value('joints')
    np.testing.assert_allclose(pose[:2, 3], np.add(scene.housing_m, scene.hole_m), atol=2e-3)


def test_a_policy_moves_the_simulated_arm(
    start_cell, start_node, teacher: Teacher, repository: Path, tiny_checkpoint: Path, compile_cache: Path
) -> None:
    """Its weights are random: what is tested is the loop."""
    shared = {'contract': repository / 'config' / 'contract.yaml', 'use_sim_time': True}
    policy = start_node(
        'policy_node', checkpoint=tiny_checkpoint, prompt='push', compile_cache=compile_cache, **shared
    )
    streamer = start_node('streamer_node', **SIM_ROBOT, **shared)
    start_m = np.array(draw_scene(SEED).start_m)
    cell = start_cell(
        cameras=True, contract=shared['contract'], wait_subscribers=2, seconds=60.0, end_when_inserted=False
    )
    teacher.until(lambda: 'joints' in teacher.newest)
    teacher.until(lambda: np.linalg.norm(teacher.value('joints')[:3, 3] - start_m) > 0.01)
    assert cell.end() == 0, cell.log
    assert policy.end() == 0, policy.log
    assert streamer.end() == 0, streamer.log
    assert policy.summary['chunks'] > 0
    assert streamer.summary['set_points'] > 10
    assert cell.summary['refused'] == 0


def test_commands_beyond_the_limits_are_refused_and_named(start_cell, teacher: Teacher) -> None:
    cell = start_cell()
    teacher.until(teacher.connected)
    start_m = teacher.value('joints')[:3, 3]
    for command in (
        lambda: teacher.command((0.5, 0.0, 2.0)),
        lambda: teacher.command(np.add(start_m, (0.1, 0.0, 0.0)), frame='world'),
        lambda: teacher.gripper.publish(Float64(data=0.5)),
    ):
        command()
        here_s = teacher.elapsed_s
        teacher.until(lambda here_s=here_s: teacher.elapsed_s > here_s + 1.2)
    cell.wait_for(r'refused by the controller: the target .* is outside the workspace')
    cell.wait_for(r"refused by the controller: a target in frame 'world', expected 'fr3_link0'")
    cell.wait_for(r'refused by the controller: the opening is 0\.5 m')
    np.testing.assert_allclose(teacher.value('joints')[:3, 3], start_m, atol=5e-4)
    cell.end()
    assert cell.summary['refused'] == 2


def test_the_robot_can_be_stopped_guided_pushed_and_begun_anew(start_cell, teacher: Teacher) -> None:
    cell = start_cell()
    teacher.until(lambda: teacher.connected() and teacher.modes)
    start_m = teacher.value('joints')[:3, 3]
    assert teacher.modes[-1] == 2
    teacher.switch('reflex', True)
    teacher.until(lambda: teacher.modes[-1] == 4)
    teacher.command(np.add(start_m, (0.0, 0.05, 0.0)))
    here_s = teacher.elapsed_s
    teacher.until(lambda: teacher.elapsed_s > here_s + 0.5)
    np.testing.assert_allclose(teacher.value('joints')[:3, 3], start_m, atol=1e-3)
    teacher.switch('guide', True)
    teacher.until(lambda: teacher.modes[-1] == 3)
    teacher.switch('push', True)
    teacher.until(lambda: abs(teacher.value('joints')[1, 3] - start_m[1]) > 0.02)
    teacher.switch('push', False)
    teacher.switch('guide', False)
    teacher.until(lambda: teacher.modes[-1] == 2)
    teacher.request('/sim_node/reset', Trigger)
    anew_m = np.array(draw_scene(SEED + 1).start_m)
    teacher.until(lambda: np.abs(teacher.value('joints')[:3, 3] - anew_m).max() < 1e-3)
    assert cell.end() == 0, cell.log
    assert cell.summary['seed'] == SEED + 1


def test_activated_again_it_begins_anew_at_once(start_cell, teacher: Teacher) -> None:
    cell = start_cell()
    teacher.until(lambda: teacher.connected() and teacher.elapsed_s > 1.5)
    teacher.command(teacher.value('joints')[:3, 3] + (0.0, 0.05, 0.0))
    here_s = teacher.elapsed_s
    teacher.until(lambda: teacher.elapsed_s > here_s + 0.5)
    for transition in (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_ACTIVATE):
        request = ChangeState.Request(transition=Transition(id=transition))
        assert teacher.request('/sim_node/change_state', ChangeState, request).success
    teacher.newest.clear()
    teacher.first_ns = teacher.clock_ns = 0
    teacher.until(teacher.connected)
    start_m = np.array(draw_scene(SEED).start_m)
    np.testing.assert_allclose(teacher.value('joints')[:3, 3], start_m, atol=1e-3)
    teacher.command(np.add(start_m, (0.0, 0.05, 0.0)))
    teacher.until(lambda: teacher.value('joints')[1, 3] > start_m[1] + 0.02)
    assert teacher.elapsed_s < 1.0, 'it does not stand still for as long as it had run'
    assert cell.end() == 0, cell.log
    assert cell.summary['seed'] == SEED


def test_the_reference_is_there_for_who_comes_late(start_cell, teacher: Teacher) -> None:
    start_cell()
    teacher.until(lambda: teacher.counts.get('gelsight_left', 0) > 3)
    spec = teacher.contract.streams['gelsight_left']
    kind = message_class(spec.type)
    teacher.node.create_subscription(
        kind, f'{spec.topic}/reference', teacher.references.append, LATCHED, raw=True
    )
    teacher.until(lambda: teacher.references)
    reference = decode_value(teacher.contract, 'gelsight_left', teacher.references[0]).astype(int)
    difference = np.abs(teacher.value('gelsight_left') - reference)
    assert 0.5 < difference.mean() < 3, 'noise, and no more'


def test_a_new_scenes_reference_has_the_time_of_the_cell(start_cell, teacher: Teacher) -> None:
    start_cell(rate=0.2)
    spec = teacher.contract.streams['gelsight_left']
    kind, topic = message_class(spec.type), f'{spec.topic}/reference'
    teacher.node.create_subscription(kind, topic, teacher.references.append, LATCHED, raw=True)
    teacher.until(lambda: teacher.references and teacher.elapsed_s > 0.5)
    teacher.request('/sim_node/reset', Trigger)
    teacher.until(lambda: len(teacher.references) == 2)
    stamp_ns = read_stamp_ns(teacher.references[1])
    assert abs(stamp_ns - teacher.clock_ns) < 0.5e9, 'the system has gone on five times as far'


def test_a_fault_of_a_driver_can_begin_and_end_at_run_time(start_cell, teacher: Teacher) -> None:
    from rcl_interfaces.srv import SetParameters
    from rclpy.parameter import Parameter

    cell = start_cell(stream_fault='missing', fault_streams=['gripper'])
    teacher.until(lambda: teacher.elapsed_s > 0.5)
    assert 'gripper' not in teacher.counts

    def set_fault(value: str):
        message = Parameter('stream_fault', value=value).to_parameter_msg()
        request = SetParameters.Request(parameters=[message])
        return teacher.request('/sim_node/set_parameters', SetParameters, request).results[0]

    refused = set_fault('missin')
    assert not refused.successful
    assert "did you mean 'missing'" in refused.reason
    assert set_fault('').successful
    teacher.until(lambda: teacher.counts.get('gripper', 0) > 2)
    assert cell.end() == 0, cell.log


@pytest.mark.parametrize(
    ('arguments', 'parameters', 'said'),
    [
        (('-p', 'use_sim_time:=true'), {}, '/clock cannot wait for it'),
        ((), {'fault_streams': ['grippr']}, "no stream 'grippr'; did you mean 'gripper'"),
        ((), {'rate': 0.0}, "parameter 'rate' is 0.0"),
    ],
)
def test_what_cannot_be_simulated_is_refused(
    start_cell, arguments: tuple, parameters: dict, said: str
) -> None:
    cell = start_cell(*arguments, **parameters)
    assert cell.wait() == 1
    assert said in cell.log
    assert cell.log.count('[ERROR]') == 1


def test_a_machine_without_opengl_or_display_says_what_is_missing(
    start_cell, monkeypatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(os.environ, '__EGL_VENDOR_LIBRARY_DIRS', str(tmp_path))
    for display in ('DISPLAY', 'WAYLAND_DISPLAY'):
        monkeypatch.delenv(display, raising=False)
    cell = start_cell(cameras=True)
    assert cell.wait() == 1
    assert 'apt-get install libegl1' in cell.log
    without = start_cell(seconds=0.05, window=True)
    assert without.wait() == 0, 'without cameras it runs'
    assert 'no window: there is no display here' in without.log

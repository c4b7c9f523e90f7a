"""streamer_node as a process, with a compliant virtual arm: whatever happens, set-points keep the limits.

Nothing here waits for a fixed time: the rig feeds until what is expected has come, or a generous deadline
passed.
"""

import itertools
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from node_process import NodeProcess

pytest.importorskip('rclpy')
pytest.importorskip('restac_ros.msg', reason='the messages are not built: `make build`')

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped
from rclpy.qos import QoSProfile
from rclpy.time import Time
from restac_ros.msg import ActionChunk
from rosgraph_msgs.msg import Clock
from std_msgs.msg import Bool, Float32, UInt8
from std_srvs.srv import Trigger

from restac_ros.contract.load import load_contract
from restac_ros.control.chunk_reading import stamp_as_ns
from restac_ros.control.limits import MotionLimits
from restac_ros.framing.stamp import with_stamp
from restac_ros.geometry import quaternion as quat
from restac_ros.geometry.rotation import rotation_from_matrix
from restac_ros.nodes.drill.drill_record import ReceivedSetPoint, last_motion_ns, stalls_ns
from restac_ros.nodes.drill.drill_stage import pose_of, set_point_of
from restac_ros.nodes.drill.stage_arm import StageArm
from restac_ros.nodes.subscriptions import message_class
from ros_rig import RosRig

HORIZON, STEP_NS = 16, 66_666_666
BACKLOG = 10


class Rig(RosRig):
    """Policy and robot in one: sends chunks from where the tool is, and the tool is where it was sent."""

    def __init__(self, contract_file: Path, domain: int) -> None:
        super().__init__('rig', domain)
        self.contract = load_contract(contract_file)
        self.limits = MotionLimits.from_contract(self.contract)
        self.arm = StageArm(self.contract, self.system_ns)
        self.measured = {
            name: self.node.create_publisher(message_class(spec.type), spec.topic, 10)
            for name, spec in self.contract.streams.items()
            if spec.role in ('arm_joints', 'gripper')
        }
        self.silent: set[str] = set()  # of the measured streams
        self.apart_m: list[float] = []  # how far the arm was from each set-point on its receipt
        self.notes = ''
        self.chunks = self.node.create_publisher(ActionChunk, '/policy_node/action_chunk', 2)
        self.deadman = self.node.create_publisher(Bool, '/deadman', 1)
        self.mode = self.node.create_publisher(UInt8, '/robot_mode', 1)
        self.node.create_subscription(PoseStamped, '/target_pose', self._follow, QoSProfile(depth=100))
        self.node.create_subscription(Float32, '/gripper/command', self._close, 10)
        self.node.create_subscription(DiagnosticArray, '/diagnostics', self._diagnose, 10)
        self.set_points: list[tuple[int, np.ndarray, np.ndarray]] = []
        self.openings: list[float] = []
        self.status = ''
        self.values: dict[str, str] = {}
        self.velocity = np.array([0.05, 0.0, 0.0])
        self.sending, self.pressed, self.robot_mode = True, True, 2
        self.change: Callable[[ActionChunk], None] = lambda message: None
        self.clock = self.node.create_publisher(Clock, '/clock', 10)
        self.clock_ahead_ns: int | None = None  # of a simulated clock; None for the system's
        self._next_ns, self._id = 0, 0

    @property
    def position(self) -> np.ndarray:
        """Where the arm is."""
        return self.arm.pose().position_m

    def set_mode(self, mode: int) -> None:
        """The robot changes its mode, and publishes it."""
        self.arm.set_mode(mode)
        self.robot_mode = mode
        self.mode.publish(UInt8(data=mode))

    def now_ns(self) -> int:
        """By the clock that the streamer has."""
        return self.system_ns() + (self.clock_ahead_ns or 0)

    def act(self) -> None:
        """Be policy and robot, at the policy's period."""
        for _ in range(BACKLOG):  # a robot acts on a set-point when it comes, however busy the machine is
            self.executor.spin_once(timeout_sec=0)
        if self.clock_ahead_ns is not None:
            self.clock.publish(Clock(clock=Time(nanoseconds=self.now_ns()).to_msg()))
        for name, publisher in self.measured.items():
            if name not in self.silent:
                publisher.publish(with_stamp(self.arm.cdr(name), self.now_ns()))
        if self.system_ns() >= self._next_ns:
            self._next_ns = self.system_ns() + STEP_NS
            self.deadman.publish(Bool(data=self.pressed))
            self.mode.publish(UInt8(data=self.robot_mode))
            if self.sending:
                self.send()

    def seen(self) -> str:
        return self.status

    def until_moved(self, metres: float = 0.01) -> None:
        start = self.position.copy()
        self.until(lambda: np.linalg.norm(self.position - start) > metres)

    def until_held(self, since_ns: int) -> None:
        """Until the set-points stand still: the stop time after `since_ns`, and what stalls add."""

        def points() -> list[ReceivedSetPoint]:
            return [ReceivedSetPoint(*point) for point in self.set_points if point[0] >= since_ns]

        def still_ns() -> int:
            return last_motion_ns(points()) or since_ns

        self.until(lambda: self.set_points and self.set_points[-1][0] > still_ns() + 200_000_000)
        moving = [point for point in points() if point.stamp_ns <= still_ns()]
        stalled_ns = stalls_ns(moving, 10_000_000)
        assert still_ns() - since_ns <= self.limits.stop_ns + 50_000_000 + stalled_ns

    def call(self, service: str) -> Trigger.Response:
        return self.request(f'/streamer_node/{service}', Trigger)

    def send(self) -> None:
        """One chunk, observed now."""
        message = ActionChunk(chunk_id=self._id, step_ns=STEP_NS, horizon=HORIZON)
        now_ns = self.now_ns()
        message.header.stamp = Time(nanoseconds=now_ns).to_msg()
        message.header.frame_id = 'fr3_link0'
        message.valid_until = Time(nanoseconds=now_ns + 500_000_000).to_msg()
        position, orientation = message.anchor_pose.position, message.anchor_pose.orientation
        pose = self.arm.pose()
        position.x, position.y, position.z = pose.position_m.tolist()
        orientation.x, orientation.y, orientation.z, orientation.w = pose.quaternion_xyzw.tolist()
        rotation = rotation_from_matrix('rpy', quat.to_matrix(pose.quaternion_xyzw), np.array([np.pi, 0, 0]))
        message.anchor_state = [*pose.position_m.tolist(), *rotation.tolist()]
        message.anchor_gripper = 0.08
        message.rotation_convention, message.delta_composition = 'rpy', 'elementwise'
        delta = np.zeros((HORIZON, 6))
        delta[:, :3] = self.velocity * np.arange(1, HORIZON + 1)[:, None] * STEP_NS * 1e-9
        message.delta_pose = delta.ravel().tolist()
        message.gripper = np.linspace(0.075, 0.0, HORIZON).tolist()
        self.change(message)
        self.chunks.publish(message)
        self._id += 1

    def check_set_points(self) -> None:
        """In the workspace; no step beyond the speed limits over its own time."""
        limits = self.limits
        positions = np.array([position for _, position, _ in self.set_points])
        assert len(positions) > 3
        assert np.isfinite(positions).all()
        assert np.all((positions >= limits.workspace_min_m) & (positions <= limits.workspace_max_m))
        pairs = itertools.pairwise(self.set_points)
        for ((t0, p0, q0), (t1, p1, q1)), apart_m in zip(pairs, self.apart_m[1:], strict=True):
            gap_s = max(t1 - t0, 0) * 1e-9
            if gap_s > 0.06 and apart_m < 0.01:
                continue  # a start where the arm is
            far, turned = np.linalg.norm(p1 - p0), np.linalg.norm(quat.difference(q1, q0))
            assert far <= limits.speed_m_s * gap_s + 1e-9
            assert turned <= limits.speed_rad_s * gap_s + 1e-6

    def _follow(self, message: PoseStamped) -> None:
        if message.header.frame_id == 'rival':
            return
        point = set_point_of(message, self.arm.follow(pose_of(message), stamp_as_ns(message.header.stamp)))
        self.set_points.append((point.stamp_ns, point.position_m, point.quaternion_xyzw))
        self.apart_m.append(point.apart_m)

    def _close(self, message: Float32) -> None:
        self.openings.append(message.data)

    def _diagnose(self, array: DiagnosticArray) -> None:
        for status in array.status:
            if status.name == 'streamer_node: streaming':
                self.status = status.message
                self.values = {pair.key: pair.value for pair in status.values}
            elif status.name == 'streamer_node: notes':
                self.notes = status.message


@pytest.fixture
def start(start_node: Callable[..., NodeProcess]) -> Callable[..., NodeProcess]:
    return partial(start_node, 'streamer_node')


@pytest.fixture
def rig(repository: Path, ros_domain: int) -> Iterator[Rig]:
    rig = Rig(repository / 'config' / 'contract.yaml', ros_domain)
    yield rig
    rig.close()


def test_moves_holds_at_the_end_of_chunks_and_goes_on(start: Callable, rig: Rig) -> None:
    streamer = start(gripper_type='std_msgs/msg/Float32', gripper_scale=0.5)
    rig.until_moved(0.02)
    assert rig.set_points[0][1] == pytest.approx([0.5, 0.0, 0.4], abs=1e-3)
    rig.sending = False
    rig.until(lambda: 'chunk exhausted' in rig.values.get('last_stop', ''))
    rig.until(lambda: rig.status == 'holding: no chunk: waiting for one')
    rig.until_held(rig.now_ns())
    rig.sending = True
    rig.until_moved()
    rig.check_set_points()
    assert rig.openings
    assert all(0 <= opening <= 0.04 for opening in rig.openings)

    assert streamer.end() == 0
    for _ in range(200):  # what is still on its way
        rig.executor.spin_once(timeout_sec=0.001)
    np.testing.assert_allclose(rig.set_points[-1][1], rig.set_points[-2][1], atol=5e-5)
    counted = streamer.summary
    assert counted['accepted'] > 5
    assert counted['faulty'] == 0
    assert counted['set_points'] >= len(rig.set_points)
    assert counted['latency_ms']['jitter']['count'] > 0


def test_halt_ramps_in_the_stated_time_and_resume_goes_on(start: Callable, rig: Rig) -> None:
    start()
    rig.until_moved()
    assert 'nothing to resume: the streamer is moving' in rig.call('resume').message
    answer = rig.call('halt')
    asked_ns = rig.now_ns()
    assert answer.success
    assert answer.message == 'halting, within 140 ms'
    rig.until_held(asked_ns)
    rig.until(lambda: rig.status.startswith('halted: halt requested: on request'))
    assert rig.call('resume').success
    rig.until_moved()
    rig.check_set_points()


def test_a_chunk_with_nan_halts(start: Callable, rig: Rig) -> None:
    streamer = start()
    rig.until_moved()
    rig.change = lambda message: message.delta_pose.__setitem__(5, float('nan'))
    rig.send()
    rig.change = lambda message: None
    rig.until(lambda: rig.status.startswith('halted'))
    assert 'faulty chunk: chunk ' in rig.status
    assert 'delta_pose[5] is nan' in rig.status
    rig.until_held(rig.now_ns())
    assert rig.call('resume').success
    rig.until_moved()
    rig.check_set_points()
    streamer.end(signal.SIGTERM)
    assert streamer.log.count('halted: faulty chunk') == 1
    assert 'call /streamer_node/resume' in streamer.log


@pytest.mark.parametrize(
    ('field', 'value', 'words'),
    [
        ('rotation_convention', 'rotvec', "convention is 'rotvec', the contract says 'rpy'"),
        ('horizon', 15, 'delta_pose has 96 numbers, expected 90'),
        ('delta_composition', 'so3', "the contract says 'elementwise'"),
    ],
)
def test_chunks_that_contradict_halt(
    start: Callable, rig: Rig, field: str, value: object, words: str
) -> None:
    start()
    rig.until_moved()
    rig.change = lambda message: setattr(message, field, value)
    rig.until(lambda: rig.status.startswith('halted') and words in rig.status)
    rig.check_set_points()


def test_old_and_future_chunks_are_left_alone(start: Callable, rig: Rig) -> None:
    start()
    rig.until_moved()
    for shift_ns in (-900_000_000, 900_000_000):

        def shift(message: ActionChunk, shift_ns: int = shift_ns) -> None:
            stamp_ns = rig.now_ns() + shift_ns
            message.header.stamp = Time(nanoseconds=stamp_ns).to_msg()
            message.valid_until = Time(nanoseconds=stamp_ns + 500_000_000).to_msg()

        refused = int(rig.values.get('refused', '0'))
        rig.change = shift
        rig.until(lambda refused=refused: int(rig.values.get('refused', '0')) > refused + 2)
        rig.change = lambda message: None
        rig.until_moved()
    rig.check_set_points()


def test_a_second_publisher_halts_and_is_named_and_once_silent_it_only_warns(
    start: Callable, rig: Rig
) -> None:
    process = start()
    rig.until_moved()
    rival = rig.node.create_publisher(PoseStamped, '/target_pose', 1)
    rig.until(  # who has sent nothing is a warning
        lambda: (
            'other publishers' not in rig.notes and 'rig may publish' in rig.notes and rig.status == 'moving'
        )
    )
    foreign = PoseStamped()
    foreign.header.frame_id = 'rival'
    rival.publish(foreign)
    rig.until(lambda: rig.status == 'halted: second publisher: set-points come from /rig, too; stop it')
    rival.publish(foreign)
    rig.until(lambda: rig.call('resume').success)  # though it is still in the graph, as a ghost may be
    rig.until_moved()
    rig.check_set_points()
    assert process.end(signal.SIGTERM) == 0
    said = process.log
    assert '/rig may publish /target_pose, too, but has sent nothing for 1 s' in said
    assert 'right again' not in said.split('halted')[1].split('moving')[0]


def test_what_delays_the_start_stands_on_the_console(start: Callable, rig: Rig) -> None:
    process = start()
    rival = rig.node.create_publisher(PoseStamped, '/target_pose', 1)
    foreign = PoseStamped()
    foreign.header.frame_id = 'rival'
    rig.sending = False
    rig.until(lambda: 'rig may publish' in rig.notes)

    def refused() -> bool:
        rival.publish(foreign)
        return rig.status.startswith('idle') and 'second publisher' in rig.status

    rig.until(refused)
    rig.sending = True
    assert rig.set_points == []
    rig.node.destroy_publisher(rival)
    rig.until_moved()
    assert process.end(signal.SIGTERM) == 0
    assert 'not moving: second publisher: set-points come from /rig, too; stop it' in process.log


def test_deadman(start: Callable, rig: Rig) -> None:
    start(deadman_topic='/deadman', deadman_max_age_ms=1000.0)
    rig.pressed = False
    rig.until(lambda: 'deadman released: not pressed' in rig.status)
    assert rig.set_points == []
    rig.pressed = True
    rig.until_moved()
    rig.pressed = False
    rig.until(lambda: rig.status.startswith('holding: deadman released: not pressed'))
    rig.until_held(rig.now_ns())
    rig.pressed = True
    rig.until_moved()
    rig.check_set_points()


WATCHED = {
    'robot_state_topic': '/robot_mode',
    'robot_state_type': 'std_msgs/msg/UInt8',
    'robot_mode_field': 'data',
    'robot_state_max_age_ms': 5000.0,
}


def test_before_the_first_motion_the_robots_mode_only_delays(start: Callable, rig: Rig) -> None:
    start(**WATCHED)
    rig.set_mode(1)
    rig.until(lambda: 'robot mode: idle, expected move' in rig.status)
    assert rig.status.startswith('idle')
    assert rig.set_points == []
    rig.set_mode(2)
    rig.until_moved()
    rig.check_set_points()


def test_an_arm_guided_by_hand_is_never_led_back(start: Callable, rig: Rig) -> None:
    """Guided by 9 cm, back in mode move, resumed: nothing is published before, and then from where it is."""
    process = start(**WATCHED)
    rig.until_moved()
    rig.set_mode(3)
    rig.until(lambda: rig.status.startswith('halted: robot mode: guiding, expected move'))
    halted_ns, start_m = rig.now_ns(), rig.position

    def later() -> list[int]:
        return [index for index, point in enumerate(rig.set_points) if point[0] > halted_ns]

    rig.arm.push(20.0)
    rig.until(lambda: np.linalg.norm(rig.position - start_m) > 0.09)
    rig.arm.push(0.0)
    rig.set_mode(2)
    still_ns = rig.now_ns() + 1_500_000_000  # longer than 'right again' takes
    rig.until(lambda: rig.now_ns() > still_ns)
    assert later() == [], 'silent until resumed'
    assert 'right again' not in process.log.split('halted')[1]
    rig.until(lambda: rig.call('resume').success)
    rig.until(later)
    assert rig.apart_m[later()[0]] < 0.01
    rig.until_moved()
    rig.check_set_points()
    assert process.end(signal.SIGTERM) == 0


def test_without_a_measured_pose_nothing_moves(start: Callable, rig: Rig) -> None:
    start()
    rig.silent = {'joints', 'gripper'}
    rig.until(lambda: 'the measured pose is unknown' in rig.status)
    rig.silent = {'gripper'}
    rig.until(lambda: 'the measured opening of the gripper is unknown' in rig.status)
    assert rig.set_points == []
    rig.silent = set()
    rig.until_moved()


SLOW_SUBSCRIBER = """
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped
rclpy.init()
node = rclpy.create_node('slow')
node.create_subscription(PoseStamped, '/target_pose', lambda _: print('received', flush=True), 1)
node.create_subscription(DiagnosticArray, '/diagnostics', lambda _: None, 10)
rclpy.spin(node)
"""


@pytest.fixture
def stopped_subscriber(ros_domain: int, rig: Rig) -> Iterator[Callable[[], None]]:
    """Subscribes reliably to what the streamer publishes, and stops reading after the first message."""
    env = {**os.environ, 'ROS_DOMAIN_ID': str(ros_domain)}
    process = subprocess.Popen([sys.executable, '-c', SLOW_SUBSCRIBER], env=env, stdout=subprocess.PIPE)

    def stop() -> None:
        rig.until(lambda: select.select([process.stdout], [], [], 0)[0])
        process.send_signal(signal.SIGSTOP)

    yield stop
    process.kill()
    process.wait()


def test_a_console_and_a_subscriber_that_do_not_read_stop_no_set_point(
    start: Callable, rig: Rig, blocked_console: int, stopped_subscriber: Callable[[], None]
) -> None:
    """stderr is a full pipe, a subscriber has stopped: a halt, which is logged, ramps down all the same."""
    process = start(console=blocked_console)
    stopped_subscriber()
    rig.until_moved()
    assert rig.call('halt').success
    asked_ns = rig.now_ns()
    rig.until_held(asked_ns)
    rig.until(lambda: rig.status.startswith('halted: halt requested'))
    rig.until(lambda: rig.call('resume').success)
    rig.until_moved()
    rig.check_set_points()
    assert process.end(signal.SIGTERM) == 0


@pytest.mark.parametrize(('jump_s', 'words'), [(-100, 'clock jump'), (100, 'chunk exhausted')])
def test_clock_jumps(start: Callable, rig: Rig, jump_s: int, words: str) -> None:
    start(use_sim_time=True)
    rig.clock_ahead_ns = 0
    rig.until_moved()
    rig.sending = False
    rig.clock_ahead_ns = jump_s * 10**9
    rig.until(lambda: rig.status.startswith('holding') and words in rig.values['last_stop'])
    rig.until_held(rig.now_ns())
    rig.sending = True
    rig.until_moved()
    rig.check_set_points()


def test_killed_and_started_again_it_goes_on_from_the_tool(start: Callable, rig: Rig) -> None:
    streamer = start()
    rig.until_moved(0.02)
    streamer.end(signal.SIGKILL)
    last, count = rig.position.copy(), len(rig.set_points)
    start()
    rig.until(lambda: len(rig.set_points) > count + 5)
    assert np.linalg.norm(rig.set_points[count][1] - last) < 0.01
    rig.until_moved()
    rig.check_set_points()


def test_targets_outside_the_workspace_are_not_sent(start: Callable, rig: Rig) -> None:
    start()
    rig.velocity = np.array([0.0, 0.0, -2.0])
    rig.until(lambda: rig.set_points and rig.set_points[-1][1][2] <= 0.0)
    rig.until(lambda: int(rig.values.get('clipped', '0')) > 10)
    rig.check_set_points()


@pytest.mark.parametrize(
    ('parameters', 'words'),
    [
        ({'jerk_rad_s3': 0.3}, 'lower speed_rad_s or raise them'),
        ({'rate_hz': 5.0}, "'rate_hz' is 5.0"),
        ({'rate': 50.0}, 'did you mean'),
        ({'continuity': 'newest'}, "'continuity' is 'newest'"),
        ({'gripper_type': 'franka_msgs/action/Mov'}, 'expected one of std_msgs/msg'),
        ({'robot_state_topic': '/s', 'robot_state_type': 'nowhere_msgs/msg/S'}, 'ros-jazzy-nowhere-msgs'),
        ({'robot_state_topic': '/s', 'robot_state_type': 'std_msgs/msg/UInt8'}, 'msg/UInt8 has data'),
    ],
)  # fmt: skip
def test_contradictory_parameters_are_refused(parameters: dict, words: str, start: Callable) -> None:
    streamer = start(exit_on_refusal=True, **parameters)
    assert streamer.wait() == 1
    assert 'cannot configure' in streamer.log
    assert words in streamer.log


def test_a_gripper_that_nothing_moves_is_warned_of(start: Callable) -> None:
    streamer = start()
    streamer.wait_for('the gripper will not move: .* gripper_type is empty')
    streamer.end()


def test_the_chunks_of_a_forgotten_policy_move_nothing(start: Callable, rig: Rig) -> None:
    streamer = start(run_id='ours')
    rig.change = lambda message: setattr(message.run, 'run_id', 'forgotten')
    rig.until(lambda: int(rig.values.get('foreign', 0)) >= 3)
    assert rig.set_points == []
    rig.change = lambda message: setattr(message.run, 'run_id', 'ours')
    rig.until_moved()
    streamer.end()
    assert 'chunks of run forgotten' in streamer.log
    assert 'belongs to run ours' in streamer.log
    assert streamer.summary['foreign'] >= 3


def test_started_by_hand_it_halts_when_two_policies_publish_and_names_both(start: Callable, rig: Rig) -> None:
    streamer = start()
    rig.change = lambda message: setattr(message.run, 'run_id', 'first')
    rig.until_moved()
    runs = itertools.cycle(('first', 'second'))
    rig.change = lambda message: setattr(message.run, 'run_id', next(runs))
    rig.until(lambda: rig.status.startswith('halted: second policy'))
    halted_ns = rig.now_ns()
    rig.until_held(halted_ns)
    rig.check_set_points()
    rig.change = lambda message: setattr(message.run, 'run_id', 'second')
    rig.until(lambda: rig.values['run_id'] == 'second')
    rig.until(lambda: rig.call('resume').success)
    rig.until_moved()
    streamer.end()
    assert 'run first' in streamer.log
    assert 'run second' in streamer.log

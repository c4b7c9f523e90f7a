"""streamer_node as a process, with a robot that follows perfectly: whatever happens, set-points keep the
limits.

Nothing here waits for a fixed time: the rig feeds until what is expected has come, or a generous deadline
passed.
"""

import itertools
import signal
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
from restac_ros.control.limits import MotionLimits
from restac_ros.geometry import quaternion as quat
from ros_rig import RosRig

ROTATION = (3.1, 0.0, -0.4)
HORIZON, STEP_NS = 16, 66_666_666


class Rig(RosRig):
    """Policy and robot in one: sends chunks from where the tool is, and the tool is where it was sent."""

    def __init__(self, contract_file: Path, domain: int) -> None:
        super().__init__('rig', domain)
        self.limits = MotionLimits.from_contract(load_contract(contract_file))
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
        self.position = np.array([0.5, 0.0, 0.3])
        self.velocity = np.array([0.05, 0.0, 0.0])
        self.sending, self.pressed, self.robot_mode = True, True, 2
        self.change: Callable[[ActionChunk], None] = lambda message: None
        self.clock = self.node.create_publisher(Clock, '/clock', 10)
        self.clock_ahead_ns: int | None = None  # of a simulated clock; None for the system's
        self._next_ns, self._id = 0, 0

    def now_ns(self) -> int:
        """By the clock that the streamer has."""
        return self.system_ns() + (self.clock_ahead_ns or 0)

    def act(self) -> None:
        """Be policy and robot, at the policy's period."""
        if self.clock_ahead_ns is not None:
            self.clock.publish(Clock(clock=Time(nanoseconds=self.now_ns()).to_msg()))
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
        """Two set-points more than the stop time after `since_ns`, which have to be the same."""
        still_ns = since_ns + self.limits.stop_ns + 50_000_000
        self.until(lambda: len(self.set_points) > 1 and self.set_points[-2][0] > still_ns)
        np.testing.assert_allclose(self.set_points[-1][1], self.set_points[-2][1], atol=1e-9)

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
        position.x, position.y, position.z = self.position.tolist()
        orientation.x, orientation.y, orientation.z, orientation.w = quat.from_rpy(ROTATION).tolist()
        message.anchor_state = [*self.position.tolist(), *ROTATION]
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
        """In the workspace; no step beyond the step limit, nor beyond the speed limit over its own time."""
        limits = self.limits
        positions = np.array([position for _, position, _ in self.set_points])
        assert len(positions) > 10
        assert np.isfinite(positions).all()
        assert np.all((positions >= limits.workspace_min_m) & (positions <= limits.workspace_max_m))
        for (t0, p0, q0), (t1, p1, q1) in itertools.pairwise(self.set_points):
            gap_s = max(t1 - t0, 0) * 1e-9
            far, turned = np.linalg.norm(p1 - p0), np.linalg.norm(quat.difference(q1, q0))
            assert far <= min(limits.step_m, limits.speed_m_s * gap_s) + 1e-9
            assert turned <= min(limits.step_rad, limits.speed_rad_s * gap_s) + 1e-6

    def _follow(self, message: PoseStamped) -> None:
        p, q = message.pose.position, message.pose.orientation
        self.position = np.array([p.x, p.y, p.z])
        stamp_ns = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        self.set_points.append((stamp_ns, self.position, np.array([q.x, q.y, q.z, q.w])))

    def _close(self, message: Float32) -> None:
        self.openings.append(message.data)

    def _diagnose(self, array: DiagnosticArray) -> None:
        for status in array.status:
            if status.name == 'streamer_node: streaming':
                self.status = status.message
                self.values = {pair.key: pair.value for pair in status.values}


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
    assert rig.set_points[0][1] == pytest.approx([0.5, 0.0, 0.3], abs=1e-3)
    rig.sending = False
    rig.until(lambda: 'chunk exhausted' in rig.values.get('last_stop', ''))
    rig.until(lambda: rig.status == 'holding: no chunk: waiting for one')
    rig.until_held(rig.set_points[-1][0])
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
    sent_ns = rig.now_ns()
    rig.change = lambda message: None
    rig.until(lambda: rig.status.startswith('halted'))
    assert 'faulty chunk: chunk ' in rig.status
    assert 'delta_pose[5] is nan' in rig.status
    rig.until_held(max(sent_ns, rig.set_points[-1][0]))
    assert rig.call('resume').success
    rig.until_moved()
    rig.check_set_points()
    streamer.end(signal.SIGTERM)
    assert streamer.log.count('halted: faulty chunk') == 1
    assert 'call /streamer_node/resume' in streamer.log


@pytest.mark.parametrize(
    ('field', 'value', 'words'),
    [
        ('rotation_convention', 'rotvec', 'anchor_state'),
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


def test_second_publisher_halts_and_is_named(start: Callable, rig: Rig) -> None:
    start()
    rig.until_moved()
    rival = rig.node.create_publisher(PoseStamped, '/target_pose', 1)
    rig.until(lambda: rig.status == 'halted: second publisher: set-points come from /rig, too; stop it')
    rig.until_held(rig.set_points[-1][0])
    assert 'still wrong: second publisher' in rig.call('resume').message
    rig.node.destroy_publisher(rival)
    rig.until(lambda: rig.call('resume').success)
    rig.until_moved()
    rig.check_set_points()


def test_deadman(start: Callable, rig: Rig) -> None:
    start(deadman_topic='/deadman', deadman_max_age_ms=1000.0)
    rig.pressed = False
    rig.until(lambda: 'deadman released: not pressed' in rig.status)
    assert rig.set_points == []
    rig.pressed = True
    rig.until_moved()
    rig.pressed = False
    rig.until(lambda: rig.status.startswith('holding: deadman released'))
    rig.until_held(rig.set_points[-1][0])
    rig.pressed = True
    rig.until_moved()
    rig.check_set_points()


def test_robot_mode(start: Callable, rig: Rig) -> None:
    start(
        robot_state_topic='/robot_mode',
        robot_state_type='std_msgs/msg/UInt8',
        robot_mode_field='data',
        robot_state_max_age_ms=5000.0,
    )
    rig.robot_mode = 1
    rig.until(lambda: 'robot mode: idle, expected move' in rig.status)
    assert rig.status.startswith('idle'), 'before the first motion it only delays'
    rig.robot_mode = 2
    rig.until_moved()
    rig.robot_mode = 4
    rig.until(lambda: rig.status.startswith('halted: robot mode: reflex, expected move'))
    rig.robot_mode = 2
    rig.until(lambda: rig.call('resume').success)
    rig.until_moved()
    rig.check_set_points()


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
    rig.until(lambda: rig.position[2] <= 0.0)
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

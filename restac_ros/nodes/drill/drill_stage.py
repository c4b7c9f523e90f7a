"""The processes, publishers and services that the cases of a drill act on."""

import copy
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import PoseStamped
from rclpy.publisher import Publisher
from std_msgs.msg import Bool, UInt8
from std_srvs.srv import Trigger

from restac_ros.control.chunk_reading import stamp_as_ns
from restac_ros.control.supervisor import ROBOT_MODE_MOVE
from restac_ros.geometry.pose import Offset, Pose
from restac_ros.msg import ActionChunk
from restac_ros.nodes.drill.drill_record import DrillRecord, ReceivedSetPoint, StatusText
from restac_ros.nodes.drill.stage_arm import StageArm
from restac_ros.nodes.fields import stamp
from restac_ros.nodes.lifecycle import ManagedNode
from restac_ros.nodes.streamer.active_streamer import CHUNK_QOS, TARGET_QOS
from restac_ros.process import Process, command
from restac_ros.sim.stream_faults import StreamFaults
from restac_ros.sim.virtual_arm import ROBOT_MODE_GUIDING

CHUNK_TOPIC = '/policy_node/action_chunk'
TARGET_TOPIC = '/drill_node/target_pose'  # no controller listens there
DEADMAN_TOPIC = '/drill_node/deadman'
MODE_TOPIC = '/drill_node/robot_mode'
REPEAT_S = 0.05
_POLL_S = 0.02
RIVAL_FRAME = 'rival'  # by which the drill's arm separates the rival's set-points from the streamer's
RIVAL_SET_POINTS = 20
GUIDE_N = 20.0  # of a hand in guiding mode: 0.2 m/s
RESTING_S = 0.3
_RESTS_M = 0.001  # farthest that an arm at rest goes in that time
DEADLINE_S = 120.0  # a policy that was killed has to load again, on a busy machine
STOP_PATIENCE_S = 20.0


class LateError(Exception):
    """A condition was not met in time; the text names it."""


class Stage:
    """Processes by name, the robot's switches, and everything that is received; used by one thread.

    `pressed` and the robot's mode are published periodically. `chunk` is the policy's newest.
    """

    def __init__(
        self,
        node: ManagedNode,
        processes: Mapping[str, Process],
        directory: Path,
        faults: StreamFaults,
        arm: StageArm,
    ) -> None:
        self.node = node
        self.record = DrillRecord()
        self.faults = faults
        self.arm = arm
        self.pressed = True
        self._robot_mode = ROBOT_MODE_MOVE
        self.chunk: ActionChunk | None = None
        self.stopping = threading.Event()
        self._processes = dict(processes)
        self._directory = directory
        self._running: dict[str, subprocess.Popen] = {}
        self._starts = 0
        self._rivals: list[Publisher] = []
        self._rival_left = 0  # set-points that the rival still sends
        self._rival_ends = False
        self._chunks = node.create_publisher(ActionChunk, CHUNK_TOPIC, CHUNK_QOS)
        self._deadman = node.create_publisher(Bool, DEADMAN_TOPIC, 1)
        self._mode = node.create_publisher(UInt8, MODE_TOPIC, 1)
        self._services = {
            name: node.create_client(Trigger, f'/streamer_node/{name}') for name in ('halt', 'resume')
        }
        node.create_timer(REPEAT_S, self._repeat, clock=node.steady_clock)

    def now_ns(self) -> int:
        """Time by the clock of all stamps."""
        return self.node.now_ns()

    def until(self, condition: Callable[[], object], what: str, deadline_s: float = DEADLINE_S) -> None:
        """Poll a condition, described by `what`, until it holds.

        Raises:
            LateError: it does not within `deadline_s`, a process has ended by itself, or the drill stops.
        """
        end_s = time.monotonic() + deadline_s
        while not condition():
            if refused := [name for name, child in self._running.items() if child.poll() == 1]:
                raise LateError(f'{", ".join(refused)} ended by itself; its messages say why')
            if time.monotonic() > end_s or self.stopping.wait(_POLL_S):
                raise LateError(f'not within {deadline_s:g} s: {what}; streamer: {self.streamer_status}')

    @property
    def streamer_status(self) -> str:
        """Text of the streamer's newest status."""
        return self.record.newest('streamer_node: streaming')

    @property
    def newest_chunk_ns(self) -> int:
        """Observation time of the policy's newest chunk, ns."""
        return stamp_as_ns(self.policys_chunk.header.stamp)

    @property
    def policys_chunk(self) -> ActionChunk:
        """The policy's newest chunk; raises LateError before the first."""
        if self.chunk is None:
            raise LateError('the policy has not published a chunk yet')
        return self.chunk

    def start(self, name: str) -> None:
        """Start a process; its output goes to a file."""
        self._starts += 1
        with (self._directory / f'{self._starts:02}_{name}.txt').open('wb') as log:
            self._running[name] = subprocess.Popen(
                command(self._processes[name]),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill(self, name: str) -> None:
        """kill -9."""
        self._running[name].kill()
        self._running[name].wait()

    def stop(self) -> None:
        """Stop all processes, the session log last, so that it receives the others' last messages."""
        for name in sorted(self._running, key=lambda name: name == 'session_log_node'):
            child = self._running[name]
            if child.poll() is None:
                os.kill(child.pid, signal.SIGINT)
            try:
                child.wait(STOP_PATIENCE_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    def call(self, service: str) -> bool:
        """Call the streamer's ~/halt or ~/resume; return False when it is refused or not there."""
        client = self._services[service]
        if not client.service_is_ready():
            return False
        future = client.call_async(Trigger.Request())
        self.until(future.done, f'{service} is answered')
        return future.result().success

    def send_chunk(self, change: Callable[['Stage', ActionChunk], None]) -> None:
        """Publish the policy's newest chunk with a new stamp and a change."""
        chunk = copy.deepcopy(self.policys_chunk)
        chunk.chunk_id += 1
        chunk.inference_ns = 0  # marks it as not the policy's
        restamp(chunk, self.now_ns())
        change(self, chunk)
        self._chunks.publish(chunk)

    def open_rival(self, sending: bool) -> None:
        """Open a second publisher of set-points, which publishes a few if `sending`."""
        self._rivals.append(self.node.create_publisher(PoseStamped, TARGET_TOPIC, TARGET_QOS))
        self._rival_left = RIVAL_SET_POINTS if sending else 0

    def close_rival(self) -> None:
        """Have the executor close the second publisher: it fails on one that another thread destroys."""
        self._rival_ends = True
        self.until(lambda: not self._rivals, 'the second publisher is closed')

    def set_mode(self, mode: int) -> None:
        """Change the robot's mode and publish it."""
        self.arm.set_mode(mode)
        self._robot_mode = mode
        self._mode.publish(UInt8(data=mode))

    def lead_home(self) -> None:
        """Put the arm where it started, while the streamer is halted as it is when a person leads the arm."""
        self.set_mode(ROBOT_MODE_GUIDING)
        self.until(lambda: self.streamer_status.startswith('halted'), 'the streamer halts for a guided arm')
        self.arm.home()
        self.let_go()

    def let_go(self) -> None:
        """Release a guided arm, wait until it stands and was measured there, and return it to mode move."""
        self.arm.push(0.0)
        self.until(self._rests, 'the arm that is let go stands')
        self.set_mode(ROBOT_MODE_MOVE)

    def _rests(self) -> bool:
        """Whether every pose that the streamer may start from is the present one."""
        before = self.arm.pose()
        self.pause(max(RESTING_S, self.arm.oldest_pose_s))
        return Offset.between(before, self.arm.pose()).distance_m < _RESTS_M

    def pause(self, seconds: float) -> None:
        """Wait by the clock of stamps."""
        end_ns = self.now_ns() + round(seconds * 1e9)
        self.until(lambda: self.now_ns() >= end_ns, f'{seconds:g} s have passed')

    def _repeat(self) -> None:
        self._deadman.publish(Bool(data=self.pressed))
        self._mode.publish(UInt8(data=self._robot_mode))
        while self._rival_ends and self._rivals:
            self.node.destroy_publisher(self._rivals.pop())
        self._rival_ends = False
        if self._rivals and self._rival_left:
            self._rival_left -= 1
            message = PoseStamped()
            message.header.frame_id = RIVAL_FRAME
            message.header.stamp = stamp(self.now_ns())
            self._rivals[0].publish(message)


def restamp(chunk: ActionChunk, stamp_ns: int) -> None:
    """Set a chunk's observation time, and keep how long it is valid."""
    lasts_ns = stamp_as_ns(chunk.valid_until) - stamp_as_ns(chunk.header.stamp)
    chunk.header.stamp = stamp(stamp_ns)
    chunk.valid_until = stamp(stamp_ns + lasts_ns)


def pose_of(message: PoseStamped) -> Pose:
    """The pose in a message."""
    position, turn = message.pose.position, message.pose.orientation
    return Pose(np.array([position.x, position.y, position.z]), np.array([turn.x, turn.y, turn.z, turn.w]))


def set_point_of(message: PoseStamped, apart: Offset | None = None) -> ReceivedSetPoint:
    """The set-point in a message, with the arm's distance from it."""
    point = ReceivedSetPoint(stamp_as_ns(message.header.stamp), *pose_of(message))
    return point._replace(apart_m=apart.distance_m, apart_rad=apart.angle_rad) if apart else point


def statuses_of(array: DiagnosticArray) -> list[StatusText]:
    """The statuses in a message, of rclpy or of a bag reader, without `last_stop`, which is of the past."""

    def text(status: DiagnosticStatus) -> str:
        values = [f'{value.key}={value.value}' for value in status.values if value.key != 'last_stop']
        return '; '.join([status.message, *values])

    stamp_ns = stamp_as_ns(array.header.stamp)
    return [StatusText(stamp_ns, status.name, text(status)) for status in array.status]

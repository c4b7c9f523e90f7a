"""Turns action chunks into set-points for a Cartesian controller: smooth, inside the limits, supervised.

The logic is `restac_ros.control.streaming`; here are topics, services and the clock.
"""

import gc
import os
import sys
import threading
import time
from dataclasses import asdict

from geometry_msgs.msg import PoseStamped
from rclpy.publisher import Publisher
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from rclpy.time import Time
from rclpy.timer import Timer
from std_srvs.srv import Trigger

from restac_ros.control import streaming
from restac_ros.control.chunk import ChunkError
from restac_ros.control.limits import LimitError
from restac_ros.control.streaming import ChunkUse, Streamer, StreamerConfig
from restac_ros.control.supervisor import Fault, Phase, Supervision
from restac_ros.geometry.pose import Pose
from restac_ros.msg import ActionChunk
from restac_ros.msg import ChunkUse as ChunkUseMessage
from restac_ros.nodes.diagnostics import Status, latency_statuses
from restac_ros.nodes.lifecycle import ManagedNode
from restac_ros.nodes.running import run_node
from restac_ros.nodes.streamer.chunk_input import chunk_of
from restac_ros.nodes.streamer.chunk_use import CHUNK_USE_QOS, chunk_use_message
from restac_ros.nodes.streamer.gripper_output import GripperOutput, check_gripper_type, make_gripper
from restac_ros.nodes.streamer.streamer_parameters import StreamerParameters
from restac_ros.nodes.streamer.surroundings import Surroundings, robot_state_class
from restac_ros.nodes.subscriptions import UnknownTypeError
from restac_ros.runtime.complaints import Complaints
from restac_ros.runtime.latency import Latencies
from restac_ros.runtime.summary_file import latency_summary
from restac_ros.runtime.worker import Worker

CHUNK_QOS = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=2, reliability=ReliabilityPolicy.RELIABLE)
TARGET_QOS = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.RELIABLE)
WATCH_PERIOD_S = 0.1
# jitter: how far from one period two ticks are apart. tick: the work of one. chunk: from observation to
# taking up.
STAGES = ('jitter', 'tick', 'chunk')
_LEVELS = {Phase.MOVING: 'ok', Phase.HALTED: 'error'}


class StreamerNode(ManagedNode):
    """Configure: check limits and types. Activate: become the controller's only source of targets."""

    model = StreamerParameters
    refusals = (LimitError, UnknownTypeError)

    def __init__(self) -> None:
        super().__init__('streamer_node')
        logger = self.get_logger()
        self._complaints = Complaints(logger.warning, logger.info)
        self._latencies = Latencies(*STAGES)
        self._config: StreamerConfig | None = None
        self._streamer, self._use = Streamer(), ChunkUse()
        self._frame_id = ''
        self._target: Publisher | None = None
        self._chunks: Subscription | None = None
        self._uses = self.create_publisher(ChunkUseMessage, '~/chunk_use', CHUNK_USE_QOS)
        self._surroundings: Surroundings | None = None
        self._gripper: GripperOutput | None = None
        self._watching: Timer | None = None
        self._worker: Worker | None = None
        self._lock = threading.RLock()  # of the state, which chunks, services and ticks change
        self._due_ns = 0
        self._last_tick_ns: int | None = None
        self._failure = ''
        self.create_service(Trigger, '~/halt', self._halt)
        self.create_service(Trigger, '~/resume', self._resume)

    def configure(self) -> None:
        parameters = self.parameters
        contract = self.load_contract()
        self._config = parameters.control(contract)
        self._frame_id = parameters.target_frame or contract.robot.base_frame
        robot_state_class(parameters)
        check_gripper_type(parameters.gripper_type)
        stop_ms = self._config.limits.stop_ns / 1e6
        target = self.resolve_topic_name(parameters.target_topic)
        said = f'{target} at {parameters.rate_hz:g} Hz, to a hold within {stop_ms:.0f} ms'
        self.get_logger().info(said)
        self._take_priority(parameters.realtime_priority)

    def activate(self) -> None:
        parameters = self.parameters
        self._complaints.forget()
        # The state starts anew, too: at the measured pose, as the arm may have been moved.
        self._latencies, self._streamer, self._last_tick_ns = Latencies(*STAGES), Streamer(), None
        self._use = ChunkUse()
        self._target = self.create_publisher(PoseStamped, parameters.target_topic, TARGET_QOS)
        self._surroundings = Surroundings(self, parameters, self._target)
        self._gripper = make_gripper(self, parameters)
        self._chunks = self.create_subscription(
            ActionChunk, parameters.chunk_topic, self._take_chunk, CHUNK_QOS
        )
        self._surroundings.look()
        self._watching = self.create_timer(WATCH_PERIOD_S, self._watch, clock=self.steady_clock)
        self._failure, self._due_ns = '', time.monotonic_ns()
        # A full garbage collection of all that has been imported would take several ticks.
        gc.collect()
        gc.freeze()
        # A thread of its own: waking the executor for each tick would cost more than the tick.
        self._worker = Worker('set-points', self._step, self._note_failure)
        self._worker.start()

    def deactivate(self) -> None:
        if self._worker:
            self._worker.ask_to_stop()
            self._worker.join()
            self._worker = None
        self._ramp_down()
        if self._watching:
            self.destroy_timer(self._watching)
            self._watching = None
        if self._chunks:
            self.destroy_subscription(self._chunks)
        if self._surroundings:
            self._surroundings.destroy()
        if self._gripper:
            self._gripper.destroy()
        if self._target:
            self.destroy_publisher(self._target)  # or it would stand in the way of another source of targets
        self._chunks = self._surroundings = self._gripper = self._target = None

    def summarise(self) -> dict[str, object]:
        state = self._streamer
        return {
            'phase': str(state.phase),
            'reasons': [str(reason) for reason in state.supervision.reasons],
            'last_refusal': state.refusal or 'none',
            'last_stop': [str(reason) for reason in state.supervision.cause],
            **asdict(state.counts),
            'latency_ms': latency_summary(self._latencies),
        }

    def diagnose(self) -> list[Status]:
        if self._target is None:
            return []
        with self._lock:
            state, complaints = self._streamer, self._complaints.texts
        now_ns = self.now_ns()
        reasons = '; '.join(map(str, state.supervision.reasons))
        values = {
            'phase': str(state.phase),
            'since_s': f'{max(0, now_ns - state.supervision.since_ns) * 1e-9:.1f}',
            'last_refusal': state.refusal or 'none',
            'last_stop': '; '.join(map(str, state.supervision.cause)) or 'none',
            'chunk_age_ms': f'{(now_ns - state.plan.newest.stamp_ns) / 1e6:.0f}' if state.plan else 'none',
            **{name: str(count) for name, count in asdict(state.counts).items()},
        }
        text = f'{state.phase}: {reasons}' if reasons else str(state.phase)
        streaming_status = Status('streaming', _LEVELS.get(state.phase, 'warn'), text, values)
        notes = [Status('notes', 'warn', '; '.join(complaints))] if complaints else []
        return [streaming_status, *notes, *latency_statuses(self._latencies)]

    def _take_chunk(self, message: ActionChunk) -> None:
        now_ns = self.now_ns()
        try:
            chunk = chunk_of(message)
        except ChunkError as error:
            with self._lock:
                self._streamer = streaming.report(self._streamer, Fault.MODEL, str(error))
            return
        with self._lock:
            self._streamer, refusal = streaming.offer(self._config, self._streamer, chunk, now_ns)
            self._complaints.set('chunks', 'refused' if refusal else '', refusal or '')
            moving = self._streamer.phase is Phase.MOVING
        if refusal is None:
            self._latencies.add('chunk', now_ns - chunk.stamp_ns)
        elif moving:
            self.publish_diagnostics()  # the next refusal may be another

    def _step(self) -> None:
        """One turn of the thread: a late tick delays none of the next ones, and none is made up for."""
        self._worker.wake.wait(max(0, self._due_ns - time.monotonic_ns()) * 1e-9)
        if not self._worker.stopping:
            with self._lock:
                self._tick()
            period_ns = round(1e9 / self.parameters.rate_hz)
            self._due_ns += period_ns * max(1, -(-(time.monotonic_ns() - self._due_ns) // period_ns))

    def _tick(self) -> None:
        begun_ns, now_ns, before = time.monotonic_ns(), self.now_ns(), self._streamer
        self._streamer, point = streaming.tick(self._config, before, now_ns, **self._surroundings.health())
        if point is not None:
            self._target.publish(self._message(point.pose, now_ns))
            if self._gripper and point.opening_m is not None and self._streamer.phase is Phase.MOVING:
                self._gripper.command(point.opening_m, begun_ns)
        use = self._streamer.use
        if use[1:] != self._use[1:]:  # all but the time
            self._use = use
            self._uses.publish(chunk_use_message(use, self._frame_id))
        if self._last_tick_ns is not None:
            period_ns = round(1e9 / self.parameters.rate_hz)
            self._latencies.add('jitter', abs(begun_ns - self._last_tick_ns - period_ns))
        self._last_tick_ns = begun_ns
        self._latencies.add('tick', time.monotonic_ns() - begun_ns)
        self._tell_change(before.supervision)

    def _message(self, pose: Pose, now_ns: int) -> PoseStamped:
        message = PoseStamped()
        message.header.stamp = Time(nanoseconds=now_ns).to_msg()
        message.header.frame_id = self._frame_id
        position, orientation = message.pose.position, message.pose.orientation
        position.x, position.y, position.z = pose.position_m.tolist()
        orientation.x, orientation.y, orientation.z, orientation.w = pose.quaternion_xyzw.tolist()
        return message

    def _take_priority(self, priority: int) -> None:
        """Run before everything that is not real time: this thread, and those it starts."""
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO if priority else os.SCHED_OTHER, os.sched_param(priority))
        except PermissionError:
            self.get_logger().warning(
                f'set-points may be late: real-time priority {priority} is not permitted; '
                'allow it (rtprio in /etc/security/limits.conf) or set realtime_priority to 0'
            )

    def _watch(self) -> None:
        """Look around; leave the active state when the thread has died."""
        if self._failure:
            self.report_problem(
                f'{self._failure}; no set-points any more: deactivate, then activate to try again'
            )
            self.trigger_deactivate()
            return
        self._surroundings.look()
        with self._lock:
            self._tell_hold()
            if self._gripper:
                self._complaints.set('gripper', self._gripper.problem, self._gripper.problem)

    def _note_failure(self, text: str) -> None:
        self._failure = text

    def _tell_change(self, before: Supervision) -> None:
        """Say at once that the phase is another, or that a further fault is latched."""
        now = self._streamer.supervision
        if now.phase is before.phase and now.latched == before.latched:
            return
        if now.latched != before.latched and now.latched:
            faults = '; '.join(map(str, now.latched))
            self.get_logger().error(
                f'halted: {faults}; look, then call {self.get_fully_qualified_name()}/resume'
            )
        elif now.phase is Phase.MOVING and not before.commanded:
            self.get_logger().info('moving')
        self._tell_hold()
        self.publish_diagnostics()

    def _tell_hold(self) -> None:
        """One message per hold, however it flickers."""
        supervision = self._streamer.supervision
        kind = text = ''
        if supervision.phase is Phase.HOLDING and supervision.cause:
            kind = ', '.join(reason.fault for reason in supervision.cause)
            text = f'holding: {"; ".join(map(str, supervision.cause))}'
        self._complaints.set('motion', kind, text)

    def _ramp_down(self) -> None:
        """Come to a hold before falling silent: the controller goes on with the last target for ever."""
        if self._failure or self._target is None or self._streamer.motion is None:
            return
        self._streamer = streaming.let_go(self._streamer)
        period_s = 1 / self.parameters.rate_hz
        for _ in range(round(self._config.limits.stop_ns * 1e-9 / period_s) + 2):
            self._tick()
            if self._streamer.motion.standing:
                return
            time.sleep(period_s)

    def _halt(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = self._target is not None
        if not response.success:
            response.message = f'the streamer is {self.phase} and commands nothing'
            return response
        with self._lock:
            self._streamer = streaming.report(self._streamer, Fault.HALT, 'on request')
        response.message = f'halting, within {self._config.limits.stop_ns / 1e6:.0f} ms'
        return response

    def _resume(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._target is None:
            response.message = f'the streamer is {self.phase}: activate it first'
            return response
        with self._lock:
            before = self._streamer.supervision
            self._streamer, refusal = streaming.resume(self._streamer, self.now_ns())
            self._tell_change(before)
        response.success = refusal is None
        response.message = refusal or 'going on with the next chunk'
        return response


def main() -> None:
    """Entry point."""
    # While a chunk is read the thread of the set-points must not wait for Python's usual 5 ms.
    sys.setswitchinterval(1e-3)
    run_node(StreamerNode)


if __name__ == '__main__':
    main()

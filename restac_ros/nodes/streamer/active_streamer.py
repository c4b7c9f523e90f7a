"""The active state of the streamer: topics, inputs, gripper, the thread of the set-points.

That thread queues events; the executor handles them here, and alone logs and publishes diagnostics.
"""

import time

from geometry_msgs.msg import PoseStamped
from rclpy.clock import JumpHandle, JumpThreshold
from rclpy.duration import Duration
from rclpy.qos import QoSProfile

from restac_ros.contract.schema import Contract
from restac_ros.control.chunk import ChunkError
from restac_ros.control.chunk_origin import ChunkOrigin
from restac_ros.control.chunk_reading import chunk_of
from restac_ros.control.streaming import ChunkUse, SetPoint, StreamerConfig
from restac_ros.control.supervisor import LATCHED, Fault, Phase, Supervision
from restac_ros.framing.encode import tool_pose
from restac_ros.framing.stamp import with_stamp
from restac_ros.msg import ActionChunk
from restac_ros.msg import ChunkUse as ChunkUseMessage
from restac_ros.nodes.chunk_messages import CHUNK_USE_QOS, chunk_use_message, named_run
from restac_ros.nodes.lifecycle import ManagedNode
from restac_ros.nodes.streamer.gripper_output import make_gripper
from restac_ros.nodes.streamer.robot_inputs import RIVAL_SILENT_NS, RobotInputs
from restac_ros.runtime.complaints import Complaints
from restac_ros.runtime.set_point_loop import SetPointLoop, SupervisionChange
from restac_ros.runtime.streamer_parameters import StreamerParameters

CHUNK_QOS, TARGET_QOS = QoSProfile(depth=2), QoSProfile(depth=1)  # reliable
WATCH_PERIOD_S = 0.1
GRIPPER_PERIOD_S = 0.02
# Faults that delay the first motion and are logged.
_DELAYS = frozenset({Fault.SECOND_PUBLISHER, Fault.ROBOT_MODE, Fault.ARM_MOVED, Fault.OUTSIDE, Fault.DEADMAN})


class ActiveStreamer:
    """Streams from its creation until `close`."""

    def __init__(
        self,
        node: ManagedNode,
        contract: Contract,
        parameters: StreamerParameters,
        config: StreamerConfig,
    ) -> None:
        self.failure = ''
        self.origin = ChunkOrigin(parameters.run_id)
        logger = node.get_logger()
        self.complaints = Complaints(logger.warning, logger.info, time.monotonic_ns)
        self._node, self._frame_id = node, contract.robot.base_frame
        simulated = node.get_parameter('use_sim_time').value
        pace_ns = node.now_ns if simulated else time.monotonic_ns
        self._target = node.create_publisher(PoseStamped, parameters.target_topic, TARGET_QOS)
        self._uses = node.create_publisher(ChunkUseMessage, '~/chunk_use', CHUNK_USE_QOS)
        self._inputs = RobotInputs(node, contract, parameters, self._target, pace_ns)
        self._inputs.update_publishers()
        self._gripper = make_gripper(node, parameters, contract)
        self._changed = node.create_guard_condition(self._handle_events)
        self.loop = SetPointLoop(
            config,
            round(1e9 / parameters.rate_hz),
            self._inputs,
            self._publish,
            self._changed.trigger,
            node.now_ns,
            pace_ns,
            self._note_failure,
        )
        self._chunks = node.create_subscription(
            ActionChunk, parameters.chunk_topic, self._receive_chunk, CHUNK_QOS
        )
        self._watched_ns: int | None = None
        self._timers = [node.create_timer(WATCH_PERIOD_S, self._watch_on_time, clock=node.steady_clock)]
        if self._gripper:
            self._timers.append(
                node.create_timer(GRIPPER_PERIOD_S, self._run_gripper, clock=node.steady_clock)
            )
        self._jumps = self._wake_on_clock() if simulated else None
        self.loop.start()

    def close(self) -> None:
        """Ramp to a hold, stop publishing, and close the topics."""
        self.loop.stop(ramp=not self.failure)
        if self._jumps:
            self._jumps.unregister()
        for timer in self._timers:
            self._node.destroy_timer(timer)
        self._handle_events()
        self._node.destroy_guard_condition(self._changed)
        self._node.destroy_subscription(self._chunks)
        self._inputs.destroy()
        if self._gripper:
            self._gripper.destroy()
        self._node.destroy_publisher(self._target)
        self._node.destroy_publisher(self._uses)

    def halt(self) -> None:
        """Ramp to a hold, which lasts until resumed."""
        self.loop.report(Fault.HALT, 'on request')

    def watch(self) -> None:
        """Update the list of other publishers, and log the reasons of a hold."""
        self._inputs.update_publishers()
        with self.loop.lock:
            supervision, motion = self.loop.streamer.supervision, self.loop.streamer.motion
        if supervision.phase is not Phase.HALTED:  # a halt lasts until resumed
            self._complain_of_hold(supervision, silent=motion is None)
            problem = self._gripper.problem if self._gripper else ''
            self.complaints.set('gripper', problem and 'gripper', problem)
            foreign = self.origin.problem(self._node.now_ns())
            self.complaints.set('run', foreign and 'foreign', foreign)
        others = self._inputs.others
        sending = any(reason.fault is Fault.SECOND_PUBLISHER for reason in supervision.active)
        if others and not sending:
            topic, names = self._target.topic_name, ', '.join(others)
            text = f'{names} may publish {topic}, too, but has sent nothing for {RIVAL_SILENT_NS * 1e-9:g} s'
            self.complaints.set('other publishers', names, f'{text}; stop it')
        elif not others and supervision.phase is not Phase.HALTED:
            self.complaints.clear('other publishers')

    # Called by the thread of the set-points.

    def _publish(self, point: SetPoint, now_ns: int) -> None:
        cdr = with_stamp(tool_pose(self._frame_id, point.pose), now_ns)
        self._inputs.note_sent(cdr)
        self._target.publish(cdr)

    def _note_failure(self, text: str) -> None:
        self.failure = text

    # Called by the executor.

    def _watch_on_time(self) -> None:
        before_ns, self._watched_ns = self._watched_ns, time.monotonic_ns()
        if before_ns is not None:
            self.loop.latencies.add('watch', self._watched_ns - before_ns - round(WATCH_PERIOD_S * 1e9))
        self.watch()

    def _wake_on_clock(self) -> JumpHandle:
        """Wake the thread at every /clock message, as a simulated clock may run faster than the system's."""
        threshold = JumpThreshold(
            min_forward=Duration(nanoseconds=1), min_backward=Duration(nanoseconds=-1), on_clock_change=True
        )
        wake = self.loop.worker.wake.set
        return self._node.get_clock().create_jump_callback(threshold, post_callback=lambda _: wake())

    def _receive_chunk(self, message: ActionChunk) -> None:
        now_ns, run = self._node.now_ns(), message.run
        if not self.origin.accepts(run.run_id, named_run(run), now_ns):
            if self.origin.contested:
                self.loop.report(Fault.SECOND_POLICY, self.origin.problem(now_ns))
            return
        try:
            chunk = chunk_of(message)
        except ChunkError as error:
            self.loop.report(Fault.MODEL, str(error))
            return
        refusal = self.loop.offer(chunk)
        phase = self.loop.streamer.phase
        if refusal or phase is not Phase.HALTED:
            self.complaints.set('chunks', 'refused' if refusal else '', refusal or '')
        if refusal and phase is Phase.MOVING:
            self._node.publish_diagnostics()  # the next refusal may be another

    def _run_gripper(self) -> None:
        if self._gripper is None:
            return
        with self.loop.lock:
            request, silent = self.loop.gripper, self.loop.streamer.motion is None
        if silent:
            self._gripper.forget()
        elif request is not None:
            opening_m = self._inputs.opening_m(self._node.now_ns())
            self._gripper.command(request, opening_m, time.monotonic_ns())

    def _handle_events(self) -> None:
        changed = False
        while self.loop.events:
            match self.loop.events.popleft():
                case ChunkUse() as use:
                    self._uses.publish(chunk_use_message(use, self._frame_id, self.origin.run_id))
                case SupervisionChange(before, after):
                    self._log_change(before, after)
                    changed = True
        if changed:
            self._node.publish_diagnostics()

    def _log_change(self, before: Supervision, now: Supervision) -> None:
        """Log a change of phase, and newly latched faults."""
        logger = self._node.get_logger()
        if now.latched != before.latched and now.latched:
            faults, name = '; '.join(map(str, now.latched)), self._node.get_fully_qualified_name()
            logger.error(f'halted: {faults}; check the robot, then call {name}/resume')
        elif now.phase is Phase.MOVING and before.phase is not Phase.MOVING and not before.commanded:
            logger.info('moving')
        if now.phase is not Phase.HALTED:
            self._complain_of_hold(now, silent=False)

    def _complain_of_hold(self, supervision: Supervision, silent: bool) -> None:
        """Log one message per hold, however often it flickers, and one for a delayed start."""
        kind = text = ''
        delays = [reason for reason in supervision.active if reason.fault in _DELAYS]
        cause = [reason for reason in supervision.cause if reason.fault not in LATCHED]  # else: was resumed
        if supervision.phase is Phase.HOLDING and cause and not (silent and delays):
            kind = ', '.join(reason.fault for reason in cause)
            text = f'holding: {"; ".join(map(str, cause))}'
        elif delays and supervision.phase is not Phase.MOVING:
            kind = ', '.join(str(r) if r.fault is Fault.SECOND_PUBLISHER else r.fault for r in delays)
            text = f'not moving: {"; ".join(map(str, delays))}'
        self.complaints.set('motion', kind, text)

"""One activation of a policy: subscriptions, the loops, and what they publish. Exists only while active."""

import time
from typing import NamedTuple

from rclpy.publisher import Publisher
from rclpy.subscription import Subscription
from std_msgs.msg import String

from restac_ros.control.chunk import Chunk
from restac_ros.msg import ChunkUse
from restac_ros.nodes.chunk_messages import CHUNK_USE_QOS, PolicyOrigin, chunk_message, chunk_use_of
from restac_ros.nodes.diagnostics import Status, StreamDiagnostics, latency_statuses
from restac_ros.nodes.fields import LATCHED_QOS
from restac_ros.nodes.lifecycle import ManagedNode
from restac_ros.nodes.messages import gate_message, residual_message, subtask_message
from restac_ros.nodes.subscriptions import Subscriptions
from restac_ros.policy.policy import Policy
from restac_ros.policy.prompting import Task
from restac_ros.runtime.chunk_tracker import ChunkTracker
from restac_ros.runtime.clocks import Clocks
from restac_ros.runtime.complaints import Complaints
from restac_ros.runtime.holding import Reasons
from restac_ros.runtime.latency import Latencies
from restac_ros.runtime.live_frames import LiveFrames
from restac_ros.runtime.policy_parameters import PolicyParameters
from restac_ros.runtime.policy_runtime import PolicyRuntime
from restac_ros.runtime.runtime_products import (
    STAGES,
    AppliedSubtask,
    LoopContext,
    Outputs,
    RunCounts,
    TouchReading,
)
from restac_ros.runtime.summary_file import latency_summary, streams_summary

# What is too old for a shorter time is counted and on /diagnostics, but no line on the console: so are the
# streams at the end of every run.
LASTING_HOLD_NS = 1_000_000_000


class Products(NamedTuple):
    """Publishers of ActionChunk, GateState, Image and Subtask, which outlive a session."""

    chunks: Publisher
    gates: Publisher
    residuals: Publisher
    subtasks: Publisher


class PolicySession:
    """Runs a loaded policy from `activate` to `deactivate`.

    Attributes:
        failure: why the loops have stopped by themselves; empty while they run.
    """

    def __init__(
        self,
        node: ManagedNode,
        parameters: PolicyParameters,
        policy: Policy,
        origin: PolicyOrigin,
        products: Products,
    ) -> None:
        logger, contract = node.get_logger(), policy.contract
        self.failure = ''
        self._node, self._policy, self._origin, self._products = node, policy, origin, products
        self._complaints = Complaints(logger.warning, logger.info, time.monotonic_ns)
        self._holding = Complaints(
            lambda text: logger.error(f'no chunk: {text}'), logger.info, time.monotonic_ns
        )
        self._reasons: Reasons = {}
        self._since_ns: dict[str, int] = {}  # when each of them began, by the steady clock
        self._latencies, self._counts = Latencies(time.perf_counter_ns, *STAGES), RunCounts()
        self._diagnostics = StreamDiagnostics({n: s.rate_hz for n, s in contract.streams.items()})
        self._tracker = self._make_tracker(parameters)
        self._uses = self._subscribe_to_uses(parameters.rtc_use_topic)
        frozen_ns = round(parameters.max_frozen_ms * 1e6)
        self._frames = LiveFrames(
            contract,
            node.now_ns,
            lambda: self._streams.poll(),
            frozen_ns,
            lambda name: self._streams.why_silent(name),
        )
        simulated = bool(node.get_parameter('use_sim_time').value)
        context = LoopContext(
            policy=policy,
            frames=self._frames,
            settings=parameters.settings(),
            clocks=Clocks.of(node.now_ns, time.monotonic_ns, simulated),
            outputs=Outputs(
                self._publish_chunk,
                self._publish_touch,
                self._set_reasons,
                self._log_prompt,
                self._fail,
                self._publish_subtask,
            ),
            latencies=self._latencies,
            counts=self._counts,
            tracker=self._tracker,
            rules=parameters.planner_rules(),
        )
        self._runtime = PolicyRuntime(context)
        # Not through the executor, whose waking would cost a sixth of a core, and hold up the loops.
        self._streams = Subscriptions(
            node, contract, self._frames.push, self._complaints, on_failure=self._fail
        )
        self._wishes = self._subscribe_to_wishes() if context.rules else []
        self._runtime.start()

    def stop(self) -> None:
        """End the loops after the calls under way, and the subscriptions."""
        self._runtime.stop()
        self._streams.destroy()
        for subscription in [*self._wishes, *([self._uses] if self._uses else [])]:
            self._node.destroy_subscription(subscription)

    def request_prompt(self, prompt: str) -> None:
        """Change the task as soon as it is compiled."""
        self._runtime.request_prompt(prompt)

    def check_publishers(self) -> None:
        """Compare the publishers in the graph with what the contract expects."""
        self._streams.check_publishers()

    def summary(self) -> dict[str, object]:
        """Return what was counted, for the summary file."""
        return {
            'prompt': self._policy.prompt,
            'streams': streams_summary(self._streams.tallies),
            **self._counts.summary(),
            **(self._tracker.summary() if self._tracker else {}),
            'latency_ms': latency_summary(self._latencies),
        }

    def diagnose(self) -> list[Status]:
        """Return how planning, streams and latencies stand."""
        _, statuses = self._frames.frame_with_statuses(())
        ages = {name: status.age_ns for name, status in statuses.items()}
        reasons = {subject: complaint.text for subject, complaint in self._reasons.items()}
        reasons |= {name: status.reason for name, status in statuses.items() if not status.valid}
        streams = self._diagnostics.statuses(self._streams.tallies, ages, reasons, time.monotonic_ns())
        held = '; '.join(complaint.text for complaint in self._reasons.values())
        counted = {name: str(getattr(self._counts, name)) for name in ('chunks', 'triggered', 'held')}
        if self._tracker:
            counted |= {name: str(value) for name, value in self._tracker.summary().items()}
        planning = Status('planning', 'error' if held else 'ok', held or 'publishing chunks', counted)
        return [planning, *streams, *latency_statuses(self._latencies)]

    def _make_tracker(self, parameters: PolicyParameters) -> ChunkTracker | None:
        """Return the tracker of real-time chunking; None where every chunk is planned freely."""
        if parameters.chunking == 'receding_horizon':
            return None
        return ChunkTracker(
            self._policy.continuations, parameters.rtc_overlap_steps, parameters.rtc_initial_delay_steps
        )

    def _subscribe_to_uses(self, topic: str) -> Subscription | None:
        tracker = self._tracker
        if tracker is None:
            return None

        def receive(message: ChunkUse) -> None:
            if message.run_id in ('', self._origin.run_id):  # another run's streamer executes other chunks
                tracker.note_use(chunk_use_of(message))

        return self._node.create_subscription(ChunkUse, topic, receive, CHUNK_USE_QOS)

    def _subscribe_to_wishes(self) -> list[Subscription]:
        """Subscribe to ~/task and ~/override, the operator's subtask; also receive those sent before."""
        runtime, node = self._runtime, self._node

        def plan_for(message: String) -> None:
            runtime.set_task(message.data)

        def act_by(message: String) -> None:
            runtime.override(message.data)

        ways = {'~/task': plan_for, '~/override': act_by}
        return [
            node.create_subscription(String, topic, receive, LATCHED_QOS) for topic, receive in ways.items()
        ]

    # Called from the workers' threads.

    def _publish_chunk(self, chunk: Chunk) -> None:
        self._products.chunks.publish(chunk_message(chunk, self._origin))

    def _publish_touch(self, reading: TouchReading) -> None:
        touch, frame_id = reading.touch, self._policy.contract.robot.tool_frame
        self._products.gates.publish(gate_message(reading, frame_id, self._origin))
        if touch.residual_map is not None and self._products.residuals.get_subscription_count():
            self._products.residuals.publish(residual_message(touch.stamp_ns, touch.residual_map, frame_id))

    def _publish_subtask(self, applied: AppliedSubtask) -> None:
        self._products.subtasks.publish(subtask_message(applied, self._origin))

    def _log_prompt(self, task: Task) -> None:
        self._node.get_logger().info(f"chunks follow '{task.text}' (revision {task.revision})")

    def _set_reasons(self, reasons: Reasons) -> None:
        self._reasons = reasons
        now_ns = time.monotonic_ns()
        self._since_ns = {subject: self._since_ns.get(subject, now_ns) for subject in reasons}
        lasting = {
            subject: complaint
            for subject, complaint in reasons.items()
            if complaint.kind != 'stale' or now_ns - self._since_ns[subject] >= LASTING_HOLD_NS
        }
        self._holding.update(lasting)

    def _fail(self, text: str) -> None:
        self.failure = text

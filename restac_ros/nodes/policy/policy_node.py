"""Runs a policy on the robot's streams: publishes action chunks, and what touch says of each frame."""

import gc
import time

from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from rclpy.timer import Timer
from sensor_msgs.msg import Image

from restac_ros.contract.schema import Contract
from restac_ros.control.chunk import ChunkError
from restac_ros.model.checkpoint.errors import CheckpointError
from restac_ros.msg import ActionChunk, ChunkUse, GateState
from restac_ros.nodes.diagnostics import Status, StreamDiagnostics, latency_statuses
from restac_ros.nodes.lifecycle import ManagedNode
from restac_ros.nodes.messages import chunk_message, gate_message, residual_message
from restac_ros.nodes.parameters import ParameterError
from restac_ros.nodes.policy.policy_parameters import PolicyParameters
from restac_ros.nodes.priority import call_niced
from restac_ros.nodes.running import run_node
from restac_ros.nodes.streamer.chunk_input import chunk_of
from restac_ros.nodes.streamer.chunk_use import CHUNK_USE_QOS, chunk_use_of
from restac_ros.nodes.subscriptions import Subscriptions
from restac_ros.policy.errors import PolicyError
from restac_ros.policy.normalization import NormStatsError
from restac_ros.policy.policy import Policy
from restac_ros.policy.tokenizer import TokenizerError
from restac_ros.runtime.chunk_continuity import ChunkContinuity
from restac_ros.runtime.complaints import Complaints
from restac_ros.runtime.holding import Reasons
from restac_ros.runtime.latency import Latencies
from restac_ros.runtime.live_frames import LiveFrames
from restac_ros.runtime.policy_runtime import PolicyRuntime
from restac_ros.runtime.runtime_products import (
    STAGES,
    Outputs,
    PlannedChunk,
    RunCounts,
    RuntimeSettings,
    TouchReading,
    Workplace,
)
from restac_ros.runtime.summary_file import latency_summary, streams_summary

# One chunk replaces the other; a gate is a reading of which none should be missed.
CHUNK_QOS = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=2, reliability=ReliabilityPolicy.RELIABLE)
GATE_QOS = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=32, reliability=ReliabilityPolicy.RELIABLE)
WATCH_PERIOD_S = 0.5
MAKE_ONE = '`restac-ros init-checkpoint` makes one with random weights'


class PolicyNode(ManagedNode):
    """Configure: load, compile, warm up. Activate: subscribe, run the three workers, publish."""

    model = PolicyParameters
    refusals = (CheckpointError, PolicyError, NormStatsError, TokenizerError)

    def __init__(self) -> None:
        super().__init__('policy_node')
        logger = self.get_logger()
        self._complaints = Complaints(logger.warning, logger.info)
        self._holding = Complaints(lambda text: logger.error(f'no chunk: {text}'), logger.info)
        self._chunks = self.create_publisher(ActionChunk, '~/action_chunk', CHUNK_QOS)
        self._gates = self.create_publisher(GateState, '~/gate_state', GATE_QOS)
        self._residuals = self.create_publisher(Image, '~/tactile_residual', GATE_QOS)
        self._latencies = Latencies(*STAGES)
        self._counts = RunCounts()
        self._settings: RuntimeSettings | None = None
        self._policy: Policy | None = None
        self._streams: Subscriptions | None = None
        self._frames: LiveFrames | None = None
        self._runtime: PolicyRuntime | None = None
        self._continuity: ChunkContinuity | None = None
        self._uses: Subscription | None = None
        self._stream_diagnostics: StreamDiagnostics | None = None
        self._timer: Timer | None = None
        self._failure = ''
        self._reasons: Reasons = {}

    def configure(self) -> None:
        parameters, logger, begun_s = self.parameters, self.get_logger(), time.monotonic()
        self._settings = parameters.settings()
        contract = self.load_contract()
        if parameters.checkpoint is None:
            raise ParameterError(f'no checkpoint: pass -p checkpoint:=DIRECTORY; {MAKE_ONE}')
        self._policy = call_niced(parameters.niceness, lambda: self._load(contract))
        for note in self._policy.notes:
            logger.warning(note)
        logger.info(f'{parameters.checkpoint} is loaded; compiling, which takes long the first time')
        call_niced(parameters.niceness, self._policy.warm_up)
        # Collecting garbage means walking through JAX's hundred thousands of objects, which stay: tens of ms.
        gc.collect()
        gc.freeze()
        logger.info(f'ready after {time.monotonic() - begun_s:.1f} s')

    def activate(self) -> None:
        self._failure, self._reasons = '', {}
        self._complaints.forget()
        self._holding.forget()
        self._latencies, self._counts = Latencies(*STAGES), RunCounts()
        contract = self._policy.contract
        self._stream_diagnostics = StreamDiagnostics({n: s.rate_hz for n, s in contract.streams.items()})
        frozen_ns = round(self.parameters.max_frozen_ms * 1e6)
        self._frames = LiveFrames(contract, self.now_ns, self._take_polled, frozen_ns)
        outputs = Outputs(self._publish_chunk, self._publish_touch, self._note_reasons, self._note_failure)
        self._continuity = self._make_continuity()
        place = Workplace(
            self._policy,
            self._frames,
            self._settings,
            self.now_ns,
            outputs,
            self._latencies,
            self._counts,
            self._continuity,
        )
        self._runtime = PolicyRuntime(place)
        # Not through the executor, whose waking would cost a sixth of a core, and hold up the loops.
        self._streams = Subscriptions(
            self, contract, self._frames.push, self._complaints, on_failure=self._note_failure
        )
        self._runtime.start()
        self._timer = self.create_timer(WATCH_PERIOD_S, self._watch, clock=self.steady_clock)

    def deactivate(self) -> None:
        if self._timer:
            self.destroy_timer(self._timer)
            self._timer = None
        if self._runtime:
            self._runtime.stop()
            self._runtime = None
        if self._streams:
            self._streams.destroy()
        if self._uses:
            self.destroy_subscription(self._uses)
            self._uses = None

    def cleanup(self) -> None:
        self._policy = None

    def summarise(self) -> dict[str, object]:
        return {
            'streams': streams_summary(self._streams.tallies) if self._streams else {},
            **self._counts.summary(),
            **(self._continuity.summary() if self._continuity else {}),
            'latency_ms': latency_summary(self._latencies),
        }

    def diagnose(self) -> list[Status]:
        if self._runtime is None:
            return []
        statuses = self._frames.look(())[1]
        ages = {name: status.age_ns for name, status in statuses.items()}
        reasons = {subject: complaint.text for subject, complaint in self._reasons.items()}
        reasons |= {name: status.reason for name, status in statuses.items() if not status.valid}
        streams = self._stream_diagnostics.statuses(self._streams.tallies, ages, reasons, time.monotonic_ns())
        held = '; '.join(complaint.text for complaint in self._reasons.values())
        counted = {name: str(getattr(self._counts, name)) for name in ('chunks', 'triggered', 'held')}
        if self._continuity:
            counted |= {name: str(value) for name, value in self._continuity.summary().items()}
        planning = Status('planning', 'error' if held else 'ok', held or 'publishing chunks', counted)
        return [planning, *streams, *latency_statuses(self._latencies)]

    def parameters_changed(self) -> None:
        if self._runtime:
            self._runtime.request_prompt(self.parameters.prompt)

    def _load(self, contract: Contract) -> Policy:
        parameters = self.parameters
        return Policy.load(
            parameters.checkpoint,
            contract,
            parameters.prompt,
            tokenizer=parameters.tokenizer,
            dtype=None if parameters.dtype == 'checkpoint' else parameters.dtype,
            num_steps=parameters.flow_steps,
            seed=parameters.seed,
            chunking=parameters.chunking_choice(),
            compile_cache=parameters.compile_cache,
        )

    def _make_continuity(self) -> ChunkContinuity | None:
        """For real-time chunking: what is published and what is executed of it, from now on."""
        parameters = self.parameters
        if parameters.chunking == 'receding_horizon':
            return None
        continuity = ChunkContinuity(self._policy.continuations, parameters.continuity_rules())
        self._uses = self.create_subscription(
            ChunkUse,
            parameters.rtc_use_topic,
            lambda message: continuity.taken_up(chunk_use_of(message)),
            CHUNK_USE_QOS,
        )
        return continuity

    def _take_polled(self) -> None:
        if self._streams:
            self._streams.take_polled()

    # Called from the workers' threads.

    def _publish_chunk(self, planned: PlannedChunk) -> None:
        message = chunk_message(self._policy.contract, planned)
        if self._continuity:
            try:
                self._continuity.published(chunk_of(message))
            except ChunkError as error:
                raise PolicyError(
                    f'{error}: nothing could continue it, and the streamer would refuse it'
                ) from error
        self._chunks.publish(message)

    def _publish_touch(self, reading: TouchReading) -> None:
        frame_id, touch = self._policy.tactile_stream, reading.touch
        self._gates.publish(gate_message(reading, frame_id))
        if touch.residual_map is not None and self._residuals.get_subscription_count():
            self._residuals.publish(residual_message(touch, frame_id))

    def _note_reasons(self, reasons: Reasons) -> None:
        self._reasons = reasons
        self._holding.update(reasons)

    def _note_failure(self, text: str) -> None:
        self._failure = text

    def _watch(self) -> None:
        """Look at the publishers; leave the active state when a worker has died."""
        if self._failure:
            self.report_problem(
                f'{self._failure}; no chunks any more; `ros2 lifecycle set` activate tries again'
            )
            self.trigger_deactivate()
            return
        self._streams.check_publishers()


def main() -> None:
    """Entry point."""
    run_node(PolicyNode)


if __name__ == '__main__':
    main()

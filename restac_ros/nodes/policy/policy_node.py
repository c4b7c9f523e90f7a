"""Runs a policy on the robot's streams: publishes action chunks, and the gate of each tactile frame."""

import gc
import time
from pathlib import Path
from typing import Any, NamedTuple

from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image

from restac_ros.contract.schema import Contract
from restac_ros.model.checkpoint.errors import CheckpointError
from restac_ros.model.checkpoint.store import checkpoint_fingerprint
from restac_ros.model.device import describe_device, describe_memory
from restac_ros.msg import ActionChunk, GateState, Subtask
from restac_ros.nodes.chunk_messages import PolicyOrigin
from restac_ros.nodes.diagnostics import Status
from restac_ros.nodes.fields import LATCHED_QOS
from restac_ros.nodes.lifecycle import ManagedNode
from restac_ros.nodes.policy.policy_session import PolicySession, Products
from restac_ros.nodes.running import call_niced, run_node
from restac_ros.policy.errors import PolicyError
from restac_ros.policy.normalization import NormStatsError
from restac_ros.policy.policy import Policy
from restac_ros.policy.tokenizer import TokenizerError
from restac_ros.runtime.node_parameters import ParameterError
from restac_ros.runtime.policy_parameters import PolicyParameters
from restac_ros.runtime.runtime_products import RunCounts

# Reliable. One chunk replaces the other; a gate is a reading of which none should be missed.
_CHUNK_QOS, GATE_QOS = QoSProfile(depth=2), QoSProfile(depth=32)
_WATCH_PERIOD_S = 0.5
MAKE_ONE = '`restac-ros init-checkpoint` makes one with random weights'


class _Loaded(NamedTuple):
    """State from `configure` to `cleanup`."""

    policy: Policy
    origin: PolicyOrigin


class PolicyNode(ManagedNode[PolicyParameters]):
    """Configure: load, compile, warm up. Activate: subscribe, run the loops, publish."""

    model = PolicyParameters
    unique = True
    refusals = (CheckpointError, PolicyError, NormStatsError, TokenizerError)

    def __init__(self) -> None:
        super().__init__('policy_node')
        self._products = Products(
            self.create_publisher(ActionChunk, '~/action_chunk', _CHUNK_QOS),
            self.create_publisher(GateState, '~/gate_state', GATE_QOS),
            self.create_publisher(Image, '~/tactile_residual', GATE_QOS),
            self.create_publisher(Subtask, '~/subtask', LATCHED_QOS),
        )
        self._loaded: _Loaded | None = None  # while configured
        self._session: PolicySession | None = None  # while active
        self._last_summary: dict[str, object] = {'streams': {}, **RunCounts().summary(), 'latency_ms': {}}
        self.create_timer(_WATCH_PERIOD_S, self._watch, clock=self.steady_clock)

    def configure(self) -> None:
        parameters, logger, begun_s = self.parameters, self.get_logger(), time.monotonic()
        parameters.settings()  # refuses contradictions before anything is loaded
        rules = parameters.planner_rules()
        contract = self.load_contract()
        if (checkpoint := parameters.checkpoint) is None:
            raise ParameterError(f'no checkpoint: pass -p checkpoint:=DIRECTORY; {MAKE_ONE}')
        policy = call_niced(parameters.niceness, lambda: self._load(checkpoint, contract))
        origin = PolicyOrigin(
            self.run_id,
            checkpoint_fingerprint(checkpoint),
            parameters.replan_gate_threshold,
            parameters.replan_gate_release,
        )
        self._loaded = _Loaded(policy, origin)
        for note in policy.notes:
            logger.warning(note)
        device = f'{describe_device()}{describe_memory()}, {policy.arithmetic}'
        logger.info(f'{checkpoint} is loaded, {device}; compiling, slow the first time')
        if rules is not None:  # first, as it refuses a network that generates no text
            call_niced(parameters.niceness, lambda: policy.planner.prepare(parameters.prompt))
        call_niced(parameters.niceness, policy.warm_up)
        # Collecting garbage means walking through JAX's hundred thousands of objects, which stay: tens of ms.
        gc.collect()
        gc.freeze()
        logger.info(f'ready after {time.monotonic() - begun_s:.1f} s')

    def activate(self) -> None:
        if self._loaded is None:
            raise PolicyError('no policy is loaded: configure first')
        self._session = PolicySession(
            self, self.parameters, self._loaded.policy, self._loaded.origin, self._products
        )
        # A prompt may have been set while the node was inactive.
        self._session.request_prompt(self.parameters.prompt)

    def deactivate(self) -> None:
        if self._session:
            session, self._session = self._session, None
            session.stop()
            self._last_summary = session.summary()

    def cleanup(self) -> None:
        self._loaded = None

    def summarise(self) -> dict[str, object]:
        summary = self._session.summary() if self._session else self._last_summary
        return {**(self._loaded.origin._asdict() if self._loaded else {}), **summary}

    def diagnose(self) -> list[Status]:
        return self._session.diagnose() if self._session else []

    def check_change(self, name: str, value: Any) -> None:
        if name == 'prompt' and self._loaded:
            try:
                self._loaded.policy.check_prompt(value)
            except TokenizerError as error:
                raise ParameterError(f"parameter 'prompt' is {value!r}: {error}") from error

    def parameters_changed(self) -> None:
        if self._session:
            self._session.request_prompt(self.parameters.prompt)

    def _load(self, checkpoint: Path, contract: Contract) -> Policy:
        parameters = self.parameters
        return Policy.load(
            checkpoint,
            contract,
            parameters.prompt,
            tokenizer=parameters.tokenizer,
            dtype=None if parameters.dtype == 'checkpoint' else parameters.dtype,
            num_steps=parameters.flow_steps or None,
            seed=parameters.seed,
            chunking=parameters.chunking_choice(),
            choice=parameters.token_choice(),
            compile_cache=parameters.compile_cache,
        )

    def _watch(self) -> None:
        """Compare the publishers with the contract; leave the active state when a worker has died."""
        if self._session is None:
            return
        if failure := self._session.failure:
            self.report_problem(f'{failure}; no chunks any more; `ros2 lifecycle set` activate tries again')
            self.trigger_deactivate()
            return
        self._session.check_publishers()


def main() -> None:
    """Entry point."""
    run_node(PolicyNode)

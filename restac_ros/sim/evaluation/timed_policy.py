"""A policy whose calls take simulated time, and which feels what an attempt lets it feel."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from restac_ros.contract.schema import Contract
from restac_ros.model.checkpoint.store import Checkpoint, load_info
from restac_ros.policy.chunking import Chunking
from restac_ros.policy.compatibility import check_fit
from restac_ros.policy.policy import Policy
from restac_ros.policy.products import Continuation, PlannedActions, Prefix, Touch
from restac_ros.policy.tokenizer import tokenizer_of
from restac_ros.runtime.policy_parameters import PolicyParameters
from restac_ros.sim.evaluation.settings import CallDurations

_MS = 1e6


@dataclass(frozen=True)
class Attempt:
    """What is particular to one attempt.

    Attributes:
        durations: of the calls.
        pause: lets simulated time go by, ns.
        feel: returns the tactile image that replaces one captured at a time.
        seed: of the chunks' noise.
    """

    durations: CallDurations
    pause: Callable[[int], None]
    feel: Callable[[np.ndarray, int], np.ndarray]
    seed: int


class TimedPolicy(Policy):
    """Computes at once, and returns when the call's duration in simulated time is over."""

    _attempt: Attempt
    _draws: Iterator[int]

    def begin(self, attempt: Attempt) -> None:
        """Start anew: equal attempts give equal results."""
        self._attempt, self._draws = attempt, itertools.count()

    def encode_prefix(
        self, images: Mapping[str, np.ndarray], stamp_ns: int, state: np.ndarray | None = None
    ) -> Prefix:
        """Encode cameras and prompt; shapes as of `Policy.encode_prefix`."""
        prefix = super().encode_prefix(images, stamp_ns, state)
        self._attempt.pause(round(self._attempt.durations.prefix_ms * _MS))
        return prefix

    def encode_tactile(
        self, tactile: np.ndarray, prefix: Prefix, action_prev: np.ndarray, stamp_ns: int
    ) -> Touch:
        """Encode the tactile image that the attempt substitutes; shapes as of `Policy.encode_tactile`."""
        felt = self._attempt.feel(tactile, stamp_ns)
        touch = super().encode_tactile(felt, prefix, action_prev, stamp_ns)
        self._attempt.pause(round(self._attempt.durations.tactile_ms * _MS))
        return touch

    def act(
        self,
        prefix: Prefix,
        touch: Touch | None,
        state: np.ndarray,
        *,
        noise: np.ndarray | None = None,
        seed: int | None = None,
        index: int | None = None,
        continuation: Continuation | None = None,
    ) -> PlannedActions:
        """Plan a chunk with noise of the attempt's seed and the call's number; shapes as of `Policy.act`."""
        seed = self._attempt.seed if seed is None else seed
        index = next(self._draws) if index is None else index
        planned = super().act(
            prefix, touch, state, noise=noise, seed=seed, index=index, continuation=continuation
        )
        self._attempt.pause(round(self._attempt.durations.act_ms * _MS))
        return planned


class OpenPolicies:
    """Policies of one checkpoint at a time: its parameters are read once, each policy is compiled once.

    Args:
        contract: of the cell.
        prompt: the task.
        parameters: those of config/policy.yaml, by name.
    """

    def __init__(self, contract: Contract, prompt: str, parameters: PolicyParameters) -> None:
        self._contract, self._prompt, self._parameters = contract, prompt, parameters
        self._checkpoint: Checkpoint | None = None
        self._by_gate: dict[float | None, TimedPolicy] = {}

    def policy(self, path: Path, gate: float | None) -> TimedPolicy:
        """Return the policy of a checkpoint, its gate where it is put, None: the network's own.

        Raises:
            CheckpointError, NormStatsError, TokenizerError, PolicyError: as on a robot.
        """
        if self._checkpoint is None or self._checkpoint.path != path:
            self._checkpoint = None  # before the next one is read: two may not fit the memory
            self._by_gate.clear()
            info = load_info(path)
            check_fit(info, self._contract, str(path))
            self._checkpoint = Checkpoint.on_device(path, info)
        if gate not in self._by_gate:
            self._by_gate[gate] = self._made(self._checkpoint, gate)
        return self._by_gate[gate]

    def _made(self, checkpoint: Checkpoint, gate: float | None) -> TimedPolicy:
        parameters = self._parameters
        policy = TimedPolicy(
            checkpoint,
            self._contract,
            tokenizer_of(checkpoint.info, checkpoint.path),
            num_steps=parameters.flow_steps or None,  # 0: the checkpoint's own
            chunking=Chunking(parameters.chunking, parameters.rtc_max_guidance),
            forced_gate=gate,
        )
        policy.set_prompt(self._prompt)
        return policy

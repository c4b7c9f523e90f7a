"""The policy a robot runs: three calls at three rates, from a checkpoint and a contract.

    policy = Policy.load(checkpoint, contract, prompt='insert the plug')
    policy.warm_up()
    prefix = policy.encode_prefix(frame.images, stamp_ns)                        # as fast as it finishes
    touch = policy.encode_tactile(image, prefix, frame.action_prev, stamp_ns)    # per tactile frame
    chunk = policy.act(prefix, touch, frame.state)                               # at the replan rate

Nothing here reads a clock, logs or knows ROS; every call returns when its result is ready. The calls may come
from different threads.
"""

import itertools
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Literal, Self

import numpy as np
from jaxtyping import Float, Float32, UInt8

from restac_ros.contract.schema import Contract
from restac_ros.geometry.conventions import POSE_DIM
from restac_ros.model.checkpoint.network import assemble
from restac_ros.model.checkpoint.params import CastRule
from restac_ros.model.checkpoint.store import Checkpoint, StoredParams, load_info
from restac_ros.model.config import ModelConfig
from restac_ros.model.text_decoding import GREEDY, TokenChoice
from restac_ros.policy.arithmetic import arithmetic_of
from restac_ros.policy.chunking import FREELY, Chunking, ContinuationEncoder
from restac_ros.policy.compile_cache import default_cache_directory, enable_compile_cache
from restac_ros.policy.dispatch import make_room_for_calls
from restac_ros.policy.errors import NonFiniteError, PolicyError
from restac_ros.policy.flow_steps import flow_steps_of
from restac_ros.policy.loading import checked_beside, collecting_no_garbage, read_beside
from restac_ros.policy.noise import check_noise, draw_noise
from restac_ros.policy.normalization import NOT_MEASURED
from restac_ros.policy.preprocessing import inputs_of
from restac_ros.policy.products import Continuation, PlannedActions, Prefix, Touch
from restac_ros.policy.prompting import Task
from restac_ros.policy.stages import Stages
from restac_ros.policy.subtask_planner import SubtaskPlanner
from restac_ros.policy.tokenizer import PromptTokenizer, tokenizer_of

_REMEDY = 'hold, and check the checkpoint: its weights or statistics are damaged'


class Policy:
    """A loaded checkpoint under a contract. Made by `Policy.load`.

    Attributes:
        contract: what the robot declares.
        info: the checkpoint's config, origin, calibration and versions.
        stats: normalisation statistics.
        inputs: the road from raw values to what the three calls hand to the network.
        notes: what an operator should know, such as dimensions that never moved.
        arithmetic: how the network computes, and why so.
        tactile_stream: contract stream that `encode_tactile` expects; None for a policy without touch.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        contract: Contract,
        tokenizer: PromptTokenizer,
        *,
        num_steps: int | None = None,
        seed: int = 0,
        chunking: Chunking = FREELY,
        choice: TokenChoice = GREEDY,
        forced_gate: float | None = None,
    ) -> None:
        source = str(checkpoint.path)
        self.contract, self.info = contract, checkpoint.info
        config = self.info.config
        self.inputs = inputs_of(self.info, contract, tokenizer, source)
        longest_delay = chunking.longest_delay(self.info, source)
        steps = flow_steps_of(self.info.origin, num_steps, source)
        chunking.check_steps(steps)
        self.stats, self._prompting, self._tokenizer = self.inputs.stats, self.inputs.prompting, tokenizer
        self.tactile_stream = next(iter(contract.by_role('tactile')), None) if config.uses_touch else None
        self._seed, self._calls, self._choice = seed, itertools.count(), choice
        graph, state = assemble(config, checkpoint.params, source=source)
        slots = tuple(self.inputs.slot_of.values())
        self._continuations = ContinuationEncoder(chunking, self.inputs, longest_delay)
        free = self._continuations(None)
        self._stages = Stages(config, graph, state, slots, steps, free, forced_gate=forced_gate)
        self.arithmetic: str = config.dtype
        self._task: Task | None = None
        self._warm = False

    @classmethod
    @collecting_no_garbage()
    def load(
        cls,
        path: Path,
        contract: Contract,
        prompt: str,
        *,
        tokenizer: Path | None = None,
        dtype: Literal['float32', 'bfloat16', 'auto'] | None = None,
        num_steps: int | None = None,
        seed: int = 0,
        chunking: Chunking = FREELY,
        choice: TokenChoice = GREEDY,
        compile_cache: Path | None = None,
        use_compile_cache: bool = True,
    ) -> Self:
        """Read a checkpoint onto the device. Nothing is compiled for the prompt yet: see `warm_up`.

        Args:
            path: checkpoint directory.
            contract: what the robot declares.
            prompt: the task, in words.
            tokenizer: SentencePiece file; default is the checkpoint's own, else PaliGemma's from the cache.
            dtype: of parameters and arithmetic; default: the checkpoint's; 'auto': the fastest here.
            num_steps: Euler steps of one chunk; None: as the checkpoint was trained.
            seed: of the noise that `act` draws, and of the tokens that `planner` draws.
            chunking: how chunks follow each other.
            choice: how `planner` chooses the tokens of a subtask.
            compile_cache: directory of compiled programs; default under ~/.cache/restac_ros.
            use_compile_cache: False compiles anew at every start.

        Raises:
            CheckpointError: absent, damaged or of another kind; names the file.
            NormStatsError, TokenizerError: of those parts, or of the prompt.
            PolicyError: contract, tokenizer, number of steps or chunking do not fit the checkpoint.
        """
        make_room_for_calls()
        kept_in = compile_cache or default_cache_directory()
        if use_compile_cache:
            enable_compile_cache(kept_in)
        path = Path(path).absolute()
        info = load_info(path, checksums=False)
        # What can be refused without the network is refused here, before gigabytes are read.
        words = tokenizer_of(info, path, tokenizer)
        inputs_of(info, contract, words, str(path)).prompting.task(prompt)
        chunking.longest_delay(info, str(path))
        chunking.check_steps(flow_steps_of(info.origin, num_steps, str(path)))
        arithmetic = arithmetic_of(info, dtype, kept_in)
        cast = CastRule(arithmetic.dtype)
        config = replace(info.config, dtype=arithmetic.dtype)
        with checked_beside(path):
            stored = StoredParams(path, config, cast=cast, integer_products=arithmetic.integer_products)
            checkpoint = Checkpoint(path, replace(info, config=config), stored.shapes)
            policy = cls(
                checkpoint, contract, words, num_steps=num_steps, seed=seed, chunking=chunking, choice=choice
            )
            policy.arithmetic = str(arithmetic)
            policy._read(stored, prompt)
        return policy

    @property
    def config(self) -> ModelConfig:
        """The model's sizes and switches."""
        return self.info.config

    @property
    def continuations(self) -> ContinuationEncoder:
        """Which continuations `act` accepts."""
        return self._continuations

    @property
    def prompt(self) -> str:
        """The current task."""
        return self._current().text

    @property
    def camera_streams(self) -> tuple[str, ...]:
        """Contract streams that `encode_prefix` expects."""
        return tuple(self.inputs.slot_of)

    @property
    def uses_touch(self) -> bool:
        """Whether `encode_tactile` has a place in this policy."""
        return self.config.uses_touch

    @property
    def notes(self) -> list[str]:
        """What an operator should know; empty when there is nothing."""
        notes = self.stats.notes()
        sources = {
            'normalisation statistics': self.stats.source,
            'gate calibration': self.info.calibration.source if self.info.calibration else '',
        }
        notes += [f'{what}: {source}' for what, source in sources.items() if source.startswith(NOT_MEASURED)]
        return notes

    @cached_property
    def planner(self) -> SubtaskPlanner:
        """The same network, asked for subtasks; a PolicyError where it was not trained to generate them."""
        taught = self.info.origin.subtasks
        return SubtaskPlanner(self._stages, self.inputs, self._tokenizer, taught, self._choice, self._seed)

    def set_prompt(self, text: str) -> None:
        """Change the task, from the next `encode_prefix` on: `prepare_task`, then `adopt_task`.

        Raises:
            TokenizerError: an empty text, or one that is too long for the network.
        """
        self.adopt_task(self.prepare_task(text))

    def check_prompt(self, text: str) -> None:
        """Refuse a task that cannot be adopted, in milliseconds.

        Raises:
            TokenizerError: an empty text, or one that is too long for the network.
        """
        self._prompting.task(text)

    def prepare_task(self, text: str, within: str | None = None) -> Task:
        """Return a task that is ready to be adopted; after `warm_up`, what it needs is compiled here.

        Other threads' calls go on with the current task meanwhile. `within`: see `Prompting.task`.

        Raises:
            TokenizerError: an empty text, or one that is too long for the network.
        """
        task = self._prompting.task(text, within)
        if self._warm:
            self._prepare(task)
        return task

    def adopt_task(self, task: Task) -> Task:
        """Follow a prepared task from the next `encode_prefix` on; return it with its revision."""
        self._task = task._replace(revision=self._task.revision + 1) if self._task else task
        return self._task

    def warm_up(self) -> tuple[int, ...]:
        """Compile everything that calls with the current prompt can need, and run each stage once.

        Returns the padded prompt lengths compiled for; afterwards no call compiles.
        """
        self._warm = True
        return self._prepare(self._current())

    def encode_prefix(
        self,
        images: Mapping[str, UInt8[np.ndarray, '224 224 3']],
        stamp_ns: int,
        state: Float[np.ndarray, '7'] | None = None,
    ) -> Prefix:
        """Encode cameras and prompt.

        Args:
            images: valid images by camera stream, RGB, letterboxed. A camera left out is hidden from the
                policy; one with touch needs all of them.
            stamp_ns: capture time of the images; returned with the result.
            state: raw state, needed where the state is part of the prompt.

        Raises:
            ObservationError: a bad or missing input, named.
            NonFiniteError: the network gave NaN or infinity.
        """
        task = self._current()
        arrays = self.inputs.prefix(images, task, state)
        length = arrays[-1].shape[-1]
        hidden = tuple(name for name in self.inputs.slot_of if name not in images)
        self._stages.compile(length)
        result = self._stages.encode_prefix(*arrays)
        if not result.finite:
            raise NonFiniteError(f'encode_prefix: the prefix holds NaN or infinity; {_REMEDY}')
        state_used = np.asarray(state) if self._prompting.holds_state else None
        return Prefix(stamp_ns, task.text, task.revision, length, hidden, state_used, result.cache)

    def encode_tactile(
        self,
        tactile: UInt8[np.ndarray, '128 160 3'],
        prefix: Prefix,
        action_prev: Float[np.ndarray, '7'],
        stamp_ns: int,
    ) -> Touch:
        """Encode one tactile frame and open the gate.

        Args:
            tactile: RGB image of `tactile_stream`, not letterboxed.
            prefix: the latest prefix; its cameras give the expectation.
            action_prev: change of the state over the last period, raw units, never normalised.
            stamp_ns: capture time of the tactile frame; carried through.

        Raises:
            ObservationError: a bad input.
            PolicyError: a policy without touch.
            NonFiniteError: the network gave NaN or infinity.
        """
        view_features = prefix.cache.view_features
        if view_features is None:
            raise PolicyError(f'encode_tactile: this policy has no touch (fusion = {self.config.fusion!r})')
        result = self._stages.encode_tactile(
            self.inputs.tactile(tactile), view_features, self.inputs.action_prev(action_prev)
        )
        host = result.reading
        gate, logvar, standardised, norm = (
            float(value[0])
            for value in (host.gate, host.logvar, host.logvar_standardised, host.residual_norm)
        )
        if not np.isfinite([gate, logvar, standardised]).all() or not np.isfinite(host.q_event).all():
            raise NonFiniteError(
                f'encode_tactile: gate {gate}, logvar {logvar}, or the event code is not finite; {_REMEDY}'
            )
        return Touch(
            stamp_ns=stamp_ns,
            prefix_stamp_ns=prefix.stamp_ns,
            gate=gate,
            logvar=logvar,
            logvar_standardised=standardised,
            code_index=int(host.code_index[0]),
            residual_norm=norm,
            residual_map=None if host.residual_map is None else host.residual_map[0],
            saturated=bool(host.saturated[0]),
            code=result.code,
        )

    def act(
        self,
        prefix: Prefix,
        touch: Touch | None,
        state: Float[np.ndarray, '7'],
        *,
        noise: Float32[np.ndarray, 'T D'] | None = None,
        seed: int | None = None,
        index: int | None = None,
        continuation: Continuation | None = None,
    ) -> PlannedActions:
        """Plan a chunk of actions.

        Args:
            prefix: the latest prefix.
            touch: the latest touch; None for, and only for, a policy without touch.
            state: raw state that the chunk's changes start from.
            noise: where the integration starts; drawn from (seed, index) when not given.
            seed: of the noise; default is the policy's.
            index: number of the draw; default counts the calls. Equal seed and index give equal noise.
            continuation: steps that the running chunk has decided already, relative to `state`; None plans
                freely, as from standing. Not with 'receding_horizon'.

        Raises:
            ObservationError: a bad state.
            PolicyError: a touch, noise or continuation that does not fit.
            NonFiniteError: the network gave NaN or infinity.
        """
        if (touch is None) == self.uses_touch:
            found, expected = ('None', 'a Touch') if self.uses_touch else ('a Touch', 'None')
            raise PolicyError(f'touch: found {found}, expected {expected}: fusion = {self.config.fusion!r}')
        state_vector = self.inputs.state(state)
        drawn: tuple[int, int] | None = None
        if noise is None:
            drawn = (self._seed if seed is None else seed, next(self._calls) if index is None else index)
            noise = draw_noise(self.config, *drawn)
        noise = check_noise(self.config, noise)
        code = touch.code if touch else None
        constraint = self._continuations(continuation)
        actions = self._stages.act(
            prefix.num_tokens, prefix.cache, code, state_vector, noise[None], constraint
        )[0]
        if not np.isfinite(actions).all():
            raise NonFiniteError(f'act: the chunk holds NaN or infinity; {_REMEDY}')
        deltas = self.inputs.deltas_from_actions(actions)
        return PlannedActions(
            delta_pose=deltas[:, :POSE_DIM],
            gripper_opening_m=deltas[:, POSE_DIM],
            state=np.asarray(state),
            prefix_stamp_ns=prefix.stamp_ns,
            touch=touch,
            noise_seed=drawn[0] if drawn else None,
            noise_index=drawn[1] if drawn else None,
            chunking=self._continuations.chunking.kind,
            continued_delay_steps=continuation.delay_steps if continuation else None,
        )

    def _read(self, stored: StoredParams, prompt: str) -> None:
        """Read the parameters onto the device; trace what the prompt needs, which is Python, meanwhile."""
        self.set_prompt(prompt)
        lengths = self._prompting.possible_lengths(self._current())
        params = read_beside(stored, lambda: self._stages.trace(*lengths))
        self._stages.hold(assemble(self.config, params, source=stored.source)[1])

    def _prepare(self, task: Task) -> tuple[int, ...]:
        lengths = self._prompting.possible_lengths(task)
        for length in lengths:
            self._stages.compile(length)
        return lengths

    def _current(self) -> Task:
        if self._task is None:
            raise PolicyError('prompt: none set; call set_prompt first')
        return self._task

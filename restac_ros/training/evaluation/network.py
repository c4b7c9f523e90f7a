"""The network of a checkpoint as the programs that evaluation needs, over batches of one size."""

from copy import copy
from functools import cached_property, partial
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from restac_ros.model import flow_matching
from restac_ros.model.checkpoint.network import assemble
from restac_ros.model.checkpoint.params import Params
from restac_ros.model.checkpoint.store import Checkpoint
from restac_ros.model.config import ModelConfig
from restac_ros.model.gate import ForcedGate
from restac_ros.model.observation import Observation
from restac_ros.model.prefix import PrefixCache
from restac_ros.model.tactile.interface import TactileCode
from restac_ros.model.text_decoding import Saying, begin, say
from restac_ros.policy.flow_steps import USUAL_FLOW_STEPS


class BatchReading(NamedTuple):
    """Outputs of the tactile encoder for a batch of frames, on the host.

    `squared_residual` is the mean square of felt minus expected latent; None for encoders without a prior.
    """

    gate: Float[np.ndarray, ' B']
    logvar: Float[np.ndarray, ' B']
    code_index: np.ndarray
    squared_residual: Float[np.ndarray, ' B'] | None


class EvaluatedNetwork:
    """Compiles each program at its first call; parameters are on the device once.

    Args:
        checkpoint: whose parameters are on the device.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.config: ModelConfig = checkpoint.info.config
        self._flow_steps = checkpoint.info.origin.flow_steps or USUAL_FLOW_STEPS
        self._graph, self._state = assemble(self.config, checkpoint.params, source=str(checkpoint.path))

    def with_params(self, params: Params, source: str) -> Self:
        """Return the same programs, as far as they are compiled, for other parameters."""
        other = copy(self)
        _, other._state = assemble(self.config, params, source=source)
        return other

    def prefix(self, observation: Observation) -> PrefixCache:
        """Encode cameras and prompts of a batch."""
        return self._prefix(self._state, observation.prefix)

    def touch(self, tactile: np.ndarray, cache: PrefixCache, action_prev: np.ndarray) -> TactileCode:
        """Encode tactile images [B, h, w, 3] against the views of the prefix; action_prev [B, 7]."""
        return self._touch(self._state, tactile, cache.view_features, action_prev)

    def read(self, observation: Observation) -> BatchReading:
        """Return gate, uncertainty, code and residual of a batch; the prefix is not run."""
        return BatchReading(*jax.device_get(self._read(self._state, observation)))

    def chunks(
        self,
        cache: PrefixCache,
        code: TactileCode | None,
        state: np.ndarray,
        noise: np.ndarray,
        num_steps: int | None = None,
        gate: float | None = None,
    ) -> Float[np.ndarray, 'B T D']:
        """Sample normalised chunks.

        Args:
            cache, code: of the batch.
            state: normalised, [B, D].
            noise: where the integration starts, [B, T, D].
            num_steps: Euler steps; None: as the checkpoint was trained.
            gate: forced to this; None: the network's own.
        """
        forced = None if gate is None else np.float32(gate)  # an input: one program for all gates
        sample = self._chunks(num_steps or self._flow_steps)
        return np.asarray(sample(self._state, cache, code, state, noise, forced))

    def said(
        self,
        cache: PrefixCache,
        prompt: np.ndarray,
        prompt_mask: np.ndarray,
        allowed: np.ndarray,
        end: int,
        capacity: int,
    ) -> Int[np.ndarray, 'B capacity']:
        """Return the likeliest text behind a batch's prompts; what follows the end is `end` again.

        Args:
            cache: of cameras and prompts.
            prompt, prompt_mask: tokens [B, P], padded on the right.
            allowed: which tokens may be generated, bool [V].
            end: the end-of-sequence token.
            capacity: most tokens, the end included.
        """
        if capacity not in self._saying:
            self._saying[capacity] = jax.jit(partial(self._say, capacity))
        return np.asarray(self._saying[capacity](self._state, cache, prompt, prompt_mask, allowed, end))

    def flow_squares(
        self,
        cache: PrefixCache,
        code: TactileCode | None,
        state: np.ndarray,
        actions: np.ndarray,
        noise: np.ndarray,
        time: float,
    ) -> Float[np.ndarray, 'B T D']:
        """Return squared errors of the velocity at one flow time; actions and noise [B, T, D]."""
        times = np.full(len(actions), time, np.float32)
        return np.asarray(self._flow(self._state, cache, code, state, actions, noise, times))

    def _model(self, state: nnx.State, gate: Float[Array, ''] | None = None) -> Any:
        model = nnx.merge(self._graph, state)
        if gate is not None:
            model.gate = ForcedGate(gate)
        return model

    @cached_property
    def _prefix(self) -> Any:
        return jax.jit(lambda state, prefix: self._model(state).encode_prefix(*prefix))

    @cached_property
    def _touch(self) -> Any:
        return jax.jit(lambda state, *inputs: self._model(state).encode_tactile(*inputs))

    @cached_property
    def _read(self) -> Any:
        def read(state: nnx.State, observation: Observation) -> tuple[Array | None, ...]:
            model = self._model(state)
            code = model.observe_touch(observation)
            reading = model.read_touch(code)
            squares = None
            if code.residual is not None:
                squares = jnp.mean(jnp.square(code.residual), axis=(1, 2, 3))
            return reading.gate[:, 0], code.logvar[:, 0], code.code_index, squares

        return jax.jit(read)

    @cached_property
    def _sampling(self) -> dict[int, Any]:
        return {}

    def _chunks(self, num_steps: int) -> Any:
        if num_steps not in self._sampling:
            self._sampling[num_steps] = jax.jit(partial(self._sample, num_steps))
        return self._sampling[num_steps]

    def _sample(
        self,
        num_steps: int,
        state: nnx.State,
        cache: PrefixCache,
        code: TactileCode | None,
        robot: Array,
        noise: Array,
        gate: Float[Array, ''] | None,
    ) -> Float[Array, 'B T D']:
        model = self._model(state, gate)
        actions, _ = model.sample_actions(cache, code, robot, noise, model.plan_sampling(num_steps))
        return actions.astype(jnp.float32)

    @cached_property
    def _saying(self) -> dict[int, Any]:
        return {}

    def _say(
        self,
        capacity: int,
        state: nnx.State,
        cache: PrefixCache,
        prompt: Array,
        prompt_mask: Array,
        allowed: Array,
        end: Array,
    ) -> Int[Array, 'B capacity']:
        model = self._model(state)
        saying = begin(cache, prompt, prompt_mask, capacity)

        def goes_on(carry: tuple[Saying, Array]) -> Array:
            return ~jnp.all(carry[0].ended) & (carry[0].number < capacity)

        def one_more(carry: tuple[Saying, Array]) -> tuple[Saying, Array]:
            after, said = say(model, cache, carry[0], allowed, end)
            return after, carry[1].at[:, carry[0].number].set(said.token)

        tokens = jnp.full((prompt.shape[0], capacity), end, jnp.int32)
        return jax.lax.while_loop(goes_on, one_more, (saying, tokens))[1]

    @cached_property
    def _flow(self) -> Any:
        def squares(
            state: nnx.State,
            cache: PrefixCache,
            code: TactileCode | None,
            robot: Array,
            actions: Array,
            noise: Array,
            times: Array,
        ) -> Float[Array, 'B T D']:
            model = self._model(state)
            reading = model.correct(model.read_touch(code), cache.prefix_out, cache.mask)
            x_t, target = flow_matching.interpolate(actions, noise, times)
            velocity = model.velocity_field(cache, reading, robot)(x_t, model.time_code(times))
            return jnp.square(velocity.astype(jnp.float32) - target)

        return jax.jit(squares)

"""The three stages of the network as ahead-of-time compiled programs."""

import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float

from restac_ros.model.config import ModelConfig
from restac_ros.model.gate import is_saturated
from restac_ros.model.intermediates import Intermediates
from restac_ros.model.observation import ACTION_PREV_DIM
from restac_ros.model.pi05 import PrefixCache, SamplingPlan
from restac_ros.model.present import present
from restac_ros.model.real_time_chunking import Constraint
from restac_ros.model.tactile.interface import TactileCode
from restac_ros.model.text_decoding import Said, Saying, begin, say

type Leaves = tuple[Array, ...]


class PrefixResult(NamedTuple):
    """Device values of one `encode_prefix`."""

    cache: PrefixCache
    finite: Bool[Array, '']


class TouchResult(NamedTuple):
    """Device values of one `encode_tactile`."""

    code: TactileCode
    gate: Float[Array, ' B']
    logvar: Float[Array, ' B']
    logvar_standardised: Float[Array, ' B']
    residual_norm: Float[Array, ' B']
    residual_map: Float[Array, 'B h w'] | None
    saturated: Bool[Array, ' B']


class Stages:
    """Compiles a stage once for each shape of its inputs, and calls it.

    Parameters and sampling plan are on the device from the start; images travel as uint8. Calls may come from
    several threads; each returns when its result is ready.

    Args:
        config: the model.
        graph, state: the model, split.
        slots: camera slots that images will be given for.
        num_steps: Euler steps of one chunk.
        constraint: one like those that `act` will be given; None: chunks are planned freely.
    """

    def __init__(
        self,
        config: ModelConfig,
        graph: nnx.GraphDef,
        state: nnx.State,
        slots: tuple[str, ...],
        num_steps: int,
        constraint: Constraint | None = None,
    ) -> None:
        self._config, self._slots, self._graph = config, slots, graph
        self._constraint_shapes = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), constraint
        )
        # As a flat tuple, which JAX flattens an order of magnitude faster than nested states.
        leaves, self._tree = jax.tree.flatten(state)
        self._leaves = tuple(leaves)
        self._programs: dict[tuple[str, int], Callable[..., Any]] = {}
        self._compiling = threading.Lock()
        plan = jax.jit(lambda leaves: self._model(leaves).plan_sampling(num_steps))
        self._plan: SamplingPlan = jax.block_until_ready(plan(self._leaves))

    def is_compiled(self, num_tokens: int) -> bool:
        """Whether chunks can be planned with prompts padded to this length without compiling."""
        return ('act', num_tokens) in self._programs

    def compile(self, num_tokens: int) -> None:
        """Compile all stages for prompts padded to `num_tokens`."""
        if self.is_compiled(num_tokens):  # without waiting for another length that is being compiled
            return
        with self._compiling:
            if self.is_compiled(num_tokens):
                return
            cache = self._compile_prefix(num_tokens)
            touch = None
            if self._config.uses_touch:
                tactile = jax.jit(self._touch).lower(self._leaves, *self._touch_shapes(cache))
                touch = tactile.out_info.code
                if ('touch', 0) not in self._programs:
                    self._programs['touch', 0] = tactile.compile()
            inputs = (cache, touch, *self._act_shapes(), self._plan, self._constraint_shapes)
            act = jax.jit(self._act).lower(self._leaves, *inputs)
            self._programs['act', num_tokens] = act.compile()

    def compile_saying(self, num_tokens: int, capacity: int, end: int) -> None:
        """Compile what says a text of at most `capacity` tokens after prompts padded to `num_tokens`.

        `end` is the end-of-sequence token. Both are the same at every call.
        """
        if ('say', num_tokens) in self._programs:
            return
        with self._compiling:
            cache = self._compile_prefix(num_tokens)
            _, _, tokens, mask = self._prefix_shapes(num_tokens)
            begun = jax.jit(partial(begin, capacity=capacity)).lower(cache, tokens, mask)
            sayable = jax.ShapeDtypeStruct((self._config.vocab_size,), jnp.bool_)
            said = jax.jit(partial(self._say, end=end), donate_argnums=2)
            spoken = said.lower(self._leaves, cache, begun.out_info, sayable)
            self._programs['begin', num_tokens] = begun.compile()
            self._programs['say', num_tokens] = spoken.compile()

    def begin_saying(self, cache: PrefixCache, tokens: np.ndarray, token_mask: np.ndarray) -> Saying:
        """Return where a text begins after the prompt of this cache."""
        return self._programs['begin', tokens.shape[1]](cache, tokens, token_mask)

    def say(
        self, num_tokens: int, cache: PrefixCache, saying: Saying, sayable: np.ndarray
    ) -> tuple[Saying, Said]:
        """Say the likeliest next token; `saying` must not be used again."""
        program = self._programs['say', num_tokens]
        return jax.block_until_ready(program(self._leaves, cache, saying, sayable))

    def encode_prefix(
        self,
        images: Mapping[str, np.ndarray],
        image_masks: Mapping[str, np.ndarray],
        tokens: np.ndarray,
        token_mask: np.ndarray,
    ) -> PrefixResult:
        """Cameras and prompt; the prompt's padded length must have been compiled."""
        program = self._programs['prefix', tokens.shape[1]]
        result = program(self._leaves, dict(images), dict(image_masks), tokens, token_mask)
        return jax.block_until_ready(result)

    def encode_tactile(
        self, tactile: np.ndarray, view_features: jax.Array, action_prev: np.ndarray
    ) -> TouchResult:
        """One tactile frame."""
        program = self._programs['touch', 0]
        return jax.block_until_ready(program(self._leaves, tactile, view_features, action_prev))

    def act(
        self,
        num_tokens: int,
        cache: PrefixCache,
        touch: TactileCode | None,
        state: np.ndarray,
        noise: np.ndarray,
        constraint: Constraint | None = None,
    ) -> np.ndarray:
        """Normalised actions [1, T, D], on the host; `constraint` as the stages were made for."""
        program = self._programs['act', num_tokens]
        return np.asarray(program(self._leaves, cache, touch, state, noise, self._plan, constraint))

    def _compile_prefix(self, num_tokens: int) -> PrefixCache:
        """Compile the prefix, unless it is; return the shapes of its cache."""
        prefix = jax.jit(self._prefix).lower(self._leaves, *self._prefix_shapes(num_tokens))
        if ('prefix', num_tokens) not in self._programs:
            self._programs['prefix', num_tokens] = prefix.compile()
        cache: PrefixCache = prefix.out_info.cache
        return cache

    # The stages as functions of (parameters, inputs).

    def _model(self, leaves: Leaves) -> Any:
        return nnx.merge(self._graph, jax.tree.unflatten(self._tree, leaves))

    def _prefix(
        self, leaves: Leaves, images: dict, image_masks: dict, tokens: Array, token_mask: Array
    ) -> PrefixResult:
        model = self._model(leaves)
        cache = model.encode_prefix(images, image_masks, tokens, token_mask)
        # Whatever went wrong earlier has reached the last layer.
        finite = jnp.isfinite(cache.values[-1]).all() & jnp.isfinite(cache.keys[-1]).all()
        if cache.view_features is not None:
            finite &= jnp.isfinite(cache.view_features).all()
        if self._config.fusion != 'forcevla':
            cache = cache._replace(prefix_out=None)
        return PrefixResult(cache, finite)

    def _say(
        self, leaves: Leaves, cache: PrefixCache, saying: Saying, sayable: Array, *, end: int
    ) -> tuple[Saying, Said]:
        return say(self._model(leaves), cache, saying, sayable, end)

    def _touch(self, leaves: Leaves, tactile: Array, view_features: Array, action_prev: Array) -> TouchResult:
        model = self._model(leaves)
        code = model.encode_tactile(tactile, view_features, action_prev)
        reading: Intermediates = model.read_touch(code)
        residual_map, residual_norm = residual_norms(code.residual)
        # The expert reads the code alone; of the latents only where they differ is shown to people.
        slim = code._replace(prior=None, z_real=None, residual=None)
        return TouchResult(
            slim,
            reading.gate[:, 0],
            reading.logvar[:, 0],
            reading.logvar_standardised[:, 0],
            residual_norm,
            residual_map,
            is_saturated(reading.gate)[:, 0],
        )

    def _act(
        self,
        leaves: Leaves,
        cache: PrefixCache,
        touch: TactileCode | None,
        state: Array,
        noise: Array,
        plan: SamplingPlan,
        constraint: Constraint | None,
    ) -> Float[Array, '1 T D']:
        model = self._model(leaves)
        actions, _ = model.sample_actions(cache, touch, state, noise, plan, constraint)
        return actions.astype(jnp.float32)

    # Their shapes.

    def _prefix_shapes(self, num_tokens: int) -> tuple:
        size = self._config.image_size
        images = {slot: jax.ShapeDtypeStruct((1, size, size, 3), jnp.uint8) for slot in self._slots}
        masks = {slot: jax.ShapeDtypeStruct((1,), jnp.bool_) for slot in self._slots}
        tokens = jax.ShapeDtypeStruct((1, num_tokens), jnp.int32)
        return images, masks, tokens, jax.ShapeDtypeStruct((1, num_tokens), jnp.bool_)

    def _touch_shapes(self, cache: PrefixCache) -> tuple:
        tactile = jax.ShapeDtypeStruct((1, *self._config.tactile_shape), jnp.uint8)
        made = present(cache.view_features, 'view_features')
        features = jax.ShapeDtypeStruct(made.shape, made.dtype)
        return tactile, features, jax.ShapeDtypeStruct((1, ACTION_PREV_DIM), jnp.float32)

    def _act_shapes(self) -> tuple:
        state = jax.ShapeDtypeStruct((1, self._config.action_dim), jnp.float32)
        noise = jax.ShapeDtypeStruct((1, self._config.action_horizon, self._config.action_dim), jnp.float32)
        return state, noise


def residual_norms(
    residual: Float[Array, 'B 3 h w'] | None,
) -> tuple[Float[Array, 'B h w'] | None, Float[Array, ' B']]:
    """L2 norms of felt minus expected: of each latent position, and of all. None and NaN without a prior."""
    if residual is None:
        return None, jnp.full(1, jnp.nan)
    squares = jnp.sum(jnp.square(residual), axis=1)
    return jnp.sqrt(squares), jnp.sqrt(jnp.sum(squares, axis=(1, 2)))

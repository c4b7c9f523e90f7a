"""The three stages of the network as ahead-of-time compiled programs.

What a stage needs of the host crosses to the device as one buffer, and what the host needs of it comes back
as one. On an accelerator, which works off its queue in order, a prefix is cut into slices and the next is
queued when the last has ended, so that a tactile frame or a chunk waits for a slice at most; the Euler steps
of a chunk are one graph without a loop.
"""

import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from restac_ros.model.config import ModelConfig
from restac_ros.model.gate import ForcedGate, is_saturated
from restac_ros.model.intermediates import Intermediates
from restac_ros.model.layers import layers_apart
from restac_ros.model.observation import ACTION_PREV_DIM
from restac_ros.model.pi05 import SamplingPlan
from restac_ros.model.prefix import PrefixCache, PrefixCarry, finish_prefix
from restac_ros.model.real_time_chunking import Constraint
from restac_ros.model.tactile.interface import TactileCode
from restac_ros.model.text_decoding import GREEDY, Said, Saying, TokenChoice, begin, say
from restac_ros.policy.packing import Packing

type Leaves = tuple[Array, ...]

ACCELERATOR_SLICES = 4
"""Parts of a prefix on an accelerator: the cameras, and layers in three parts."""

ACCELERATOR_WARM_UPS = 3
"""Calls before a program runs at its speed: the first is plain, the second records it, the third updates."""


class PrefixResult(NamedTuple):
    """Device values of one `encode_prefix`, and whether they are finite."""

    cache: PrefixCache
    finite: bool


class TouchOnHost[A: (np.ndarray, Array)](NamedTuple):
    """What people and messages read of one `encode_tactile`; A is `np.ndarray` on the host."""

    gate: Float[A, ' B']
    logvar: Float[A, ' B']
    logvar_standardised: Float[A, ' B']
    residual_norm: Float[A, ' B']
    residual_map: Float[A, 'B h w'] | None
    saturated: Bool[A, ' B']
    code_index: Int[A, ' B']
    q_event: Float[A, 'B E']


class TouchResult(NamedTuple):
    """One `encode_tactile`: the code on the device, and the rest on the host."""

    code: TactileCode
    reading: TouchOnHost[np.ndarray]


class Stages:
    """Compiles a stage once for each shape of its inputs, and calls it.

    Parameters and sampling plan are on the device from the start; images travel as uint8. Calls may come from
    several threads; each returns when its result is ready.

    Args:
        config: the model.
        graph, state: the model, split; where the state holds shapes alone, `hold` comes before any call.
        slots: camera slots that images will be given for.
        num_steps: Euler steps of one chunk.
        constraint: one like those that `act` will be given; None: chunks are planned freely.
        slices: parts of a prefix; None: one on the CPU, whose calls share its cores anyway.
        forced_gate: value at which the gate stands, for ablations; None: the network's own.
    """

    def __init__(
        self,
        config: ModelConfig,
        graph: nnx.GraphDef,
        state: nnx.State,
        slots: tuple[str, ...],
        num_steps: int,
        constraint: Constraint | None = None,
        slices: int | None = None,
        forced_gate: float | None = None,
    ) -> None:
        self._config, self._slots, self._graph, self._constraint = config, slots, graph, constraint
        self._forced_gate = forced_gate
        # As a flat tuple, which JAX flattens an order of magnitude faster than nested states.
        leaves, self._tree = jax.tree.flatten(state)
        self._shapes = tuple(jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves)
        self._leaves: Leaves = ()
        self._traced: dict[tuple[str, int], jax.stages.Lowered] = {}
        self._programs: dict[tuple[str, int], Callable[..., Any]] = {}
        self._packings: dict[tuple[str, int], Packing] = {}
        self._cache_shapes: dict[int, PrefixCache] = {}
        self._code_shapes: TactileCode | None = None
        self._apart: Leaves = ()
        self._compiling = threading.Lock()
        self._on_accelerator = jax.default_backend() != 'cpu'
        wanted = slices or (ACCELERATOR_SLICES if self._on_accelerator else 1)
        depth = config.paligemma.depth
        parts = min(max(2, wanted), depth + 1)  # the cameras, and a layer in each part at least
        self._bounds = np.linspace(0, depth, parts).round().astype(int).tolist()
        self._sliced = wanted > 1
        plan = jax.jit(lambda leaves: self._model(leaves).plan_sampling(num_steps))
        self._planning = plan.lower(self._shapes)
        if not any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in leaves):
            self.hold(state)

    def hold(self, state: nnx.State) -> None:
        """Take the parameters, in place of the shapes that the stages were made for, and plan with them."""
        leaves = tuple(jax.tree.leaves(state))
        self._plan: SamplingPlan = jax.block_until_ready(self._planning.compile()(leaves))
        self._leaves = leaves

    def is_compiled(self, num_tokens: int) -> bool:
        """Whether chunks can be planned with prompts padded to this length without compiling."""
        return ('act', num_tokens) in self._programs

    def trace(self, *lengths: int) -> None:
        """Do of `compile` what needs no parameters: the longer part where compiled programs are kept."""
        with self._compiling:
            for num_tokens in lengths:
                if not self.is_compiled(num_tokens):
                    self._trace(num_tokens)

    def compile(self, num_tokens: int) -> None:
        """Compile all stages for prompts padded to `num_tokens`, and call each until it is warm."""
        if self.is_compiled(num_tokens):  # without waiting for another length that is being compiled
            return
        with self._compiling:
            if not self.is_compiled(num_tokens):
                self._trace(num_tokens)
                self._compile_inputs(num_tokens)
                act = self._traced['act', num_tokens].compile()
                del self._traced['act', num_tokens]
                for _ in range(ACCELERATOR_WARM_UPS if self._on_accelerator else 1):
                    self._rehearse(num_tokens, act)
                self._programs['act', num_tokens] = act  # last: only now is the length ready

    def compile_saying(self, num_tokens: int, capacity: int, end: int, choice: TokenChoice = GREEDY) -> None:
        """Compile what generates a text of at most `capacity` tokens after prompts padded to `num_tokens`.

        `end` is the end-of-sequence token, `choice` how tokens are chosen. All are the same at every call.
        """
        if ('say', num_tokens) in self._programs:
            return
        with self._compiling:
            cache = self._trace_prefix(num_tokens)
            self._compile_inputs(num_tokens)
            *_, tokens, mask = self._blank_prefix(num_tokens)
            begun = jax.jit(partial(begin, capacity=capacity)).lower(cache, tokens, mask)
            sayable = jax.ShapeDtypeStruct((self._config.vocab_size,), jnp.bool_)
            if not self._apart and not self._on_accelerator:
                layers = self._model(self._leaves).PaliGemma.llm.layers
                apart, self._apart_tree = jax.tree.flatten(layers_apart(layers, self._config.paligemma.depth))
                self._apart = tuple(apart)
            said = jax.jit(partial(self._say, end=end, choice=choice), donate_argnums=2)
            key = jax.random.key(0)
            spoken = said.lower(self._shapes, cache, begun.out_info, sayable, self._apart, key)
            begin_program, say_program = begun.compile(), spoken.compile()
            for _ in range(ACCELERATOR_WARM_UPS if self._on_accelerator else 1):
                self._rehearse_saying(num_tokens, begin_program, say_program)
            self._programs['begin', num_tokens] = begin_program
            self._programs['say', num_tokens] = say_program

    def begin_saying(self, cache: PrefixCache, tokens: np.ndarray, token_mask: np.ndarray) -> Saying:
        """Return where a text begins after the prompt of this cache; tokens int32, token_mask bool [1, P]."""
        return self._programs['begin', tokens.shape[1]](cache, tokens, token_mask)

    def say(
        self, num_tokens: int, cache: PrefixCache, saying: Saying, sayable: np.ndarray, key: PRNGKeyArray
    ) -> tuple[Saying, Said]:
        """Generate the next token of those in `sayable`, bool [V]; do not use `saying` again.

        `key` is of the text: of what is drawn.
        """
        program = self._programs['say', num_tokens]
        return jax.block_until_ready(program(self._leaves, cache, saying, sayable, self._apart, key))

    def encode_prefix(
        self,
        images: Mapping[str, np.ndarray],
        image_masks: Mapping[str, np.ndarray],
        tokens: np.ndarray,
        token_mask: np.ndarray,
    ) -> PrefixResult:
        """Encode cameras, uint8 [1, H, W, 3] and bool [1] by slot, and a prompt [1, P], P compiled."""
        length = tokens.shape[1]
        packing = self._packings['prefix', length]
        carry = packing.pack((dict(images), dict(image_masks), tokens, token_mask))
        for number in range(self._num_slices):
            carry = jax.block_until_ready(self._programs[f'prefix {number}', length](self._leaves, carry))
        cache, finite = carry
        return PrefixResult(cache, bool(finite))

    def encode_tactile(
        self, tactile: np.ndarray, view_features: jax.Array, action_prev: np.ndarray
    ) -> TouchResult:
        """Encode one tactile frame, uint8 [1, h, w, 3], with the previous action, float32 [1, 7]."""
        buffer = self._packings['touch', 0].pack((tactile, action_prev))
        code, packed = self._programs['touch', 0](self._leaves, buffer, view_features)
        return TouchResult(code, self._packings['reading', 0].unpack(np.asarray(packed)))

    def act(
        self,
        num_tokens: int,
        cache: PrefixCache,
        touch: TactileCode | None,
        state: np.ndarray,
        noise: np.ndarray,
        constraint: Constraint | None = None,
    ) -> np.ndarray:
        """Return normalised actions [1, T, D] on the host, from noise [1, T, D] and normalised state [1, D].

        `constraint` is of the kind that the stages were made for.
        """
        program = self._programs['act', num_tokens]
        buffer = self._packings['act', 0].pack((state, noise, constraint))
        return np.asarray(program(self._leaves, cache, touch, buffer, self._plan))

    @property
    def _num_slices(self) -> int:
        return len(self._bounds) if self._sliced else 1

    # Compiling.

    def _trace(self, num_tokens: int) -> None:
        """Trace all stages, unless they are."""
        cache, touch = self._trace_prefix(num_tokens), None
        if self._config.uses_touch:
            touch = self._trace_touch(cache)
        if ('act', num_tokens) not in self._traced:
            noise = np.zeros((1, self._config.action_horizon, self._config.action_dim), np.float32)
            self._packings['act', 0] = packing = Packing((self._blank_state, noise, self._constraint))
            self._traced['act', num_tokens] = jax.jit(self._act).lower(
                self._shapes, cache, touch, packing.abstract, self._planning.out_info
            )

    def _trace_prefix(self, num_tokens: int) -> PrefixCache:
        """Trace the prefix, unless it is; return the shapes of its cache."""
        if num_tokens not in self._cache_shapes:
            self._packings['prefix', num_tokens] = packing = Packing(self._blank_prefix(num_tokens))
            carry: Any = packing.abstract
            for number in range(self._num_slices):
                # The first is given a host's buffer, and the last joins what it is given.
                donated = (1,) if 0 < number < self._num_slices - 1 else ()
                sliced = jax.jit(self._prefix_slice(number, packing), donate_argnums=donated)
                self._traced[f'prefix {number}', num_tokens] = traced = sliced.lower(self._shapes, carry)
                carry = traced.out_info
            self._cache_shapes[num_tokens] = carry[0]
        return self._cache_shapes[num_tokens]

    def _trace_touch(self, cache: PrefixCache) -> TactileCode:
        """Trace the tactile stage, unless it is; return its code's shapes."""
        if self._code_shapes is None:
            self._packings['touch', 0] = packing = Packing(self._blank_touch)
            traced = jax.jit(self._touch).lower(self._shapes, packing.abstract, cache.view_features)
            self._traced['touch', 0], self._code_shapes = traced, traced.out_info[0]
        return self._code_shapes

    def _compile_inputs(self, num_tokens: int) -> None:
        """Compile what was traced of prefix and touch."""
        for name, length in [key for key in self._traced if key[0] != 'act' and key[1] in (0, num_tokens)]:
            self._programs[name, length] = self._traced[name, length].compile()
            del self._traced[name, length]  # only now: a compilation that failed is tried again

    def _rehearse(self, num_tokens: int, act: Callable[..., Any]) -> None:
        """Run every stage once on blank inputs, so that first-call costs are paid; nothing is kept."""
        cache = self.encode_prefix(*self._blank_prefix(num_tokens)).cache
        code = None
        if cache.view_features is not None:
            tactile, action_prev = self._blank_touch
            code = self.encode_tactile(tactile, cache.view_features, action_prev).code
        noise = np.zeros((1, self._config.action_horizon, self._config.action_dim), np.float32)
        buffer = self._packings['act', 0].pack((self._blank_state, noise, self._constraint))
        jax.block_until_ready(act(self._leaves, cache, code, buffer, self._plan))

    def _rehearse_saying(self, num_tokens: int, begin: Callable[..., Any], say: Callable[..., Any]) -> None:
        """Say one token after a blank question, as `_rehearse` does for the rest."""
        _, _, tokens, mask = blank = self._blank_prefix(num_tokens)
        cache = self.encode_prefix(*blank).cache
        sayable = np.ones(self._config.vocab_size, bool)
        saying = begin(cache, tokens, mask)
        jax.block_until_ready(say(self._leaves, cache, saying, sayable, self._apart, jax.random.key(0)))

    def _blank_prefix(self, num_tokens: int) -> tuple[dict, dict, np.ndarray, np.ndarray]:
        side = self._config.image_size
        images = dict.fromkeys(self._slots, np.zeros((1, side, side, 3), np.uint8))
        masks = dict.fromkeys(self._slots, np.ones(1, bool))
        return images, masks, np.zeros((1, num_tokens), np.int32), np.arange(num_tokens)[None] < 1

    @property
    def _blank_touch(self) -> tuple[np.ndarray, np.ndarray]:
        shape = (1, *self._config.tactile_shape)
        return np.zeros(shape, np.uint8), np.zeros((1, ACTION_PREV_DIM), np.float32)

    @property
    def _blank_state(self) -> np.ndarray:
        return np.zeros((1, self._config.action_dim), np.float32)

    # The stages as functions of (parameters, inputs).

    def _model(self, leaves: Leaves) -> Any:
        model = nnx.merge(self._graph, jax.tree.unflatten(self._tree, leaves))
        if self._forced_gate is not None:
            model.gate = ForcedGate(self._forced_gate)
        return model

    def _prefix_slice(self, number: int, packing: Packing) -> Callable[[Leaves, Any], Any]:
        """One slice: the first begins with the buffer, the last ends with the cache."""

        def run(leaves: Leaves, given: Any) -> Any:
            model = self._model(leaves)
            carry: PrefixCarry = given
            if number == 0:
                carry = model.begin_prefix(*packing.unpack_on_device(given))
            if not self._sliced:
                carry = model.extend_prefix(carry, *self._bounds)
            elif number > 0:
                carry = model.extend_prefix(carry, self._bounds[number - 1], self._bounds[number])
            return self._finished(carry) if number == self._num_slices - 1 else carry

        return run

    def _finished(self, carry: PrefixCarry) -> tuple[PrefixCache, Array]:
        cache = finish_prefix(carry)
        # Whatever went wrong earlier has reached the last layer.
        finite = jnp.isfinite(cache.values[-1]).all() & jnp.isfinite(cache.keys[-1]).all()
        if cache.view_features is not None:
            finite &= jnp.isfinite(cache.view_features).all()
        if self._config.fusion != 'forcevla':
            cache = cache._replace(prefix_out=None)
        return cache, finite

    def _say(
        self,
        leaves: Leaves,
        cache: PrefixCache,
        saying: Saying,
        sayable: Array,
        apart: Leaves,
        key: PRNGKeyArray,
        *,
        end: int,
        choice: TokenChoice,
    ) -> tuple[Saying, Said]:
        layers = jax.tree.unflatten(self._apart_tree, apart) if apart else None
        return say(self._model(leaves), cache, saying, sayable, end, choice, key, layers)

    def _touch(self, leaves: Leaves, buffer: Array, view_features: Array) -> tuple[TactileCode, Array]:
        model = self._model(leaves)
        tactile, action_prev = self._packings['touch', 0].unpack_on_device(buffer)
        code = model.encode_tactile(tactile, view_features, action_prev)
        read: Intermediates = model.read_touch(code)
        residual_map, residual_norm = residual_norms(code.residual)
        reading = TouchOnHost(
            gate=read.gate[:, 0],
            logvar=read.logvar[:, 0],
            logvar_standardised=read.logvar_standardised[:, 0],
            residual_norm=residual_norm,
            residual_map=residual_map,
            saturated=is_saturated(read.gate)[:, 0],
            code_index=code.code_index,
            q_event=code.q_event,
        )
        self._packings['reading', 0] = packing = Packing(reading)  # known while tracing, before any call
        # The expert reads the code alone; of the latents only where they differ is shown to people.
        slim = code._replace(prior=None, z_real=None, residual=None)
        return slim, packing.pack_on_device(reading)

    def _act(
        self, leaves: Leaves, cache: PrefixCache, touch: TactileCode | None, buffer: Array, plan: SamplingPlan
    ) -> Float[Array, '1 T D']:
        state, noise, constraint = self._packings['act', 0].unpack_on_device(buffer)
        actions, _ = self._model(leaves).sample_actions(
            cache, touch, state, noise, plan, constraint, unroll=self._on_accelerator
        )
        return actions.astype(jnp.float32)


def residual_norms(
    residual: Float[Array, 'B 3 h w'] | None,
) -> tuple[Float[Array, 'B h w'] | None, Float[Array, ' B']]:
    """L2 norms of felt minus expected: of each latent position, and of all. None and NaN without a prior."""
    if residual is None:
        return None, jnp.full(1, jnp.nan)
    squares = jnp.sum(jnp.square(residual), axis=1)
    return jnp.sqrt(squares), jnp.sqrt(jnp.sum(squares, axis=(1, 2)))

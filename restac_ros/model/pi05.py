"""pi0.5 (arXiv 2504.16054): a vision-language prefix, and an action expert that denoises a chunk of actions.

Inference is two calls at two rates: `encode_prefix` for cameras and prompt, `sample_actions` for a chunk.
Training is one pass over prefix and suffix together, `run_jointly`. Both give the same velocity.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, UInt8

from restac_ros.model import flow_matching
from restac_ros.model import real_time_chunking as rtc
from restac_ros.model.attention import joint_layout
from restac_ros.model.config import ModelConfig
from restac_ros.model.decoder import ExpertLayer, bind_prefix, decode, expert_layer
from restac_ros.model.gemma import KeysValues, Modulation
from restac_ros.model.intermediates import Intermediates
from restac_ros.model.joint_pass import ALONE, Beside, JointPass, TextTarget, no_target, target_readers
from restac_ros.model.layers import layer_at
from restac_ros.model.observation import CAMERA_SLOTS, Observation, pixels_to_float
from restac_ros.model.paligemma import PaliGemma
from restac_ros.model.prefix import PrefixCache, PrefixCarry, extend_prefix, finish_prefix
from restac_ros.model.tactile.interface import TactileCode
from restac_ros.model.touch_hooks import WithoutTouch


class TimeCode(NamedTuple):
    """What the action expert knows of N flow times; axes B and T in place of N: one of each suffix token."""

    embedding: Float[Array, 'N W']  # sines and cosines; pi0 concatenates them to the action tokens
    modulation: Modulation  # pi0.5's adaRMS


class SamplingPlan(NamedTuple):
    """Everything in sampling that depends on the parameters and the number of Euler steps only."""

    times: Float[Array, ' n']
    code: TimeCode
    clean: TimeCode  # flow time 0, of actions that are decided already; N = 1
    expert: tuple[ExpertLayer, ...]


type VelocityField = Callable[[Float[Array, 'B T D'], TimeCode], Float[Array, 'B T D']]
"""(x_t, flow time) -> velocity; the time code has N = batch, or 1 for all samples."""


class Pi05(WithoutTouch, nnx.Module):
    """The base policy; with `time_conditioning = 'concat'` it is pi0.

    `reads_prefix_out` marks that a fusion reads expert 0's final tokens, which inference otherwise skips.
    Subclasses add touch by overriding `WithoutTouch`, `suffix_context` and `readout`.
    """

    reads_prefix_out = False

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs) -> None:
        self.config = config
        width = config.action_expert.width
        self.PaliGemma = PaliGemma(config, rngs=rngs)
        self.action_in_proj = nnx.Linear(config.action_dim, width, rngs=rngs)
        if config.time_conditioning == 'adarms':
            self.time_mlp_in = nnx.Linear(width, width, rngs=rngs)
            self.time_mlp_out = nnx.Linear(width, width, rngs=rngs)
        else:
            self.state_proj = nnx.Linear(config.action_dim, width, rngs=rngs)
            self.action_time_mlp_in = nnx.Linear(2 * width, width, rngs=rngs)
            self.action_time_mlp_out = nnx.Linear(width, width, rngs=rngs)
        self.action_out_proj = nnx.Linear(width, config.action_dim, rngs=rngs)

    # Prefix: cameras, then prompt.

    def embed_prefix(
        self,
        images: dict[str, Float[Array, 'B H W 3'] | UInt8[Array, 'B H W 3']],
        image_masks: dict[str, Bool[Array, ' B']],
        tokens: Int[Array, 'B T'],
        token_mask: Bool[Array, 'B T'],
    ) -> tuple[Float[Array, 'B S W'], Bool[Array, 'B S']]:
        """Prefix tokens and their validity; cameras in the order of CAMERA_SLOTS, absent ones left out."""
        slots = [slot for slot in CAMERA_SLOTS if slot in images]
        pixels = jnp.stack([pixels_to_float(images[slot]) for slot in slots], axis=1)
        batch, num_cameras = pixels.shape[:2]
        image_tokens = self.PaliGemma.img(pixels.reshape(-1, *pixels.shape[2:]))
        image_tokens = image_tokens.reshape(batch, -1, image_tokens.shape[-1])
        camera_mask = jnp.stack([image_masks[slot] for slot in slots], axis=1)
        image_mask = jnp.repeat(camera_mask, image_tokens.shape[1] // num_cameras, axis=1)
        prefix = jnp.concatenate([image_tokens, self.PaliGemma.llm.embed(tokens)], axis=1)
        return prefix, jnp.concatenate([image_mask, token_mask], axis=1)

    def encode_prefix(
        self,
        images: dict[str, Float[Array, 'B H W 3'] | UInt8[Array, 'B H W 3']],
        image_masks: dict[str, Bool[Array, ' B']],
        tokens: Int[Array, 'B T'],
        token_mask: Bool[Array, 'B T'],
    ) -> PrefixCache:
        """Run expert 0 over cameras and prompt, once per camera frame.

        Arguments are `Observation`'s fields. The prompt may be cut to any length that holds its valid tokens.
        """
        carry = self.begin_prefix(images, image_masks, tokens, token_mask)
        return finish_prefix(self.extend_prefix(carry, 0, self.PaliGemma.llm.depth))

    def begin_prefix(
        self,
        images: dict[str, Float[Array, 'B H W 3'] | UInt8[Array, 'B H W 3']],
        image_masks: dict[str, Bool[Array, ' B']],
        tokens: Int[Array, 'B T'],
        token_mask: Bool[Array, 'B T'],
    ) -> PrefixCarry:
        """Return a prefix before expert 0's layers; arguments as of `encode_prefix`."""
        prefix, mask = self.embed_prefix(images, image_masks, tokens, token_mask)
        return PrefixCarry(prefix, mask, self.encode_views(images), ())

    def extend_prefix(self, carry: PrefixCarry, first: int, last: int) -> PrefixCarry:
        """Run expert 0's layers `first` to `last` (exclusive)."""
        legacy = self.config.legacy_unmasked_fusion
        llm, with_output = self.PaliGemma.llm, self.reads_prefix_out
        return extend_prefix(llm, carry, first, last, legacy_unmasked=legacy, with_output=with_output)

    # Suffix: touch and state, then noisy actions.

    def time_code(self, time: Float[Array, ' N'] | Float[Array, 'B T']) -> TimeCode:
        """Encode flow times for the action expert."""
        embedding = flow_matching.time_embedding(time.reshape(-1), self.config.action_expert.width)
        condition = embedding
        if self.config.time_conditioning == 'adarms':
            condition = nnx.swish(self.time_mlp_out(nnx.swish(self.time_mlp_in(embedding))))
        code = TimeCode(embedding, self.PaliGemma.llm.modulate(condition))
        return jax.tree.map(lambda leaf: leaf.reshape(*time.shape, *leaf.shape[1:]), code)

    def plan_sampling(self, num_steps: int = 10) -> SamplingPlan:
        """Time embeddings and modulations of `num_steps` Euler steps, and the expert's weights arranged.

        Once per checkpoint. It takes as much memory again as the action expert, in the compute dtype.

        Raises:
            ValueError: fewer than one step.
        """
        times = flow_matching.euler_times(num_steps)
        clean = self.time_code(jnp.zeros(1))
        return SamplingPlan(times, self.time_code(times), clean, self._expert_layers())

    def _expert_layers(self) -> tuple[ExpertLayer, ...]:
        llm = self.PaliGemma.llm
        return tuple(expert_layer(layer_at(llm.layers, index), llm.dtype) for index in range(llm.depth))

    def embed_suffix(
        self,
        state: Float[Array, 'B D'],
        x_t: Float[Array, 'B T D'],
        code: TimeCode,
        reading: Intermediates | None,
    ) -> tuple[Float[Array, 'B S W'], Bool[Array, ' S']]:
        """Suffix tokens, and where each opens an attention block.

        Context tokens (touch, state) each have their own block, so none of them reads the noisy actions.
        """
        context = self.suffix_context(state, reading)
        suffix = jnp.concatenate([*context, self._embed_actions(x_t, code)], axis=1)
        return suffix, self._opens_block(len(context))

    def _opens_block(self, num_context: int) -> Bool[Array, ' S']:
        return jnp.arange(num_context + self.config.action_horizon) <= num_context

    def _embed_actions(self, x_t: Float[Array, 'B T D'], code: TimeCode) -> Float[Array, 'B T W']:
        actions = self.action_in_proj(x_t)
        if self.config.time_conditioning == 'adarms':
            return actions
        embedding = code.embedding
        by_token = embedding[:, None, :] if embedding.ndim == 2 else embedding[:, -actions.shape[1] :]
        time = jnp.broadcast_to(by_token, actions.shape)
        hidden = self.action_time_mlp_in(jnp.concatenate([actions, time], axis=-1))
        return self.action_time_mlp_out(nnx.swish(hidden))

    def _decided_tokens(self, decided: Bool[Array, 'B T']) -> Bool[Array, 'B S']:
        """Which suffix tokens are decided actions; touch and state, which come first, are none."""
        return jnp.pad(decided, ((0, 0), (self.config.num_suffix_tokens - decided.shape[1], 0)))

    def suffix_context(
        self, state: Float[Array, 'B D'], reading: Intermediates | None
    ) -> list[Float[Array, 'B 1 W']]:
        """Tokens before the actions: the state, where it is a token."""
        del reading
        if self.config.state_input != 'token':
            return []
        project = self.action_in_proj if self.config.time_conditioning == 'adarms' else self.state_proj
        return [project(state)[:, None, :]]

    def readout(
        self, suffix_out: Float[Array, 'B S W'], reading: Intermediates | None
    ) -> Float[Array, 'B T D']:
        """Velocity from the action tokens, which are the last of the suffix."""
        del reading
        return self.action_out_proj(suffix_out[:, -self.config.action_horizon :])

    # The two ways to a velocity.

    def velocity_field(
        self,
        cache: PrefixCache,
        reading: Intermediates | None,
        state: Float[Array, 'B D'],
        expert: tuple[ExpertLayer, ...] | None = None,
    ) -> VelocityField:
        """The velocity on a prefix cache, with all bound that stays the same from step to step.

        `reading` has passed through `correct`; `expert` is a sampling plan's (None arranges it here).
        """
        expert = self._expert_layers() if expert is None else expert
        context = self.suffix_context(state, reading)
        prefix = bind_prefix(
            KeysValues(cache.keys, cache.values), cache.mask, self._opens_block(len(context))
        )

        def velocity(x_t: Float[Array, 'B T D'], code: TimeCode) -> Float[Array, 'B T D']:
            suffix = jnp.concatenate([*context, self._embed_actions(x_t, code)], axis=1)
            return self.readout(decode(expert, prefix, suffix, code.modulation), reading)

        return velocity

    def run_jointly(
        self,
        observation: Observation[Array],
        x_t: Float[Array, 'B T D'],
        time: Float[Array, ' B'],
        touch: TactileCode | None = None,
        decided: Bool[Array, 'B T'] | None = None,
        beside: Beside = ALONE,
    ) -> JointPass:
        """One pass over prefix and suffix together (training): the velocity at x_t, and what led to it.

        `touch` replaces encoding the observation's tactile image. Steps that are `decided` are clean actions
        in `x_t`, and the expert reads a flow time of 0 for them.
        """
        reading = self.read_touch(self.observe_touch(observation) if touch is None else touch)
        prefix, prefix_mask = self.embed_prefix(*observation.prefix)
        if decided is not None:
            time = jnp.where(self._decided_tokens(decided), 0.0, time[:, None])
        code = self.time_code(time)
        suffix, opens_block = self.embed_suffix(observation.state, x_t, code, reading)
        target = beside.target or no_target(prefix.shape[0])
        tokens = jnp.concatenate([prefix, self.PaliGemma.llm.embed(target.tokens)], axis=1)
        layout = joint_layout(prefix_mask, target.mask, opens_block)
        read, suffix_out = self.PaliGemma.llm.joint(
            tokens, suffix, *layout, code.modulation, beside.insulated
        )
        prefix_out = read[:, : prefix.shape[1]]
        seen = jax.lax.stop_gradient(prefix_out) if beside.insulated else prefix_out
        reading = self.correct(reading, seen, prefix_mask)
        return JointPass(
            prefix_out,
            target_readers(read, observation.tokenized_prompt_mask, target),
            suffix_out,
            self.readout(suffix_out, reading),
            reading,
        )

    def text_logits(
        self,
        images: dict[str, Float[Array, 'B H W 3'] | UInt8[Array, 'B H W 3']],
        image_masks: dict[str, Bool[Array, ' B']],
        tokens: Int[Array, 'B P'],
        token_mask: Bool[Array, 'B P'],
        target: TextTarget,
    ) -> Float[Array, 'B F V']:
        """Float32 logits of each token of the target, from cameras, prompt and the tokens before it."""
        llm = self.PaliGemma.llm
        prefix, mask = self.embed_prefix(images, image_masks, tokens, token_mask)
        layout = joint_layout(mask, target.mask, jnp.zeros(0, bool))
        out = llm.read(jnp.concatenate([prefix, llm.embed(target.tokens)], axis=1), *layout)
        return llm.logits(target_readers(out, token_mask, target))

    # What policies call.

    def sample_actions(
        self,
        cache: PrefixCache,
        touch: TactileCode | None,
        state: Float[Array, 'B D'],
        noise: Float[Array, 'B T D'],
        plan: SamplingPlan,
        continuation: rtc.Constraint | None = None,
        *,
        unroll: bool = False,
    ) -> tuple[Float[Array, 'B T D'], Intermediates | None]:
        """Integrate from noise to a chunk of normalised actions; also return the intermediates.

        A `continuation` names the actions that are decided already: `Guidance` draws every network to them,
        `Conditioning` keeps them and needs one trained with `flow_errors(delay=...)`. `unroll` makes all
        Euler steps one graph.
        """
        reading = self.correct(self.read_touch(touch), cache.prefix_out, cache.mask)
        velocity = self.velocity_field(cache, reading, state, plan.expert)
        num_steps = plan.times.shape[0]

        def at_step(x_t: Float[Array, 'B T D'], code: TimeCode) -> Float[Array, 'B T D']:
            return velocity(x_t, jax.tree.map(lambda leaf: leaf[None], code))

        if isinstance(continuation, rtc.Conditioning):
            return self._sample_rest(velocity, noise, plan, continuation, unroll), reading
        if isinstance(continuation, rtc.Guidance):
            guided = rtc.guide(at_step, continuation)
            steps = plan.times, plan.code
            return flow_matching.integrate(guided, noise, steps, num_steps, unroll), reading
        return flow_matching.integrate(at_step, noise, plan.code, num_steps, unroll), reading

    def _sample_rest(
        self,
        velocity: VelocityField,
        noise: Float[Array, 'B T D'],
        plan: SamplingPlan,
        given: rtc.Conditioning,
        unroll: bool,
    ) -> Float[Array, 'B T D']:
        """Integrate the steps that are not decided; the others enter the expert at flow time 0."""
        actions, decided = given
        tokens = self._decided_tokens(decided)

        def at_step(x_t: Float[Array, 'B T D'], code: TimeCode) -> Float[Array, 'B T D']:
            return velocity(x_t, rtc.code_by_token(tokens, plan.clean, code))

        start = rtc.with_decided(noise, actions, decided)
        kept = rtc.keep_decided(at_step, decided)
        return flow_matching.integrate(kept, start, plan.code, plan.times.shape[0], unroll)

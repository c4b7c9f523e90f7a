"""The two ResTac policies (arXiv 2607.03387): touch enters pi0.5 as far as it was not predicted.

Read top-down: a tactile encoder turns touch, views and the previous action into an event code; its
uncertainty opens a gate; the gated code enters the action expert, either as a surprise token or as a
correction of the expert's output.
"""

from contextlib import AbstractContextManager

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, UInt8

from restac_ros.model.config import ModelConfig
from restac_ros.model.errors import ObservationError
from restac_ros.model.gate import make_gate
from restac_ros.model.intermediates import Intermediates
from restac_ros.model.observation import CAMERA_SLOTS, Observation, pixels_to_float
from restac_ros.model.pi05 import Pi05
from restac_ros.model.present import present
from restac_ros.model.tactile.factory import make_tactile_encoder
from restac_ros.model.tactile.interface import TactileCode


def exact_products() -> AbstractContextManager[None]:
    """Multiply in float32 within: a GPU rounds to TF32 by default, which would move logvar and gate.

    They are standardised and calibrated by small deviations, on whatever machine.
    """
    return jax.default_matmul_precision('highest')


class ResTac(Pi05):
    """What both policies share: tactile encoder, gate, intermediates, sparse loss."""

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs) -> None:
        super().__init__(config, rngs=rngs)
        self.tactile = None if config.tactile is None else make_tactile_encoder(config.tactile, rngs)
        self.gate = make_gate(config.gate, config.event_dim, rngs=rngs)

    def encode_views(
        self, images: dict[str, Float[Array, 'B H W 3'] | UInt8[Array, 'B H W 3']]
    ) -> Float[Array, 'B F'] | None:
        """What the tactile prior needs of the cameras; None where touch is encoded elsewhere."""
        if self.tactile is None:
            return None
        missing = [slot for slot in CAMERA_SLOTS if slot not in images]
        if missing:
            raise ObservationError(
                f'images: {missing} missing; the tactile prior reads all of {CAMERA_SLOTS}'
            )
        views = jnp.stack([pixels_to_float(images[slot]) for slot in CAMERA_SLOTS], axis=1)
        with exact_products():
            return self.tactile.encode_views(views)

    def encode_tactile(
        self,
        tactile: Float[Array, 'B h w 3'] | UInt8[Array, 'B h w 3'] | None,
        view_features: Float[Array, 'B F'] | None,
        action_prev: Float[Array, 'B 7'] | None,
    ) -> TactileCode:
        """Event code and uncertainty of one tactile image, at the tactile sensor's rate.

        Unit-Align is frozen in the policy, so no gradient passes; the small CNN trains with it.
        """
        encoder = present(self.tactile, 'tactile encoder')
        with exact_products():
            code = encoder.encode(
                pixels_to_float(present(tactile, 'tactile')),
                present(view_features, 'view_features'),
                present(action_prev, 'action_prev'),
            )
        trains = self.config.tactile is not None and self.config.tactile.trains
        return code if trains else jax.lax.stop_gradient(code)

    def observe_touch(self, observation: Observation[Array]) -> TactileCode:
        """Encode the observation's tactile image with its views."""
        view_features = self.encode_views(observation.images)
        return self.encode_tactile(observation.tactile, view_features, observation.action_prev)

    def read_touch(self, touch: TactileCode | None) -> Intermediates:
        """Standardise the uncertainty and open the gate: everything that needs no prefix."""
        touch = present(touch, 'touch')
        standardised = touch.logvar
        if (calibration := self.config.logvar_calibration) is not None:
            standardised = (touch.logvar - calibration.mean) / calibration.std
        gate = jnp.ones_like(touch.logvar)
        if self.gate is not None:
            with exact_products():
                gate = self.gate(touch.logvar if self.gate.reads_raw_logvar else standardised, touch.q_event)
        return Intermediates(
            prior=touch.prior,
            z_real=touch.z_real,
            residual=touch.residual,
            code=touch.q_event,
            code_index=touch.code_index,
            logvar=touch.logvar,
            logvar_standardised=standardised,
            gate=gate,
        )

    def auxiliary_loss(self, reading: Intermediates | None) -> Float[Array, ''] | float:
        """A price on open gates, where configured; the factorized gate weighs it by the mean uncertainty."""
        if not self.config.use_sparse_loss:
            return 0.0
        reading = present(reading, 'reading')
        weight: Array | float = self.config.sparse_loss_weight
        if self.config.gate == 'factorized':
            weight = weight * jnp.exp(jnp.mean(reading.logvar_standardised))
        return weight * jnp.mean(reading.gate)


class ResTacTokenInAE(ResTac):
    """Token-in-AE: the gate blends the event code with a learned default into one surprise token.

    The token has an attention block of its own: it reads the prefix and is read by state and actions, so a
    cached prefix gives the training pass's velocity. (The published code let the prefix read it in training.)
    """

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs) -> None:
        super().__init__(config, rngs=rngs)
        width = config.action_expert.width
        self.tactile_token_proj = nnx.Linear(config.event_dim, width, rngs=rngs)
        self.default_tactile_embedding = nnx.Param(jnp.zeros((1, width), jnp.float32))

    def read_touch(self, touch: TactileCode | None) -> Intermediates:
        """Add the surprise token to the shared intermediates."""
        touch = present(touch, 'touch')
        reading = super().read_touch(touch)
        features = self.tactile_token_proj(touch.q_event)
        gate = reading.gate.astype(features.dtype)
        token = gate * features + (1 - gate) * self.default_tactile_embedding[...]
        return reading._replace(tactile_features=features, surprise_token=token[:, None, :])

    def suffix_context(
        self, state: Float[Array, 'B D'], reading: Intermediates | None
    ) -> list[Float[Array, 'B 1 W']]:
        """Surprise first, then what the base policy has."""
        token = present(present(reading, 'reading').surprise_token, 'surprise_token')
        return [token, *super().suffix_context(state, reading)]


class ResTacForceVLA(ResTac):
    """ForceVLA-style: attention over prefix and touch gives a gated correction of the action tokens.

    Row i of the correction is read at one of the last prefix positions, the very last row at touch itself.
    Padded and masked positions are left out, neither as keys nor as rows: the rows are the last *valid* ones
    (the first valid one repeats should there be too few). With `legacy_unmasked_fusion` the rows are the
    last positions whatever they hold, and all are read, as published.
    """

    reads_prefix_out = True

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs) -> None:
        super().__init__(config, rngs=rngs)
        vlm_width, heads = config.paligemma.width, config.fusion_heads
        self.tactile_encoder = EventProjection(config.event_dim, config.fusion_dim, rngs=rngs)
        self.tactile_to_vlm_proj = nnx.Linear(config.fusion_dim, vlm_width, rngs=rngs)
        self.fusion_self_attn = FusionAttention(vlm_width, heads, config.action_expert.width, rngs=rngs)

    def read_touch(self, touch: TactileCode | None) -> Intermediates:
        """Add the projected event code to the shared intermediates."""
        touch = present(touch, 'touch')
        features = self.tactile_encoder.project_vq(touch.q_event)
        return super().read_touch(touch)._replace(tactile_features=features)

    def correct(
        self,
        reading: Intermediates | None,
        prefix_out: Float[Array, 'B S W'] | None,
        mask: Bool[Array, 'B S'],
    ) -> Intermediates:
        """Add the gated correction, which depends on neither flow time nor noise."""
        reading = present(reading, 'reading')
        features = present(reading.tactile_features, 'tactile_features')
        touch_token = self.tactile_to_vlm_proj(features)[:, None, :]
        tokens = jnp.concatenate([present(prefix_out, 'prefix_out'), touch_token], axis=1)
        valid = jnp.concatenate([mask, jnp.ones((mask.shape[0], 1), bool)], axis=1)
        horizon = self.config.action_horizon
        if self.config.legacy_unmasked_fusion:
            correction = self.fusion_self_attn(tokens[:, -horizon:], tokens, jnp.ones_like(valid))
        else:
            rows = last_valid(valid, horizon)
            queries = jnp.take_along_axis(tokens, rows[:, :, None], axis=1)
            correction = self.fusion_self_attn(queries, tokens, valid)
        return reading._replace(correction=reading.gate[:, :, None].astype(correction.dtype) * correction)

    def readout(
        self, suffix_out: Float[Array, 'B S W'], reading: Intermediates | None
    ) -> Float[Array, 'B T D']:
        """Velocity from the corrected action tokens."""
        actions = suffix_out[:, -self.config.action_horizon :]
        return self.action_out_proj(actions + present(present(reading, 'reading').correction, 'correction'))


class EventProjection(nnx.Module):
    """Holder of `project_vq`, named as in the published code."""

    def __init__(self, event_dim: int, fusion_dim: int, *, rngs: nnx.Rngs) -> None:
        self.project_vq = nnx.Linear(event_dim, fusion_dim, rngs=rngs)


class FusionAttention(nnx.Module):
    """Multi-head attention without norm or residual, from the language width to the action width."""

    def __init__(self, width: int, heads: int, out_width: int, *, rngs: nnx.Rngs) -> None:
        head_shape = (heads, width // heads)
        self.query = nnx.LinearGeneral(width, head_shape, rngs=rngs)
        self.key = nnx.LinearGeneral(width, head_shape, rngs=rngs)
        self.value = nnx.LinearGeneral(width, head_shape, rngs=rngs)
        self.out = nnx.LinearGeneral(head_shape, out_width, axis=(-2, -1), rngs=rngs)

    def __call__(
        self, queries: Float[Array, 'B T W'], tokens: Float[Array, 'B S W'], valid: Bool[Array, 'B S']
    ) -> Float[Array, 'B T D']:
        """Let each query read the valid tokens."""
        q, k, v = self.query(queries), self.key(tokens), self.value(tokens)
        encoded = jax.nn.dot_product_attention(q, k, v, mask=valid[:, None, None, :])
        return self.out(encoded)


def last_valid(valid: Bool[Array, 'B S'], count: int) -> Array:
    """Indices [B, count] of each row's last valid positions, in order; the first repeats if too few."""
    in_order = jnp.argsort(valid, axis=1, stable=True)  # invalid positions, then valid ones in order
    first = valid.shape[1] - jnp.sum(valid, axis=1, keepdims=True)
    ranks = jnp.arange(valid.shape[1] - count, valid.shape[1])
    return jnp.take_along_axis(in_order, jnp.maximum(ranks, first), axis=1)


def create_model(config: ModelConfig, rngs: nnx.Rngs) -> Pi05:
    """The policy that `config` describes, freshly initialised.

    A fresh pi0.5 ignores images, prompt and touch (zero-initialised heads and norms): load a checkpoint.
    Under `nnx.eval_shape` no memory is used.
    """
    if config.fusion == 'none':
        return Pi05(config, rngs=rngs)
    fusion = ResTacForceVLA if config.fusion == 'forcevla' else ResTacTokenInAE
    return fusion(config, rngs=rngs)

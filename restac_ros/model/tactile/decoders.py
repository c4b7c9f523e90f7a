"""Networks that train Unit-Align and stay behind: what its latents and its codes can be read back as."""

import jax
import jax.numpy as jnp
from einops import repeat
from flax import nnx
from jaxtyping import Array, Float

from restac_ros.model.tactile.config import EncoderConfig, EventConfig
from restac_ros.model.tactile.encoder import AttentionBlock, ResidualBlock
from restac_ros.model.tactile.group_norm import GroupNorm


class TactileImageDecoder(nnx.Module):
    """Latent map to tactile image: the encoder backwards (VQGAN, arXiv 2012.09841)."""

    def __init__(self, config: EncoderConfig, rngs: nnx.Rngs):
        widths = config.widths[::-1]
        last = widths[0]
        self.conv_in = nnx.Conv(config.z_channels, last, (3, 3), padding=1, rngs=rngs)
        self.mid_block1 = ResidualBlock(last, last, config, rngs)
        self.mid_attention = AttentionBlock(last, config, rngs)
        self.mid_block2 = ResidualBlock(last, last, config, rngs)
        levels, upsamplers = [], []
        for i, width in enumerate(widths):
            before = [widths[max(i - 1, 0)]] + [width] * (config.num_res_blocks - 1)
            levels.append(nnx.List([ResidualBlock(one, width, config, rngs) for one in before]))
            if i < len(widths) - 1:
                upsamplers.append(nnx.Conv(width, width, (3, 3), padding=1, rngs=rngs))
        self.levels, self.upsamplers = nnx.List(levels), nnx.List(upsamplers)
        self.norm_out = GroupNorm(widths[-1], num_groups=config.norm_groups, epsilon=1e-6, rngs=rngs)
        self.conv_out = nnx.Conv(widths[-1], config.in_channels, (3, 3), padding=1, rngs=rngs)

    def __call__(
        self, latent: Float[Array, 'B h w z'], rngs: nnx.Rngs | None = None
    ) -> Float[Array, 'B H W 3']:
        """Return the image in [-1, 1], not clipped; `rngs` given means training (dropout)."""
        x = self.mid_block1(self.conv_in(latent), rngs)
        x = self.mid_block2(self.mid_attention(x), rngs)
        for i, level in enumerate(self.levels):
            for block in level:
                x = block(x, rngs)
            if i < len(self.upsamplers):
                batch, rows, columns, width = x.shape
                x = jax.image.resize(x, (batch, 2 * rows, 2 * columns, width), 'nearest')
                x = self.upsamplers[i](x)
        return self.conv_out(nnx.swish(self.norm_out(x)))


class FilmBlock(nnx.Module):
    """Residual block whose features a code scales and shifts (FiLM, arXiv 1709.07871)."""

    def __init__(self, config: EventConfig, code_dim: int, rngs: nnx.Rngs):
        width = config.width
        self.norm = GroupNorm(width, num_groups=config.norm_groups, epsilon=1e-5, rngs=rngs)
        self.modulation = nnx.Linear(code_dim, 2 * width, rngs=rngs)
        self.conv = nnx.Conv(width, width, (3, 3), padding=1, rngs=rngs)

    def __call__(self, x: Float[Array, 'B h w c'], code: Float[Array, 'B code']) -> Float[Array, 'B h w c']:
        scale, shift = jnp.split(self.modulation(code)[:, None, None], 2, axis=-1)
        return x + self.conv(nnx.gelu(self.norm(x) * (1 + scale) + shift, approximate=False))


class EventDecoder(nnx.Module):
    """Prior map and event code to the residual that the code stands for.

    The code has no place; the prior and the coordinates of each cell give the features that it modulates.
    """

    def __init__(self, config: EventConfig, z_channels: int, code_dim: int, rngs: nnx.Rngs):
        self.conv_in = nnx.Conv(z_channels + 2, config.width, (3, 3), padding=1, rngs=rngs)
        self.blocks = nnx.List([FilmBlock(config, code_dim, rngs) for _ in range(config.num_blocks + 1)])
        self.conv_out = nnx.Conv(config.width, z_channels, (3, 3), padding=1, rngs=rngs)

    def __call__(
        self, prior: Float[Array, 'B h w z'], code: Float[Array, 'B code']
    ) -> Float[Array, 'B h w z']:
        """Return the residual, measured minus expected latent."""
        batch, rows, columns, _ = prior.shape
        grid = jnp.stack(
            jnp.meshgrid(jnp.linspace(-1, 1, rows), jnp.linspace(-1, 1, columns), indexing='ij'), axis=-1
        )
        x = self.conv_in(jnp.concatenate([prior, repeat(grid, 'h w c -> B h w c', B=batch)], axis=-1))
        for block in self.blocks:
            x = block(x, code)
        return self.conv_out(nnx.gelu(x, approximate=False))

"""Convolutional encoder of the tactile image: VQGAN's (arXiv 2012.09841) as UniT uses it (arXiv 2408.06481).

Channel last throughout. The order of operations is the published one, so that its weights give its numbers.
"""

import itertools

import jax
from einops import rearrange
from flax import nnx
from jaxtyping import Array, Float

from restac_ros.model.tactile.config import EncoderConfig
from restac_ros.model.tactile.group_norm import GroupNorm

_NORM_EPSILON = 1e-6


class ResidualBlock(nnx.Module):
    """Twice GroupNorm, swish, 3x3 convolution; added to the input (through 1x1 where the width changes)."""

    def __init__(self, in_width: int, width: int, config: EncoderConfig, rngs: nnx.Rngs):
        self.norm1 = _group_norm(in_width, config, rngs)
        self.conv1 = _conv3x3(in_width, width, rngs)
        self.norm2 = _group_norm(width, config, rngs)
        self.dropout = nnx.Dropout(config.dropout)
        self.conv2 = _conv3x3(width, width, rngs)
        self.shortcut = _conv1x1(in_width, width, rngs) if in_width != width else None

    def __call__(self, x: Float[Array, 'B h w c'], rngs: nnx.Rngs | None = None) -> Float[Array, 'B h w d']:
        """`rngs` given means training: dropout is active."""
        h = self.conv1(nnx.swish(self.norm1(x)))
        h = nnx.swish(self.norm2(h))
        h = self.dropout(h, deterministic=rngs is None, rngs=rngs)
        h = self.conv2(h)
        return h + (x if self.shortcut is None else self.shortcut(x))


class AttentionBlock(nnx.Module):
    """Single-head self-attention over all positions of the map, added to the input."""

    def __init__(self, width: int, config: EncoderConfig, rngs: nnx.Rngs):
        self.norm = _group_norm(width, config, rngs)
        self.query = _conv1x1(width, width, rngs)
        self.key = _conv1x1(width, width, rngs)
        self.value = _conv1x1(width, width, rngs)
        self.out = _conv1x1(width, width, rngs)

    def __call__(self, x: Float[Array, 'B h w c']) -> Float[Array, 'B h w c']:
        normed = self.norm(x)
        projections = (self.query, self.key, self.value)
        query, key, value = (rearrange(p(normed), 'B h w c -> B (h w) 1 c') for p in projections)
        mixed = jax.nn.dot_product_attention(query, key, value)  # scale 1/sqrt(c)
        return x + self.out(mixed.reshape(x.shape))


class EncoderLevel(nnx.Module):
    """Residual blocks of one width, attention after each where asked for, then halving of the resolution."""

    def __init__(
        self,
        in_width: int,
        width: int,
        attention: bool,
        downsample: bool,
        config: EncoderConfig,
        rngs: nnx.Rngs,
    ):
        count = config.num_res_blocks
        widths = itertools.pairwise([in_width] + [width] * count)
        self.blocks = nnx.List([ResidualBlock(before, after, config, rngs) for before, after in widths])
        attentions = [AttentionBlock(width, config, rngs) for _ in range(count)] if attention else []
        self.attentions = nnx.List(attentions)
        self.downsample = _halving_conv(width, rngs) if downsample else None

    def __call__(self, x: Float[Array, 'B h w c'], rngs: nnx.Rngs | None = None) -> Float[Array, 'B i j d']:
        for i, block in enumerate(self.blocks):
            x = block(x, rngs)
            if self.attentions:
                x = self.attentions[i](x)
        return x if self.downsample is None else self.downsample(x)


class TactileImageEncoder(nnx.Module):
    """Tactile image in [-1, 1] to the latent map before `quant_conv`."""

    def __init__(self, config: EncoderConfig, rngs: nnx.Rngs):
        widths = config.widths
        last = len(widths) - 1
        self.conv_in = _conv3x3(config.in_channels, config.ch, rngs)
        self.levels = nnx.List(
            [
                EncoderLevel(
                    in_width=widths[i - 1] if i else config.ch,
                    width=width,
                    attention=config.resolution // 2**i in config.attn_resolutions,
                    downsample=i < last,
                    config=config,
                    rngs=rngs,
                )
                for i, width in enumerate(widths)
            ]
        )
        self.mid_block1 = ResidualBlock(widths[-1], widths[-1], config, rngs)
        self.mid_attention = AttentionBlock(widths[-1], config, rngs)
        self.mid_block2 = ResidualBlock(widths[-1], widths[-1], config, rngs)
        self.norm_out = _group_norm(widths[-1], config, rngs)
        self.conv_out = _conv3x3(widths[-1], config.z_channels, rngs)

    def __call__(
        self, tactile: Float[Array, 'B H W 3'], rngs: nnx.Rngs | None = None
    ) -> Float[Array, 'B h w z']:
        """Return the latent map; `rngs` given means training (dropout)."""
        x = self.conv_in(tactile)
        for level in self.levels:
            x = level(x, rngs)
        x = self.mid_block1(x, rngs)
        x = self.mid_attention(x)
        x = self.mid_block2(x, rngs)
        return self.conv_out(nnx.swish(self.norm_out(x)))


def _group_norm(width: int, config: EncoderConfig, rngs: nnx.Rngs) -> GroupNorm:
    return GroupNorm(width, num_groups=config.norm_groups, epsilon=_NORM_EPSILON, rngs=rngs)


def _conv3x3(in_width: int, width: int, rngs: nnx.Rngs) -> nnx.Conv:
    return nnx.Conv(in_width, width, (3, 3), padding=1, rngs=rngs)


def _conv1x1(in_width: int, width: int, rngs: nnx.Rngs) -> nnx.Conv:
    return nnx.Conv(in_width, width, (1, 1), rngs=rngs)


def _halving_conv(width: int, rngs: nnx.Rngs) -> nnx.Conv:
    """Padded by one column on the right and one row below only, as the weights were trained."""
    return nnx.Conv(width, width, (3, 3), strides=2, padding=((0, 1), (0, 1)), rngs=rngs)

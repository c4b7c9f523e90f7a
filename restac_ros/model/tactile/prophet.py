"""Prophet: predicts what the finger should feel from cameras and last motion, with its uncertainty.

The view features (a ResNet-18 per view, He et al., arXiv 1512.03385) change at camera rate, so they are a
call of their own; the fusion with the previous action is small and runs at the tactile sensor's rate.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import nnx
from jaxtyping import Array, Float

from restac_ros.model.tactile.config import ProphetConfig

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_NORM_EPSILON = 1e-5
_BLOCKS_PER_STAGE = 2
_NUM_STAGES = 4


def imagenet_normalised(images: Float[Array, '*N 3']) -> Float[Array, '*N 3']:
    """Return images in [-1, 1] in the units of ImageNet backbones."""
    return ((images + 1) / 2 - jnp.asarray(IMAGENET_MEAN)) / jnp.asarray(IMAGENET_STD)


class Prior(NamedTuple):
    """Expected tactile latent, channel last, and its log variance."""

    mean: Float[Array, 'B h w z']
    logvar: Float[Array, 'B 1']


class BasicBlock(nnx.Module):
    """ResNet's block of two 3x3 convolutions; the first may halve the resolution."""

    def __init__(self, in_width: int, width: int, stride: int, rngs: nnx.Rngs):
        self.conv1 = _conv(in_width, width, 3, stride, rngs)
        self.norm1 = _batch_norm(width, rngs)
        self.conv2 = _conv(width, width, 3, 1, rngs)
        self.norm2 = _batch_norm(width, rngs)
        changes = stride != 1 or in_width != width
        self.shortcut_conv = _conv(in_width, width, 1, stride, rngs) if changes else None
        self.shortcut_norm = _batch_norm(width, rngs) if changes else None

    def __call__(self, x: Float[Array, 'B h w c'], train: bool = False) -> Float[Array, 'B i j d']:
        h = nnx.relu(self.norm1(self.conv1(x), use_running_average=not train))
        h = self.norm2(self.conv2(h), use_running_average=not train)
        if self.shortcut_conv is not None and self.shortcut_norm is not None:
            x = self.shortcut_norm(self.shortcut_conv(x), use_running_average=not train)
        return nnx.relu(h + x)


class ResNet18(nnx.Module):
    """ResNet-18 up to the global average; the first stage is `width` wide, the last 8 times that."""

    def __init__(self, width: int, rngs: nnx.Rngs):
        self.conv_in = _conv(3, width, 7, 2, rngs)
        self.norm_in = _batch_norm(width, rngs)
        blocks = []
        in_width = width
        for stage in range(_NUM_STAGES):
            for i in range(_BLOCKS_PER_STAGE):
                stride = 2 if stage > 0 and i == 0 else 1
                blocks.append(BasicBlock(in_width, width * 2**stage, stride, rngs))
                in_width = width * 2**stage
        self.blocks = nnx.List(blocks)

    def __call__(self, images: Float[Array, 'B H W 3'], train: bool = False) -> Float[Array, 'B c']:
        """Return one vector per ImageNet-normalised image; `train` uses and updates batch statistics."""
        x = nnx.relu(self.norm_in(self.conv_in(images), use_running_average=not train))
        x = nnx.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        for block in self.blocks:
            x = block(x, train)
        return x.mean(axis=(1, 2))


class FusionLayer(nnx.Module):
    """Linear, LayerNorm, exact GELU, dropout."""

    def __init__(self, in_dim: int, config: ProphetConfig, rngs: nnx.Rngs):
        self.linear = nnx.Linear(in_dim, config.mid_dim, rngs=rngs)
        self.norm = nnx.LayerNorm(config.mid_dim, epsilon=_NORM_EPSILON, rngs=rngs)
        self.dropout = nnx.Dropout(config.dropout)

    def __call__(self, x: Float[Array, 'B c'], rngs: nnx.Rngs | None = None) -> Float[Array, 'B d']:
        x = nnx.gelu(self.norm(self.linear(x)), approximate=False)
        return self.dropout(x, deterministic=rngs is None, rngs=rngs)


class Prophet(nnx.Module):
    """Views and previous action to the prior of the tactile latent."""

    def __init__(self, config: ProphetConfig, z_channels: int, latent_size: tuple[int, int], rngs: nnx.Rngs):
        self.config = config
        self.z_channels = z_channels
        self.latent_size = latent_size
        rows, columns = config.bottleneck_size
        self.backbone = ResNet18(config.backbone_width, rngs)
        self.action_in = nnx.Linear(config.action_dim, config.action_width, rngs=rngs)
        self.action_dropout = nnx.Dropout(config.dropout)
        in_dims = [config.feature_dim + config.action_width]
        in_dims += [config.mid_dim] * (config.num_fusion_layers - 1)
        self.fusion = nnx.List([FusionLayer(in_dim, config, rngs) for in_dim in in_dims])
        self.head_mu = nnx.Linear(config.mid_dim, z_channels * rows * columns, rngs=rngs)
        self.head_logvar = nnx.Linear(config.mid_dim, 1, rngs=rngs)

    def encode_views(self, views: Float[Array, 'B V H W 3'], train: bool = False) -> Float[Array, 'B F']:
        """Return the features of views in [-1, 1]; `train` uses and updates batch statistics."""
        images = rearrange(imagenet_normalised(views), 'B V H W c -> (B V) H W c')
        features = self.backbone(images, train)
        features = rearrange(features, '(B V) c -> B V c', V=self.config.num_views)
        if self.config.view_fusion == 'mean':
            return features.mean(axis=1)
        return rearrange(features, 'B V c -> B (V c)')

    def predict(
        self,
        view_features: Float[Array, 'B F'],
        action_prev: Float[Array, 'B 7'],
        rngs: nnx.Rngs | None = None,
    ) -> Prior:
        """Return the prior; `rngs` given means training (dropout)."""
        action = nnx.relu(self.action_in(action_prev))
        action = self.action_dropout(action, deterministic=rngs is None, rngs=rngs)
        h = jnp.concatenate([view_features, action], axis=-1)
        for layer in self.fusion:
            h = layer(h, rngs)
        rows, columns = self.config.bottleneck_size
        mean = rearrange(self.head_mu(h), 'B (z h w) -> B h w z', z=self.z_channels, h=rows, w=columns)
        if self.config.bottleneck_size != self.latent_size:
            shape = (mean.shape[0], *self.latent_size, self.z_channels)
            mean = jax.image.resize(mean, shape, 'linear', antialias=False)
        return Prior(mean, self.head_logvar(h))


def _conv(in_width: int, width: int, size: int, stride: int, rngs: nnx.Rngs) -> nnx.Conv:
    return nnx.Conv(
        in_width, width, (size, size), strides=stride, padding=size // 2, use_bias=False, rngs=rngs
    )


def _batch_norm(width: int, rngs: nnx.Rngs) -> nnx.BatchNorm:
    return nnx.BatchNorm(width, momentum=0.9, epsilon=_NORM_EPSILON, rngs=rngs)

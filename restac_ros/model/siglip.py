"""SigLIP vision transformer (Zhai et al. 2023, arXiv 2303.15343), as in PaliGemma: no class token, no pool.

Module and parameter names are openpi's. The patch embedding and the position embedding are float32; the
encoder computes in the configured dtype.
"""

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import nnx
from jaxtyping import Array, Float

from restac_ros.model.config import Dtype, SiglipConfig
from restac_ros.model.int8 import apply_linear
from restac_ros.model.layers import scan_layers, stack_layers

_XAVIER = nnx.initializers.xavier_uniform()
_LAYER_NORM_EPS = 1e-6


class Siglip(nnx.Module):
    """Images to tokens of the language model's width."""

    def __init__(
        self, config: SiglipConfig, image_size: int, out_width: int, dtype: Dtype, *, rngs: nnx.Rngs
    ) -> None:
        self.dtype = jnp.dtype(dtype)
        num_tokens = (image_size // config.patch_size) ** 2
        self.embedding = PatchEmbedding(config.patch_size, config.width, rngs=rngs)
        position_init = nnx.initializers.normal(stddev=config.width**-0.5)
        self.pos_embedding = nnx.Param(
            position_init(rngs.params(), (1, num_tokens, config.width), jnp.float32)
        )
        self.Transformer = Encoder(config, self.dtype, rngs=rngs)
        self.head = nnx.Linear(
            config.width, out_width, kernel_init=nnx.initializers.zeros, dtype=self.dtype, rngs=rngs
        )

    def __call__(self, images: Float[Array, 'B H W 3']) -> Float[Array, 'B S D']:
        """Tokens in row-major patch order, in the compute dtype; `images` are float32 in [-1, 1]."""
        x = self.embedding(images) + self.pos_embedding[...].astype(jnp.float32)
        return apply_linear(self.head, 'BSW,WD->BSD', self.Transformer(x.astype(self.dtype)))


class PatchEmbedding(nnx.Module):
    """A convolution whose stride is its kernel size, computed as one matrix product over patches."""

    def __init__(self, patch: int, width: int, *, rngs: nnx.Rngs) -> None:
        self.patch = patch
        self.kernel = nnx.Param(
            nnx.initializers.lecun_normal()(rngs.params(), (patch, patch, 3, width), jnp.float32)
        )
        self.bias = nnx.Param(jnp.zeros((width,), jnp.float32))

    def __call__(self, images: Float[Array, 'B H W 3']) -> Float[Array, 'B S W']:
        patches = rearrange(images, 'b (h p) (w q) c -> b (h w) (p q c)', p=self.patch, q=self.patch)
        kernel = rearrange(self.kernel[...].astype(jnp.float32), 'p q c w -> (p q c) w')
        return patches @ kernel + self.bias[...].astype(jnp.float32)


class Encoder(nnx.Module):
    """Pre-norm transformer; `encoderblock` holds all layers, stacked."""

    def __init__(self, config: SiglipConfig, dtype: jnp.dtype, *, rngs: nnx.Rngs) -> None:
        self.encoderblock = stack_layers(
            lambda layer_rngs: EncoderBlock(config, dtype, rngs=layer_rngs), config.depth, rngs
        )
        self.encoder_norm = nnx.LayerNorm(config.width, epsilon=_LAYER_NORM_EPS, dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, 'B S W']) -> Float[Array, 'B S W']:
        x, _ = scan_layers(self.encoderblock, lambda block, x, _: (block(x), None), x)
        return self.encoder_norm(x)


class EncoderBlock(nnx.Module):
    """Attention, then a GELU block, each with its own residual."""

    def __init__(self, config: SiglipConfig, dtype: jnp.dtype, *, rngs: nnx.Rngs) -> None:
        self.LayerNorm_0 = nnx.LayerNorm(config.width, epsilon=_LAYER_NORM_EPS, dtype=dtype, rngs=rngs)
        self.MultiHeadDotProductAttention_0 = SelfAttention(config, dtype, rngs=rngs)
        self.LayerNorm_1 = nnx.LayerNorm(config.width, epsilon=_LAYER_NORM_EPS, dtype=dtype, rngs=rngs)
        self.MlpBlock_0 = Mlp(config, dtype, rngs=rngs)

    def __call__(self, x: Float[Array, 'B S W']) -> Float[Array, 'B S W']:
        x = x + self.MultiHeadDotProductAttention_0(self.LayerNorm_0(x))
        return x + self.MlpBlock_0(self.LayerNorm_1(x))


class SelfAttention(nnx.Module):
    """Multi-head attention with biases; its softmax stays in the compute dtype, as in openpi."""

    def __init__(self, config: SiglipConfig, dtype: jnp.dtype, *, rngs: nnx.Rngs) -> None:
        width, heads = config.width, config.num_heads
        head_shape = (heads, width // heads)
        self.query = nnx.LinearGeneral(width, head_shape, kernel_init=_XAVIER, dtype=dtype, rngs=rngs)
        self.key = nnx.LinearGeneral(width, head_shape, kernel_init=_XAVIER, dtype=dtype, rngs=rngs)
        self.value = nnx.LinearGeneral(width, head_shape, kernel_init=_XAVIER, dtype=dtype, rngs=rngs)
        self.out = nnx.LinearGeneral(
            head_shape, width, axis=(-2, -1), kernel_init=_XAVIER, dtype=dtype, rngs=rngs
        )

    def __call__(self, x: Float[Array, 'B S W']) -> Float[Array, 'B S W']:
        q, k, v = (apply_linear(part, 'BSW,WNH->BSNH', x) for part in (self.query, self.key, self.value))
        q = q / jnp.sqrt(q.shape[-1]).astype(q.dtype)
        weights = jax.nn.softmax(jnp.einsum('bqnh,bknh->bnqk', q, k), axis=-1)
        return apply_linear(self.out, 'BSNH,NHW->BSW', jnp.einsum('bnqk,bknh->bqnh', weights, v))


class Mlp(nnx.Module):
    """Two biased layers around a tanh-approximated GELU, which is float32."""

    def __init__(self, config: SiglipConfig, dtype: jnp.dtype, *, rngs: nnx.Rngs) -> None:
        small = nnx.initializers.normal(stddev=1e-6)
        self.Dense_0 = nnx.Linear(
            config.width, config.mlp_dim, kernel_init=_XAVIER, bias_init=small, dtype=dtype, rngs=rngs
        )
        self.Dense_1 = nnx.Linear(
            config.mlp_dim, config.width, kernel_init=_XAVIER, bias_init=small, dtype=dtype, rngs=rngs
        )

    def __call__(self, x: Float[Array, 'B S W']) -> Float[Array, 'B S W']:
        hidden = nnx.gelu(apply_linear(self.Dense_0, 'BSW,WM->BSM', x).astype(jnp.float32))
        return apply_linear(self.Dense_1, 'BSM,MW->BSW', hidden.astype(x.dtype))

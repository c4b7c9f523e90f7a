"""Sizes of a pi0.5 network as its parameters show them, and position embeddings for another image size."""

import math
from dataclasses import replace

import jax
import numpy as np

from restac_ros.model.checkpoint.errors import CheckpointError
from restac_ros.model.checkpoint.params import Leaf, Shapes
from restac_ros.model.config import GemmaConfig, ModelConfig, SiglipConfig

POSITIONS = 'PaliGemma/img/pos_embedding'
_LAYERS = 'PaliGemma/llm/layers'
_BLOCK = 'PaliGemma/img/Transformer/encoderblock'


def with_sizes_of(config: ModelConfig, shapes: Shapes, source: str) -> ModelConfig:
    """Return `config` with every size that the shapes of stored leaves show; the rest stays.

    Raises:
        CheckpointError: leaves of pi0.5 are missing, or have other dimensions.
    """
    try:
        block = shapes[f'{_BLOCK}/MlpBlock_0/Dense_0/kernel']
        kernel = shapes['PaliGemma/img/embedding/kernel']
        siglip = SiglipConfig(
            width=block[1],
            depth=block[0],
            mlp_dim=block[2],
            num_heads=shapes[f'{_BLOCK}/MultiHeadDotProductAttention_0/key/bias'][1],
            patch_size=kernel[0],
        )
        return replace(
            config,
            paligemma=_expert(config.paligemma, shapes, ''),
            action_expert=_expert(config.action_expert, shapes, '_1'),
            siglip=siglip,
            vocab_size=shapes['PaliGemma/llm/embedder/input_embedding'][0],
            action_dim=shapes['action_in_proj/kernel'][0],
        )
    except (KeyError, IndexError, ValueError) as error:
        raise CheckpointError(f'{source}: its sizes cannot be read off: {error}; is it a pi0.5?') from error


def resampled_positions(leaf: Leaf, shape: tuple[int, ...]) -> np.ndarray:
    """Position embeddings [1, n*n, width] for another number of patches, bilinear as in big_vision."""
    before, after = math.isqrt(leaf.shape[1]), math.isqrt(shape[1])
    grid = np.asarray(leaf).reshape(before, before, -1)
    return np.asarray(jax.image.resize(grid, (after, after, grid.shape[-1]), 'bilinear')).reshape(shape)


def _expert(like: GemmaConfig, shapes: Shapes, suffix: str) -> GemmaConfig:
    depth, heads, width, head_dim = shapes[f'{_LAYERS}/attn/q_einsum{suffix}/w']
    return replace(
        like,
        width=width,
        depth=depth,
        mlp_dim=shapes[f'{_LAYERS}/mlp{suffix}/gating_einsum'][3],
        num_heads=heads,
        num_kv_heads=shapes[f'{_LAYERS}/attn/kv_einsum{suffix}/w'][2],
        head_dim=head_dim,
    )

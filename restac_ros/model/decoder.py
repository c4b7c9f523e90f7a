"""The action expert as inference runs it, ten times per chunk, on a prefix's keys and values.

The same arithmetic as expert 1 of `gemma.Block`, arranged for speed: adapters are merged, query, key and
value weights stand side by side in one matrix, gate and up weights in another, and every layer is an array
of its own. All of that depends on the parameters alone and is made once per checkpoint.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import nnx
from jaxtyping import Array, Bool, Float

from restac_ros.model.attention import (
    RotaryAngles,
    Segment,
    attention_mask,
    grouped_query_attention,
    rotate,
    rotation_of,
    segment_of,
    token_positions,
)
from restac_ros.model.gemma import Block, KeysValues, Modulation
from restac_ros.model.int8 import Int8Weight, Weight, apply_weight, dense
from restac_ros.model.norms import add_gated, modulated_norm


class ExpertLayer(NamedTuple):
    """Weights of one layer; Q is heads times head size, P adds key-value heads times head size, twice."""

    qkv: Weight  # [W, P]: queries of all heads, then keys, then values
    out: Weight  # [Q, W]
    gate_up: Weight  # [W, 2 M]
    down: Weight  # [M, W]


def expert_layer(block: Block, dtype: jnp.dtype) -> ExpertLayer:
    """Expert 1's weights of one layer, in the compute dtype, or as the integers that they are."""
    q, kv, out = (
        getattr(block.attn, name).merged() for name in ('q_einsum_1', 'kv_einsum_1', 'attn_vec_einsum_1')
    )
    gating, linear = block.mlp_1.merged()
    qkv = [_arranged(q, 'N W H -> W (N H)'), _arranged(kv, 'c K W H -> W (c K H)')]
    if not all(isinstance(part, Int8Weight) for part in qkv):
        qkv = [dense(part) for part in qkv]
    layer = ExpertLayer(
        qkv=jax.tree.map(lambda *parts: jnp.concatenate(parts, axis=1), *qkv),
        out=_arranged(out, 'N H W -> (N H) W'),
        gate_up=_arranged(gating, 'c W M -> W (c M)'),
        down=linear,
    )
    return ExpertLayer(
        *(weight if isinstance(weight, Int8Weight) else weight.astype(dtype) for weight in layer)
    )


def _arranged(weight: Weight, pattern: str) -> Weight:
    """Rearrange a weight, and its scales alike."""
    return jax.tree.map(lambda leaf: rearrange(leaf, pattern), weight)


class BoundPrefix(NamedTuple):
    """What stays the same while one chunk is denoised: the prefix, and the suffix's attention."""

    segments: tuple[Segment, ...]  # the prefix's keys and values, by layer
    rotation: RotaryAngles  # of the suffix's positions
    mask: Bool[Array, 'B T T']  # which suffix token reads which


def bind_prefix(
    cache: KeysValues,
    cache_mask: Bool[Array, 'B S'],
    opens_block: Bool[Array, ' T'],
) -> BoundPrefix:
    """Arrange a prefix cache for suffixes whose tokens open attention blocks where `opens_block` is true."""
    depth, batch, _, _, head_dim = cache.keys.shape
    valid = jnp.ones((batch, opens_block.shape[0]), bool)
    positions = jnp.sum(cache_mask, axis=1, keepdims=True) + token_positions(valid)
    return BoundPrefix(
        tuple(
            segment_of(cache.keys[layer], cache.values[layer], cache_mask[:, None, :])
            for layer in range(depth)
        ),
        rotation_of(positions, head_dim),
        attention_mask(valid, opens_block),
    )


def decode(
    layers: tuple[ExpertLayer, ...],
    prefix: BoundPrefix,
    suffix: Float[Array, 'B T W'],
    modulation: Modulation,
) -> Float[Array, 'B T W']:
    """The suffix after its final norm, in the dtype of the prefix's keys."""
    x = suffix.astype(prefix.segments[0].keys.dtype)
    for index, layer in enumerate(layers):
        normed, gate = modulated_norm(x, modulation.attention[..., index, :])
        x = add_gated(x, _attend(layer, prefix, prefix.segments[index], normed), gate)
        normed, gate = modulated_norm(x, modulation.feed_forward[..., index, :])
        x = add_gated(x, _feed_forward(layer, normed), gate)
    return modulated_norm(x, modulation.final)[0]


def _attend(
    layer: ExpertLayer, prefix: BoundPrefix, segment: Segment, x: Float[Array, 'B T W']
) -> Float[Array, 'B T W']:
    kv_heads, head_dim = segment.keys.shape[1:3]
    projected = apply_weight('BTW,WP->BTP', x, layer.qkv)
    projected = rearrange(projected, 'B T (heads H) -> B T heads H', H=head_dim)
    q, k, v = jnp.split(projected, (-2 * kv_heads, -kv_heads), axis=2)
    q = rotate(q, prefix.rotation) * head_dim**-0.5
    own = segment_of(rotate(k, prefix.rotation), v, prefix.mask)
    encoded = grouped_query_attention(q, [segment, own])
    return apply_weight('BTQ,QW->BTW', rearrange(encoded, 'B T N H -> B T (N H)'), layer.out)


def _feed_forward(layer: ExpertLayer, x: Float[Array, 'B T W']) -> Float[Array, 'B T W']:
    gate, up = jnp.split(apply_weight('BTW,WM->BTM', x, layer.gate_up), 2, axis=-1)
    hidden = (nnx.gelu(gate.astype(jnp.float32)) * up).astype(x.dtype)
    return apply_weight('BTM,MW->BTW', hidden, layer.down)

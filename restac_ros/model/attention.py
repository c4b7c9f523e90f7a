"""Attention pieces of both Gemma experts: masks, positions, rotary embeddings, grouped-query attention.

Letters: B batch, T queries, S keys, K key-value heads, G queries per key-value head, N = K * G, H head size.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Bool, Float, Int

MASKED_LOGIT = -2.3819763e38
"""Gemma's stand-in for minus infinity; a row without any valid key becomes uniform instead of NaN."""

ROPE_MAX_WAVELENGTH = 10_000.0


def attention_mask(valid: Bool[Array, 'B S'], opens_block: Bool[Array, ' S']) -> Bool[Array, 'B S S']:
    """Block-causal mask: a token attends to valid tokens of its own block and of every earlier one.

    `opens_block` is True where a token starts a new block, unseen by earlier tokens (openpi's ar mask).
    Rows of invalid tokens are False throughout.
    """
    block = jnp.cumsum(opens_block)
    visible = block[None, :] <= block[:, None]
    return visible & valid[:, None, :] & valid[:, :, None]


def token_positions(valid: Bool[Array, 'B S']) -> Int[Array, 'B S']:
    """Position of each token; padding and masked cameras have none."""
    return jnp.cumsum(valid, axis=1) - 1


class Layout(NamedTuple):
    """Position of each token, and which token reads which."""

    positions: Int[Array, 'B S']
    mask: Bool[Array, 'B S S']


def joint_layout(
    prefix: Bool[Array, 'B P'],
    target: Bool[Array, 'B F'],
    suffix: Bool[Array, ' T'],
) -> Layout:
    """Lay out prefix, target and suffix, in this order.

    The prefix reads itself in both directions. The target, which may be empty, reads the prefix and what
    comes before in the target. The suffix reads the prefix and its own blocks, but no target, and its
    positions are those it has without one.

    Args:
        prefix: which tokens are valid.
        target: which tokens are valid.
        suffix: where a token opens an attention block; all are valid.
    """
    batch, before = prefix.shape[0], prefix.shape[1] + target.shape[1]
    valid = jnp.concatenate([prefix, target, jnp.ones((batch, suffix.shape[0]), bool)], axis=1)
    opens_block = jnp.concatenate([jnp.zeros(prefix.shape[1], bool), jnp.ones(target.shape[1], bool), suffix])
    positions = token_positions(valid)
    skipped = jnp.sum(target, axis=1, keepdims=True)
    mask = attention_mask(valid, opens_block)
    return Layout(
        positions.at[:, before:].add(-skipped), mask.at[:, before:, prefix.shape[1] : before].set(False)
    )


class RotaryAngles(NamedTuple):
    """Sines and cosines of a sequence's rotary angles; half is H / 2."""

    sin: Float[Array, 'B T 1 half']
    cos: Float[Array, 'B T 1 half']


def rotation_of(positions: Int[Array, 'B T'], head_dim: int) -> RotaryAngles:
    """Rotary angles (Su et al. 2021), in float32: pair k turns by positions * 10000^(-2k / head_dim)."""
    half = head_dim // 2
    wavelength = ROPE_MAX_WAVELENGTH ** (jnp.arange(half, dtype=jnp.float32) / half)
    angle = positions[:, :, None, None] / wavelength
    return RotaryAngles(jnp.sin(angle), jnp.cos(angle))


def rotate(x: Float[Array, 'B T N H'], rotation: RotaryAngles) -> Float[Array, 'B T N H']:
    """Turn the first half of each head against the second, in float32."""
    sin, cos = rotation
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    rotated = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return rotated.astype(x.dtype)


class Segment(NamedTuple):
    """Keys that queries may read, and their values, as the products want them; `segment_of` arranges them."""

    keys: Float[Array, 'B K H S']
    values: Float[Array, 'B K S H']
    mask: Bool[Array, 'B Q S']  # which query may read which key; Q is 1 where all read the same


def segment_of(
    keys: Float[Array, 'B S K H'], values: Float[Array, 'B S K H'], mask: Bool[Array, 'B Q S']
) -> Segment:
    """Arrange keys and values for attention."""
    return Segment(rearrange(keys, 'B S K H -> B K H S'), rearrange(values, 'B S K H -> B K S H'), mask)


def grouped_query_attention(
    q: Float[Array, 'B T N H'], segments: Sequence[Segment]
) -> Float[Array, 'B T N H']:
    """Softmax attention of scaled queries over the keys of all segments together.

    Logits and softmax are float32, the result has q's dtype. Segments spare a cache the copy that joining
    its keys with new ones would take. Query heads that share keys become rows of one matrix product, which
    for pi0.5's single key-value head needs no transpose.
    """
    num_queries, kv_heads = q.shape[1], segments[0].keys.shape[1]
    rows = rearrange(q, 'B T (K G) H -> B K (T G) H', K=kv_heads)
    logits = [_masked_logits(rows, segment, num_queries) for segment in segments]
    peak = functools.reduce(jnp.maximum, [part.max(axis=-1, keepdims=True) for part in logits])
    weights = [jnp.exp(part - peak) for part in logits]
    total = functools.reduce(jnp.add, [part.sum(axis=-1, keepdims=True) for part in weights])
    parts = [
        jnp.matmul((part / total).astype(q.dtype), segment.values, preferred_element_type=jnp.float32)
        for part, segment in zip(weights, segments, strict=True)
    ]
    read = functools.reduce(jnp.add, parts)
    return rearrange(read.astype(q.dtype), 'B K (T G) H -> B T (K G) H', T=num_queries)


def insulated_attention(
    q: Float[Array, 'B S N H'],
    keys: Float[Array, 'B S K H'],
    values: Float[Array, 'B S K H'],
    mask: Bool[Array, 'B S S'],
    prefix: int,
) -> Float[Array, 'B S N H']:
    """The same attention, of which no gradient flows from later queries into the first `prefix` tokens.

    Knowledge insulation (arXiv 2505.23705) at its one right place: prefix keys and values as later queries
    read them. The mask must let no prefix token read a later one.
    """
    first = segment_of(keys[:, :prefix], values[:, :prefix], mask[:, :prefix, :prefix])
    held = first._replace(
        keys=jax.lax.stop_gradient(first.keys),
        values=jax.lax.stop_gradient(first.values),
        mask=mask[:, prefix:, :prefix],
    )
    later = segment_of(keys[:, prefix:], values[:, prefix:], mask[:, prefix:, prefix:])
    read = [
        grouped_query_attention(q[:, :prefix], [first]),
        grouped_query_attention(q[:, prefix:], [held, later]),
    ]
    return jnp.concatenate(read, axis=1)


def _masked_logits(
    rows: Float[Array, 'B K R H'], segment: Segment, num_queries: int
) -> Float[Array, 'B K R S']:
    """Logits of all query rows (queries times heads) for one segment's keys."""
    logits = jnp.matmul(rows, segment.keys, preferred_element_type=jnp.float32)
    by_query = rearrange(logits, 'B K (T G) S -> B K T G S', T=num_queries)
    return jnp.where(segment.mask[:, None, :, None, :], by_query, MASKED_LOGIT).reshape(logits.shape)

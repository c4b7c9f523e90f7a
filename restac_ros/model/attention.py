"""Attention pieces of both Gemma experts: masks, positions, rotary embeddings, grouped-query attention.

Letters: B batch, T queries, S keys, K key-value heads, G queries per key-value head, N = K * G, H head size.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

MASKED_LOGIT = -2.3819763e38
"""Gemma's stand-in for minus infinity; a row without any valid key becomes uniform instead of NaN."""

ROPE_MAX_WAVELENGTH = 10_000.0


def attention_mask(valid: Bool[Array, 'B S'], opens_block: Bool[Array, ' S']) -> Bool[Array, 'B S S']:
    """Block-causal mask: a token sees valid tokens of its own block and of every earlier one.

    `opens_block` is True where a token starts a new block, unseen by earlier tokens (openpi's ar mask).
    Rows of invalid tokens are False throughout.
    """
    block = jnp.cumsum(opens_block)
    visible = block[None, :] <= block[:, None]
    return visible & valid[:, None, :] & valid[:, :, None]


def token_positions(valid: Bool[Array, 'B S']) -> Int[Array, 'B S']:
    """Position of each token; padding and masked cameras take none."""
    return jnp.cumsum(valid, axis=1) - 1


def rotary_embedding(x: Float[Array, 'B T N H'], positions: Int[Array, 'B T']) -> Float[Array, 'B T N H']:
    """Rotate the first half of each head against the second (Su et al. 2021), in float32.

    Pair k turns by positions * 10000^(-2k/H).
    """
    half = x.shape[-1] // 2
    wavelength = ROPE_MAX_WAVELENGTH ** (jnp.arange(half, dtype=jnp.float32) / half)
    angle = positions[:, :, None, None] / wavelength
    sin, cos = jnp.sin(angle), jnp.cos(angle)
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    rotated = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return rotated.astype(x.dtype)


def grouped_query_attention(
    q: Float[Array, 'B T N H'],
    k: Float[Array, 'B S K H'],
    v: Float[Array, 'B S K H'],
    mask: Bool[Array, 'B T S'],
) -> Float[Array, 'B T N H']:
    """Softmax attention of scaled queries; logits and softmax in float32, result in q's dtype.

    Query heads that share keys are folded into the rows of one matrix product, which for pi0.5's single
    key-value head needs no transpose.
    """
    batch, num_queries, _, head_dim = q.shape
    kv_heads = k.shape[2]
    q = q.reshape(batch, num_queries, kv_heads, -1, head_dim)
    logits = jnp.einsum('BTKGH,BSKH->BKTGS', q, k, preferred_element_type=jnp.float32)
    logits = jnp.where(mask[:, None, :, None, :], logits, MASKED_LOGIT)
    probs = jax.nn.softmax(logits, axis=-1).astype(q.dtype)
    encoded = jnp.einsum('BKTGS,BSKH->BTKGH', probs, v)
    return encoded.reshape(batch, num_queries, -1, head_dim)

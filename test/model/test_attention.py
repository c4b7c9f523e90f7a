"""Masks, positions, rotary embeddings and attention against slow twins."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from restac_ros.model.attention import (
    attention_mask,
    grouped_query_attention,
    rotate,
    rotation_of,
    segment_of,
    token_positions,
)
from restac_ros.model.restac import last_valid


def _sequences(max_length: int = 8) -> st.SearchStrategy[tuple[np.ndarray, np.ndarray]]:
    """(valid [B, S], opens_block [S])."""

    def of_length(length: int) -> st.SearchStrategy[tuple[np.ndarray, np.ndarray]]:
        valid = npst.arrays(bool, st.tuples(st.integers(1, 3), st.just(length)))
        return st.tuples(valid, npst.arrays(bool, length))

    return st.integers(1, max_length).flatmap(of_length)


@given(_sequences())
@settings(deadline=None, max_examples=60)
def test_a_token_sees_valid_tokens_of_its_own_and_earlier_blocks(sequence) -> None:
    valid, opens_block = sequence
    mask = np.asarray(attention_mask(jnp.asarray(valid), jnp.asarray(opens_block)))
    batch, length = valid.shape
    for b in range(batch):
        for query in range(length):
            for key in range(length):
                blocks_between = opens_block[query + 1 : key + 1].any()
                expected = valid[b, query] and valid[b, key] and not blocks_between
                assert mask[b, query, key] == expected


@given(_sequences())
@settings(deadline=None, max_examples=60)
def test_invalid_tokens_take_no_position(sequence) -> None:
    valid, _ = sequence
    positions = np.asarray(token_positions(jnp.asarray(valid)))
    for row, where in zip(positions, valid, strict=True):
        np.testing.assert_array_equal(row[where], np.arange(where.sum()))


@given(_sequences(), st.integers(1, 12))
@settings(deadline=None, max_examples=60)
def test_last_valid_lists_the_last_valid_positions_in_order(sequence, count: int) -> None:
    valid = sequence[0].copy()
    valid[:, -1] = True  # the tactile token, which is always there
    rows = np.asarray(last_valid(jnp.asarray(valid), count))
    for row, where in zip(rows, valid, strict=True):
        found = np.flatnonzero(where)[-count:]
        expected = np.concatenate([np.full(count - len(found), found[0]), found])
        np.testing.assert_array_equal(row, expected)


def test_rotary_embedding_turns_each_pair_by_its_own_angle(rng: np.random.Generator) -> None:
    x = rng.standard_normal((2, 3, 2, 6)).astype(np.float32)
    positions = np.array([[0, 1, 5], [2, 2, 700]])
    rotated = np.asarray(rotate(jnp.asarray(x), rotation_of(jnp.asarray(positions), 6)))
    pairs = x[..., :3] + 1j * x[..., 3:]
    angles = positions[:, :, None, None] * 10_000.0 ** (-np.arange(3) * 2 / 6)
    expected = pairs * np.exp(1j * angles)
    np.testing.assert_allclose(rotated[..., :3], expected.real, atol=1e-4)
    np.testing.assert_allclose(rotated[..., 3:], expected.imag, atol=1e-4)


@pytest.mark.parametrize('kv_heads', [1, 2])
def test_grouped_attention_equals_one_head_at_a_time_in_one_segment_or_two(
    kv_heads: int, rng: np.random.Generator
) -> None:
    q = rng.standard_normal((2, 5, 4, 8)).astype(np.float32)
    k, v = rng.standard_normal((2, 2, 7, kv_heads, 8)).astype(np.float32)
    mask = rng.random((2, 5, 7)) < 0.7
    mask[..., 0] = True
    q, k, v, mask = map(jnp.asarray, (q, k, v, mask))
    whole = segment_of(k, v, mask)
    parts = [segment_of(k[:, s], v[:, s], mask[:, :, s]) for s in (slice(0, 3), slice(3, 7))]
    result = np.asarray(grouped_query_attention(q, [whole]))
    np.testing.assert_allclose(grouped_query_attention(q, parts), result, atol=1e-5)
    for head in range(4):
        shared = head // (4 // kv_heads)
        logits = np.einsum('bth,bsh->bts', q[:, :, head], k[:, :, shared])
        weights = np.where(mask, np.exp(logits), 0)
        weights /= weights.sum(-1, keepdims=True)
        np.testing.assert_allclose(result[:, :, head], weights @ v[:, :, shared], atol=1e-5)


def test_a_query_without_any_valid_key_gives_finite_numbers(rng: np.random.Generator) -> None:
    q, k, v = (jnp.asarray(rng.standard_normal((1, 2, n, 4)), jnp.float32) for n in (2, 1, 1))
    result = grouped_query_attention(q, [segment_of(k, v, jnp.zeros((1, 2, 2), bool))])
    assert np.isfinite(result).all()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)

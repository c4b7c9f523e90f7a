"""The vector quantizer against slow, obvious loops in float64."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restac_ros.model.tactile import vector_quantizer as vq
from restac_ros.model.tactile.config import QuantizerConfig

CONFIG = QuantizerConfig(num_codes=6, code_dim=3, decay=0.9, epsilon=1e-3)
COSINE = dataclasses.replace(CONFIG, metric='cosine')


def nearest_by_loop(h: np.ndarray, embed: np.ndarray) -> np.ndarray:
    """Index of the nearest row of `embed` for every row of `h`; the first one on a tie."""
    found = []
    for vector in h.astype(np.float64):
        best, best_distance = -1, np.inf
        for k, code in enumerate(embed.astype(np.float64)):
            distance = sum((a - b) ** 2 for a, b in zip(vector, code, strict=True))
            if distance < best_distance:
                best, best_distance = k, distance
        found.append(best)
    return np.array(found)


def ema_by_loop(codebook: vq.Codebook, h: np.ndarray, index: np.ndarray, config: QuantizerConfig) -> list:
    """Embed, cluster size and sums after one batch, code by code."""
    size, total = np.zeros(config.num_codes), np.zeros((config.num_codes, config.code_dim))
    for k in range(config.num_codes):
        members = [vector for vector, i in zip(h, index, strict=True) if i == k]
        size[k] = config.decay * codebook.cluster_size[k] + (1 - config.decay) * len(members)
        total[k] = config.decay * codebook.embed_avg[k] + (1 - config.decay) * sum(members, np.zeros(3))
    n = size.sum()
    smoothed = (size + config.epsilon) / (n + config.num_codes * config.epsilon) * n
    return [total / smoothed[:, None], size, total]


def make_codebook(seed: int) -> vq.Codebook:
    rng = np.random.default_rng(seed)
    embed = rng.standard_normal((CONFIG.num_codes, CONFIG.code_dim)).astype(np.float32)
    size = rng.uniform(0.5, 4, CONFIG.num_codes).astype(np.float32)
    return vq.Codebook(jnp.asarray(embed), jnp.asarray(size), jnp.asarray(embed * size[:, None]))


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@given(seed=st.integers(0, 2**31), batch=st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_nearest_code_equals_the_loop(seed: int, batch: int) -> None:
    codebook = make_codebook(seed)
    h = np.random.default_rng(seed + 1).standard_normal((batch, 3)).astype(np.float32)
    quantized = vq.quantize(jnp.asarray(h), codebook, CONFIG)
    embed = np.asarray(codebook.embed)
    expected = nearest_by_loop(h, embed)
    squared = ((h[:, None] - embed) ** 2).sum(-1)
    # Float32 may order two codes differently only where they are equally far.
    assert np.all(squared[range(batch), quantized.code_index] - squared[range(batch), expected] < 1e-5)
    np.testing.assert_array_equal(quantized.code, embed[np.asarray(quantized.code_index)])
    np.testing.assert_allclose(quantized.distances, squared, atol=1e-4)
    assert quantized.code_index.dtype == jnp.int32


def test_a_tie_goes_to_the_first_code() -> None:
    embed = jnp.asarray([[3.0, 0, 0], [1, 0, 0], [-1, 0, 0], [1, 0, 0], [0, 5, 0], [0, 0, 5]])
    codebook = vq.Codebook(embed, jnp.ones(6), embed)
    assert vq.quantize(jnp.zeros((1, 3)), codebook, CONFIG).code_index.tolist() == [1]


def test_straight_through_has_the_value_of_the_code_and_the_gradient_of_the_input() -> None:
    codebook = make_codebook(0)
    h = jnp.asarray(np.random.default_rng(1).standard_normal((4, 3)), jnp.float32)
    weights = jnp.asarray([1.0, -2.0, 3.0])

    def read(h: jax.Array) -> jax.Array:
        return (vq.straight_through(vq.quantize(h, codebook, CONFIG)) * weights).sum()

    quantized = vq.quantize(h, codebook, CONFIG)
    np.testing.assert_allclose(vq.straight_through(quantized), quantized.code, atol=1e-6)
    np.testing.assert_array_equal(jax.grad(read)(h), np.broadcast_to(weights, h.shape))


def test_commitment_pulls_the_input_and_not_the_code() -> None:
    codebook = make_codebook(0)
    h = jnp.asarray(np.random.default_rng(1).standard_normal((4, 3)), jnp.float32)

    def loss(h: jax.Array, embed: jax.Array) -> jax.Array:
        return vq.commitment_loss(vq.quantize(h, codebook._replace(embed=embed), CONFIG), CONFIG)

    code = np.asarray(vq.quantize(h, codebook, CONFIG).code)
    np.testing.assert_allclose(loss(h, codebook.embed), 0.25 * np.mean((code - h) ** 2), rtol=1e-6)
    to_input, to_codes = jax.grad(loss, argnums=(0, 1))(h, codebook.embed)
    np.testing.assert_allclose(to_input, 0.25 * 2 * (h - code) / h.size, rtol=1e-5)
    assert not np.any(to_codes)


@pytest.mark.parametrize('config', [CONFIG, COSINE], ids=['l2', 'cosine'])
def test_moving_averages_equal_the_loop_over_several_batches(config: QuantizerConfig) -> None:
    rng = np.random.default_rng(3)
    codebook = make_codebook(2)
    if config.metric == 'cosine':
        codebook = codebook._replace(embed=jnp.asarray(unit(np.asarray(codebook.embed))))
    for _ in range(5):
        h = rng.standard_normal((7, 3)).astype(np.float32)
        source = unit(h) if config.metric == 'cosine' else h
        quantized = vq.quantize(jnp.asarray(h), codebook, config)
        index = nearest_by_loop(source, np.asarray(codebook.embed))
        np.testing.assert_array_equal(quantized.code_index, index)
        expected = ema_by_loop(codebook, source, index, config)
        if config.metric == 'cosine':
            expected[0] = unit(expected[0])
        codebook = vq.ema_update(codebook, quantized, config)
        for found, wanted in zip(codebook, expected, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=1e-6)


def test_an_unused_code_stays_where_it_is() -> None:
    codebook = make_codebook(4)
    h = jnp.tile(codebook.embed[:1], (8, 1))
    config = dataclasses.replace(CONFIG, epsilon=1e-8)
    for _ in range(20):
        codebook = vq.ema_update(codebook, vq.quantize(h, codebook, config), config)
    np.testing.assert_allclose(codebook.embed, make_codebook(4).embed, rtol=1e-4)


@pytest.mark.parametrize('config', [CONFIG, COSINE], ids=['l2', 'cosine'])
def test_a_dead_code_restarts_at_a_recent_vector_and_the_others_stay(config: QuantizerConfig) -> None:
    codebook = make_codebook(5)._replace(cluster_size=jnp.asarray([9.0, 9, 0.1, 9, 9, 0.1]))
    recent = np.random.default_rng(6).standard_normal((4, 3)).astype(np.float32) + 50
    updated, moved = vq.restart_dead(codebook, jnp.asarray(recent), 0.5, config, jax.random.key(7))
    assert moved == 2
    drawn = unit(recent) if config.metric == 'cosine' else recent
    for k in range(config.num_codes):
        if k in (2, 5):
            assert np.abs(np.asarray(updated.embed[k]) - drawn).max(axis=1).min() < 1e-6
            assert updated.cluster_size[k] == 0.5
            np.testing.assert_array_equal(updated.embed_avg[k], updated.embed[k] * 0.5)
        else:
            for found, before in zip(updated, codebook, strict=True):
                np.testing.assert_array_equal(found[k], before[k])


@pytest.mark.parametrize('config', [CONFIG, COSINE], ids=['l2', 'cosine'])
def test_a_dead_code_restarts_where_no_code_is(config: QuantizerConfig) -> None:
    """Frames that touch nothing are many, and one event: a code that moved there would die again."""
    embed = jnp.asarray(unit(np.asarray(make_codebook(5).embed)))
    size = jnp.asarray([9.0, 9, 0.1, 9, 9, 0.1])
    codebook = vq.Codebook(embed, size, embed * size[:, None])
    strange = unit(-np.asarray(embed).sum(axis=0, keepdims=True))
    recent = jnp.asarray(np.concatenate([np.tile(embed[:1], (63, 1)), strange]))
    updated, moved = vq.restart_dead(codebook, recent, 0.5, config, jax.random.key(7))
    assert moved == 2
    np.testing.assert_allclose(updated.embed[jnp.asarray([2, 5])], np.tile(strange, (2, 1)), atol=1e-6)


def test_kmeans_finds_separated_clusters() -> None:
    rng = np.random.default_rng(8)
    centres = 20 * rng.standard_normal((6, 3))
    h = np.concatenate([centre + 0.1 * rng.standard_normal((50, 3)) for centre in centres])
    codebook = vq.kmeans_codebook(jnp.asarray(h, jnp.float32), CONFIG, jax.random.key(0))

    order = nearest_by_loop(np.asarray(codebook.embed), centres)
    assert sorted(order) == list(range(6))
    np.testing.assert_allclose(codebook.embed, centres[order], atol=0.1)
    np.testing.assert_array_equal(codebook.cluster_size, 50)
    sums = codebook.embed * codebook.cluster_size[:, None]
    np.testing.assert_allclose(codebook.embed_avg, sums, rtol=1e-5)


def test_kmeans_means_are_the_means_of_their_members() -> None:
    h = np.random.default_rng(9).standard_normal((40, 3)).astype(np.float32)
    config = dataclasses.replace(CONFIG, kmeans_iterations=50)
    codebook = vq.kmeans_codebook(jnp.asarray(h), config, jax.random.key(0))
    index = nearest_by_loop(h, np.asarray(codebook.embed))
    for k in range(config.num_codes):
        np.testing.assert_allclose(codebook.embed[k], h[index == k].mean(axis=0), atol=1e-5)


def test_kmeans_refuses_fewer_vectors_than_codes() -> None:
    with pytest.raises(ValueError, match='found 5 vectors'):
        vq.kmeans_codebook(jnp.ones((5, 3)), CONFIG, jax.random.key(0))


def test_cosine_ignores_length() -> None:
    codebook = make_codebook(10)
    codebook = codebook._replace(embed=jnp.asarray(unit(np.asarray(codebook.embed))))
    h = np.random.default_rng(11).standard_normal((5, 3)).astype(np.float32)
    one, other = (vq.quantize(jnp.asarray(h * scale), codebook, COSINE) for scale in (1, 100))
    np.testing.assert_array_equal(one.code_index, other.code_index)
    np.testing.assert_array_equal(one.code_index, np.argmax(unit(h) @ np.asarray(codebook.embed).T, axis=1))
    np.testing.assert_allclose(np.linalg.norm(one.source, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize(
    ('index', 'expected'), [([2, 2, 2, 2], 1.0), ([0, 1, 2, 3], 4.0), ([0, 0, 5, 5], 2.0)]
)
def test_perplexity_counts_the_codes_in_use(index: list[int], expected: float) -> None:
    assert float(vq.perplexity(jnp.asarray(index), CONFIG.num_codes)) == pytest.approx(expected, rel=1e-6)


def test_perplexity_counts_each_vector_by_its_weight() -> None:
    """A hundred frames in which nothing happens say nothing of how the codes are used by events."""
    index = jnp.asarray([0] * 100 + [1, 2, 3, 4])
    weight = jnp.asarray([0.0] * 100 + [2.0] * 4)
    assert float(vq.perplexity(index, CONFIG.num_codes)) < 1.3
    assert float(vq.perplexity(index, CONFIG.num_codes, weight)) == pytest.approx(4.0, rel=1e-6)

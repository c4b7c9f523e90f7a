"""Vector quantizer with a codebook kept by exponential moving averages (arXiv 1711.00937, appendix A.1).

The rules are pure functions of a `Codebook`; the module only stores one. Options against collapse of the
codebook: cosine codes (arXiv 2110.04627), k-means initialisation and restart of dead codes (2107.03312).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, Key

from restac_ros.model.tactile.config import QuantizerConfig


class Codebook(NamedTuple):
    """Codes and the moving averages that they are quotients of."""

    embed: Float[Array, 'K code']
    cluster_size: Float[Array, ' K']  # moving average of vectors per code and batch
    embed_avg: Float[Array, 'K code']  # moving average of the sum of those vectors


class Quantized(NamedTuple):
    """Chosen codes. With cosine codes, `source` is the input scaled to unit length, else the input."""

    code: Float[Array, 'B code']
    code_index: Int[Array, ' B']
    distances: Float[Array, 'B K']  # squared
    source: Float[Array, 'B code']


class CodebookVariable(nnx.Variable):
    """State of the quantizer: saved with the model, reached by no gradient."""


class VectorQuantizer(nnx.Module):
    """Holds a codebook; `__call__` looks vectors up in it."""

    def __init__(self, config: QuantizerConfig, rngs: nnx.Rngs):
        self.config = config
        embed = jax.random.normal(rngs.params(), (config.num_codes, config.code_dim))
        embed = _unit(embed) if config.metric == 'cosine' else embed
        self.embed = CodebookVariable(embed)
        # One vector each, so that the quotient is the code from the start and unused codes stay in place.
        self.cluster_size = CodebookVariable(jnp.ones(config.num_codes))
        self.embed_avg = CodebookVariable(jnp.copy(embed))

    def __call__(self, h: Float[Array, 'B code']) -> Quantized:
        return quantize(h, self.codebook, self.config)

    @property
    def codebook(self) -> Codebook:
        """The state, as a value."""
        return Codebook(self.embed[...], self.cluster_size[...], self.embed_avg[...])

    @codebook.setter
    def codebook(self, codebook: Codebook) -> None:
        self.embed[...], self.cluster_size[...], self.embed_avg[...] = codebook


def quantize(h: Float[Array, 'B code'], codebook: Codebook, config: QuantizerConfig) -> Quantized:
    """Return the nearest code of each vector; on a tie the first."""
    source = _unit(h) if config.metric == 'cosine' else h
    embed = codebook.embed
    # A rounded product would swap neighbouring codes: full precision also where the default is lower.
    product = jnp.matmul(source, embed.T, precision=jax.lax.Precision.HIGHEST)
    distances = jnp.sum(source**2, axis=1, keepdims=True) + jnp.sum(embed**2, axis=1) - 2 * product
    index = jnp.argmin(distances, axis=1).astype(jnp.int32)
    return Quantized(embed[index], index, distances, source)


def straight_through(quantized: Quantized) -> Float[Array, 'B code']:
    """Return the code in value, the source in gradient."""
    return quantized.source + jax.lax.stop_gradient(quantized.code - quantized.source)


def commitment_loss(quantized: Quantized, config: QuantizerConfig) -> Float[Array, '']:
    """Return what pulls the vectors to their codes; it does not move the codes."""
    code = jax.lax.stop_gradient(quantized.code)
    return config.commitment * jnp.mean((code - quantized.source) ** 2)


def perplexity(
    index: Int[Array, ' B'], num_codes: int, weight: Float[Array, ' B'] | None = None
) -> Float[Array, '']:
    """Return the effective number of codes: exp of the entropy of their use, each vector counted by a weight.

    Without weights, all vectors count the same.
    """
    count = jnp.bincount(index, weights=weight, length=num_codes)
    share = count / jnp.maximum(count.sum(), jnp.finfo(jnp.float32).tiny)
    return jnp.exp(jnp.sum(jax.scipy.special.entr(share)))


def ema_update(codebook: Codebook, quantized: Quantized, config: QuantizerConfig) -> Codebook:
    """Return the codebook after one batch: moving averages, Laplace-smoothed counts."""
    source = jax.lax.stop_gradient(quantized.source)
    chosen = jax.nn.one_hot(quantized.code_index, config.num_codes)
    cluster_size = _moving(codebook.cluster_size, chosen.sum(axis=0), config.decay)
    embed_avg = _moving(codebook.embed_avg, chosen.T @ source, config.decay)
    total = cluster_size.sum()
    smoothed = (cluster_size + config.epsilon) / (total + config.num_codes * config.epsilon) * total
    embed = embed_avg / smoothed[:, None]
    embed = _unit(embed) if config.metric == 'cosine' else embed
    return Codebook(embed, cluster_size, embed_avg)


def restart_dead(
    codebook: Codebook,
    recent: Float[Array, 'R code'],
    below: float,
    config: QuantizerConfig,
    key: Key[Array, ''],
) -> tuple[Codebook, Int[Array, '']]:
    """Move codes that are hardly used to vectors drawn from recent ones (arXiv 2107.03312, section III-C).

    A vector is drawn in proportion to its squared distance from the nearest code: most vectors are nothing
    felt, which one code stands for, and a code that moved there would die again.

    Args:
        codebook: after an update.
        recent: event vectors of the last batches.
        below: vectors per batch (moving average) under which a code counts as dead.
        config: of the quantizer.
        key: of the draw.

    Returns:
        The codebook, and the number of codes that moved.
    """
    dead = codebook.cluster_size < below
    quantized = quantize(recent, codebook, config)
    distance = jnp.maximum(quantized.distances.min(axis=1), 0)  # rounding
    fresh = quantized.source[jax.random.categorical(key, jnp.log(distance), shape=(config.num_codes,))]
    moved = Codebook(
        jnp.where(dead[:, None], fresh, codebook.embed),
        jnp.where(dead, below, codebook.cluster_size),
        jnp.where(dead[:, None], fresh * below, codebook.embed_avg),
    )
    return moved, jnp.sum(dead)


def kmeans_codebook(h: Float[Array, 'B code'], config: QuantizerConfig, key: Key[Array, '']) -> Codebook:
    """Return a codebook of the batch's cluster means: k-means++ seeds, then Lloyd's iterations.

    An empty cluster keeps its last mean.

    Raises:
        ValueError: fewer vectors than codes.
    """
    if h.shape[0] < config.num_codes:
        raise ValueError(
            f'k-means of {config.num_codes} codes: found {h.shape[0]} vectors, expected at least as many; '
            'collect a larger first batch'
        )
    source = _unit(h) if config.metric == 'cosine' else h
    seeds = _spread_seeds(source, config.num_codes, key)

    def lloyd(_: int, means: Float[Array, 'K code']) -> Float[Array, 'K code']:
        count, total = _cluster(source, means, config)
        means = jnp.where(count[:, None] > 0, total / jnp.maximum(count, 1)[:, None], means)
        return _unit(means) if config.metric == 'cosine' else means

    means = jax.lax.fori_loop(0, config.kmeans_iterations, lloyd, seeds)
    cluster_size = jnp.maximum(_cluster(source, means, config)[0], 1)
    return Codebook(means, cluster_size, means * cluster_size[:, None])


def _spread_seeds(source: Float[Array, 'B code'], count: int, key: Key[Array, '']) -> Float[Array, 'K code']:
    """Draw vectors, each with probability proportional to its squared distance from those drawn before."""
    keys = jax.random.split(key, count)
    first = source[jax.random.randint(keys[0], (), 0, source.shape[0])]

    def draw(
        state: tuple[Float[Array, ' B'], Float[Array, ' code']], key: Key[Array, '']
    ) -> tuple[tuple[Float[Array, ' B'], Float[Array, ' code']], Float[Array, ' code']]:
        distance, last = state
        distance = jnp.minimum(distance, jnp.sum((source - last) ** 2, axis=1))
        seed = source[jax.random.categorical(key, jnp.log(distance))]
        return (distance, seed), seed

    start = (jnp.full(source.shape[0], jnp.inf), first)
    _, others = jax.lax.scan(draw, start, keys[1:])
    return jnp.concatenate([first[None], others])


def _cluster(
    source: Float[Array, 'B code'], means: Float[Array, 'K code'], config: QuantizerConfig
) -> tuple[Float[Array, ' K'], Float[Array, 'K code']]:
    """Number and sum of the vectors nearest to each mean."""
    nearest = quantize(source, Codebook(means, means[:, 0], means), config).code_index
    chosen = jax.nn.one_hot(nearest, config.num_codes)
    return chosen.sum(axis=0), chosen.T @ source


def _moving(average: Array, value: Array, decay: float) -> Array:
    return decay * average + (1 - decay) * value


def _unit(x: Float[Array, 'N code']) -> Float[Array, 'N code']:
    # The small term keeps the gradient of a zero vector finite.
    return x * jax.lax.rsqrt(jnp.sum(x**2, axis=-1, keepdims=True) + 1e-12)

"""Decode a text token by token on a prefix's unchanged cache: each token is one call of one shape.

The first token is predicted by the prompt's last one, which the cache holds: that one is read again as a
query, its own slot unread, so that no final tokens of the prefix are needed. The host makes one call a token;
between two of them others may use the device.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from restac_ros.model.gemma import KeysValues, TokenSlots
from restac_ros.model.pi05 import Pi05
from restac_ros.model.prefix import PrefixCache


@dataclass(frozen=True)
class TokenChoice:
    """How the next token is chosen.

    Attributes:
        temperature: 0: the likeliest; else logits are divided by it and one is drawn.
        top_k: draw among so many of the likeliest; None: among all.

    Raises:
        ValueError: a negative temperature, or no token to draw from.
    """

    temperature: float = 0.0
    top_k: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float('inf'):
            raise ValueError(f'temperature: found {self.temperature}, expected a finite number from 0')
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f'top_k: found {self.top_k}, expected 1 or more, or None')

    def __call__(self, logits: Float[Array, 'B V'], key: PRNGKeyArray) -> Int[Array, ' B']:
        """Return one token a row."""
        if self.temperature == 0.0:
            return jnp.argmax(logits, axis=-1).astype(jnp.int32)
        if self.top_k is None:
            return jax.random.categorical(key, logits / self.temperature).astype(jnp.int32)
        likeliest, ids = jax.lax.top_k(logits, min(self.top_k, logits.shape[-1]))
        drawn = jax.random.categorical(key, likeliest / self.temperature)
        return jnp.take_along_axis(ids, drawn[:, None], axis=-1)[:, 0].astype(jnp.int32)


GREEDY = TokenChoice()


class Saying(NamedTuple):
    """A text in the making; C is the capacity in tokens.

    Attributes:
        last: the newest token; at first the prompt's last one.
        position: of `last`.
        ended: the row has generated its end; what follows it is `end` again.
        number: tokens generated so far.
        held: keys and values of all layers.
    """

    last: Int[Array, ' B']
    position: Int[Array, ' B']
    ended: Bool[Array, ' B']
    number: Int[Array, '']
    held: KeysValues


class Said(NamedTuple):
    """One token a row, its log-probability among the allowed ones, and whether the row had not ended."""

    token: Int[Array, ' B']
    log_probability: Float[Array, ' B']
    counts: Bool[Array, ' B']


def begin(
    cache: PrefixCache, prompt: Int[Array, 'B P'], prompt_mask: Bool[Array, 'B P'], capacity: int
) -> Saying:
    """Return where a text begins after the prompt that the cache was made with.

    Args:
        cache: cameras and prompt.
        prompt: its tokens.
        prompt_mask: valid ones, the rest is padding on the right.
        capacity: most tokens to generate, the end included.
    """
    depth, batch, _, kv_heads, head_dim = cache.keys.shape
    last = jnp.take_along_axis(prompt, jnp.sum(prompt_mask, axis=1, keepdims=True) - 1, axis=1)
    empty = jnp.zeros((depth, batch, capacity, kv_heads, head_dim), cache.keys.dtype)
    return Saying(
        last[:, 0].astype(jnp.int32),
        jnp.sum(cache.mask, axis=1).astype(jnp.int32) - 1,
        jnp.zeros(batch, bool),
        jnp.zeros((), jnp.int32),
        KeysValues(empty, empty),
    )


def say(
    model: Pi05,
    cache: PrefixCache,
    saying: Saying,
    allowed: Bool[Array, ' V'],
    end: int | Int[Array, ''],
    choice: TokenChoice = GREEDY,
    key: PRNGKeyArray | None = None,
    apart: Sequence[nnx.State] | None = None,
) -> tuple[Saying, Said]:
    """Generate one token more; rows that have ended stay so. Not beyond the capacity.

    Args:
        model: the network.
        cache: cameras and prompt.
        saying: the state after the tokens before.
        allowed: tokens that may be generated; the end must be one.
        end: the end-of-sequence token.
        choice: how a token is chosen.
        key: of the text; needed unless the choice is greedy.
        apart: see `Gemma.extend`.
    """
    llm = model.PaliGemma.llm
    slot = jnp.arange(saying.held.keys.shape[2])
    # Slot 0 takes the prompt's last token, which the cache holds already: it is not read.
    slots = TokenSlots(saying.held, saying.number, (slot > 0) & (slot <= saying.number))
    out, held = llm.extend(
        llm.embed(saying.last[:, None]),
        saying.position[:, None],
        KeysValues(cache.keys, cache.values),
        cache.mask,
        slots,
        apart,
    )
    logits = jnp.where(allowed, llm.logits(out)[:, 0], -jnp.inf)
    drawing = jax.random.fold_in(jax.random.key(0) if key is None else key, saying.number)
    token = jnp.where(saying.ended, end, choice(logits, drawing))
    picked = jnp.take_along_axis(logits, token[:, None], axis=-1)[:, 0]
    said = Said(token, picked - jax.nn.logsumexp(logits, axis=-1), ~saying.ended)
    after = Saying(token, saying.position + 1, saying.ended | (token == end), saying.number + 1, held)
    return after, said

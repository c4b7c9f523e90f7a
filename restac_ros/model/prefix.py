"""Cameras and prompt as keys and values, in one pass or in slices that other calls can run between."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from restac_ros.model.attention import attention_mask, token_positions
from restac_ros.model.gemma import Gemma, KeysValues
from restac_ros.model.present import present


class PrefixCache(NamedTuple):
    """What cameras and prompt contribute; reusable for as many chunks and tactile frames as it holds."""

    keys: Float[Array, 'L B S K H']
    values: Float[Array, 'L B S K H']
    mask: Bool[Array, 'B S']
    prefix_out: Float[Array, 'B S W'] | None  # expert 0's final tokens, where the fusion reads them
    view_features: Float[Array, 'B F'] | None  # the tactile prior's part that depends on the cameras only


class PrefixCarry(NamedTuple):
    """A prefix after some of the layers."""

    tokens: Float[Array, 'B S W'] | None  # after those layers; after all of them, as `prefill` returns them
    mask: Bool[Array, 'B S']
    view_features: Float[Array, 'B F'] | None
    done: tuple[KeysValues, ...]  # of the layers so far, by slice


def extend_prefix(
    llm: Gemma, carry: PrefixCarry, first: int, last: int, *, legacy_unmasked: bool, with_output: bool
) -> PrefixCarry:
    """Run layers `first` to `last` (exclusive); see `Gemma.prefill`."""
    mask = carry.mask
    readable = mask[:, None, :]
    if legacy_unmasked:  # it reads what comes out at invalid positions, too
        readable = attention_mask(mask, jnp.zeros(mask.shape[1], bool))
    before = present(carry.tokens, 'tokens')
    made, tokens = llm.prefill(before, token_positions(mask), readable, with_output, (first, last))
    return carry._replace(tokens=tokens, done=(*carry.done, made))


def finish_prefix(carry: PrefixCarry) -> PrefixCache:
    """Return the cache of a prefix that has been through all layers."""
    keys, values = jax.tree.map(lambda *parts: jnp.concatenate(parts), *carry.done)
    return PrefixCache(keys, values, carry.mask, carry.tokens, carry.view_features)

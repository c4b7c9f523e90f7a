"""Errors of the text that training teaches the language expert, before they are averaged over samples."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from restac_ros.model.joint_pass import TextTarget
from restac_ros.model.token_loss import smoothed_cross_entropy


class TextErrors(NamedTuple):
    """Of each sample; a sample without a target counts for nothing.

    Attributes:
        loss: cross-entropy, natural logarithm, averaged over the target's valid tokens; 0 without any.
        right: the likeliest token is the right one at every place, the end included: what greedy decoding
            would then say.
        counted: the sample has a target.
    """

    loss: Float[Array, ' B']
    right: Bool[Array, ' B']
    counted: Bool[Array, ' B']


def text_errors(logits: Float[Array, 'B F V'], target: TextTarget, smoothing: float = 0.0) -> TextErrors:
    """Compare logits with the target, token by token; `smoothing` see `smoothed_cross_entropy`."""
    mask = target.mask
    entropy = jnp.where(mask, smoothed_cross_entropy(logits, target.tokens, smoothing), 0.0)
    count = jnp.sum(mask, axis=1)
    right = jnp.where(mask, jnp.argmax(logits, axis=-1) == target.tokens, True)
    return TextErrors(
        jnp.sum(entropy, axis=1) / jnp.maximum(count, 1), jnp.all(right, axis=1) & (count > 0), count > 0
    )

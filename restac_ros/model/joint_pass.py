"""What training asks of one pass over prefix, target and suffix, and what the pass gives back.

A target is a text, or action tokens, that the language expert learns to continue the prompt with:
`[cameras; prompt; target; end]`, each token predicted from all before it.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from restac_ros.model.intermediates import Intermediates


class TextTarget[A: (np.ndarray, Array)](NamedTuple):
    """Tokens to predict, the end-of-sequence token last; F is the padded length, padding is False.

    A is `np.ndarray` on the host and `Array` in the network.
    """

    tokens: Int[A, 'B F']
    mask: Bool[A, 'B F']


class Beside(NamedTuple):
    """What a joint pass trains beside the velocity.

    Attributes:
        target: what the language expert predicts; the action expert never reads it. None: nothing.
        insulated: the action expert's loss does not reach the language expert.
    """

    target: TextTarget | None = None
    insulated: bool = False


ALONE = Beside()


class JointPass(NamedTuple):
    """Both experts' final tokens, the velocity, and the intermediates."""

    prefix_out: Float[Array, 'B S W']
    target_readers: Float[Array, 'B F W']  # expert 0's tokens that predict each token of the target
    suffix_out: Float[Array, 'B T V']
    velocity: Float[Array, 'B T D']
    reading: Intermediates | None


def no_target(batch: int) -> TextTarget:
    """Return a target without tokens."""
    return TextTarget(jnp.zeros((batch, 0), jnp.int32), jnp.zeros((batch, 0), bool))


def target_readers(
    out: Float[Array, 'B S W'], prompt_mask: Bool[Array, 'B P'], target: TextTarget
) -> Float[Array, 'B F W']:
    """Return the token before each of the target's: the prompt's last valid one, then the target shifted.

    Args:
        out: final tokens of cameras, prompt and target, in this order.
        prompt_mask: valid tokens of the prompt, padded on the right.
        target: what is predicted.
    """
    length = target.tokens.shape[1]
    before = out.shape[1] - length
    last = before - prompt_mask.shape[1] + jnp.sum(prompt_mask, axis=1) - 1
    first = jnp.take_along_axis(out, last[:, None, None], axis=1)
    return jnp.concatenate([first, out[:, before:]], axis=1)[:, :length]

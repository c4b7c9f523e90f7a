"""Cross-entropy of tokens with label smoothing: the loss of the classical heads, a bin for each value."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def smoothed_cross_entropy(
    logits: Float[Array, '*batch K'], targets: Int[Array, '*batch'], smoothing: float = 0.0
) -> Float[Array, '*batch']:
    """Return the cross-entropy, natural logarithm, of each token.

    The target has 1 - smoothing at the right token and the rest spread evenly over the other K - 1 (Szegedy
    et al. 2016, arXiv 1512.00567, who spread it over all K).
    """
    if smoothing == 0:
        picked = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
        return jax.nn.logsumexp(logits, axis=-1) - picked
    logs = jax.nn.log_softmax(logits, axis=-1)
    right = jnp.take_along_axis(logs, targets[..., None], axis=-1)[..., 0]
    others = jnp.sum(logs, axis=-1) - right
    return -(1 - smoothing) * right - smoothing / (logits.shape[-1] - 1) * others

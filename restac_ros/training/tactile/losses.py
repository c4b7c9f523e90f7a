"""Losses of Unit-Align's prior: an expectation of touch that knows how sure it is."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

BETA = 0.5
"""Exponent of beta-NLL, as its authors recommend: 0 is the plain likelihood, 1 close to a mean square."""

LOGVAR_RANGE = (-10.0, 5.0)
"""Soft bounds of logvar in training. Latents have a mean square of about 1, whose logarithm is 0."""


def bounded_logvar(raw: Float[Array, ' B']) -> Float[Array, ' B']:
    """Return logvar held between soft bounds, by softplus (arXiv 1805.12114, appendix A.1).

    Further than 5 from both bounds it is `raw` within 0.01.
    """
    low, high = LOGVAR_RANGE
    below = high - jax.nn.softplus(high - raw)
    return low + jax.nn.softplus(below - low)


def squared_error(mean: Float[Array, 'B h w z'], measured: Float[Array, 'B h w z']) -> Float[Array, ' B']:
    """Return the mean over the latent's dimensions: the variance per dimension that the prior should state.

    The paper's term with lambda_sigma = number of dimensions; its optimum is logvar = log of this.
    """
    return jnp.mean((measured - mean) ** 2, axis=(1, 2, 3))


def negative_log_likelihood(error: Float[Array, ' B'], logvar: Float[Array, ' B']) -> Float[Array, ' B']:
    """Return the Gaussian's, per latent dimension: (log 2 pi + logvar + error / var) / 2."""
    return 0.5 * (jnp.log(2 * jnp.pi) + logvar + error * jnp.exp(-logvar))


def beta_nll(
    error: Float[Array, ' B'], raw_logvar: Float[Array, ' B'], beta: float = BETA
) -> Float[Array, '']:
    """Return beta-NLL (arXiv 2203.09168): each sample's likelihood weighed by its variance to the power beta.

    The plain likelihood starves the mean wherever the variance is large.
    """
    logvar = bounded_logvar(raw_logvar)
    weight = jax.lax.stop_gradient(jnp.exp(beta * logvar))
    return jnp.mean(weight * negative_log_likelihood(error, logvar))

"""Losses of the tactile prior, against slow twins and known optima."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from restac_ros.training.tactile.losses import (
    LOGVAR_RANGE,
    beta_nll,
    bounded_logvar,
    negative_log_likelihood,
    squared_error,
)


def test_the_likelihood_is_best_where_the_variance_is_the_squared_error() -> None:
    """The optimum of the paper's term with lambda_sigma = number of dimensions."""
    error = jnp.asarray([0.02, 1.0, 3.0])
    slope = jax.grad(lambda logvar: negative_log_likelihood(error, logvar).sum())(jnp.log(error))
    np.testing.assert_allclose(slope, 0, atol=1e-6)


def test_the_squared_error_is_a_mean_over_the_dimensions_of_the_latent() -> None:
    rng = np.random.default_rng(0)
    mean, measured = rng.standard_normal((2, 3, 4, 5, 6))
    wanted = [np.mean((one - other) ** 2) for one, other in zip(mean, measured, strict=True)]
    np.testing.assert_allclose(squared_error(jnp.asarray(mean), jnp.asarray(measured)), wanted, rtol=1e-6)


def test_beta_nll_scales_each_gradient_by_the_variance_to_the_power_beta() -> None:
    error, logvar = jnp.asarray([0.5, 2.0]), jnp.asarray([-3.0, 1.5])
    plain = jax.grad(lambda e: beta_nll(e, logvar, beta=0.0))(error)
    scaled = jax.grad(lambda e: beta_nll(e, logvar, beta=0.5))(error)
    np.testing.assert_allclose(scaled / plain, jnp.exp(0.5 * bounded_logvar(logvar)), rtol=1e-5)


def test_with_beta_one_the_mean_learns_as_from_a_mean_square() -> None:
    error, logvar = jnp.asarray([0.5, 2.0]), jnp.asarray([-3.0, 1.5])
    np.testing.assert_allclose(jax.grad(lambda e: beta_nll(e, logvar, beta=1.0))(error), 0.25, rtol=1e-5)


@pytest.mark.parametrize('raw', [-40.0, 40.0])
def test_logvar_stays_within_its_bounds_however_far_it_runs(raw: float) -> None:
    low, high = LOGVAR_RANGE
    assert low - 1e-3 <= float(bounded_logvar(jnp.asarray(raw))) <= high + 1e-3


def test_logvar_between_its_bounds_is_what_is_deployed() -> None:
    inside = jnp.linspace(LOGVAR_RANGE[0] + 5, LOGVAR_RANGE[1] - 5, 20)
    np.testing.assert_allclose(bounded_logvar(inside), inside, atol=0.01)

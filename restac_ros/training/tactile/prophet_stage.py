"""Second stage: the touch that cameras and motion predict, on the frozen latent."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, PRNGKeyArray

from restac_ros.model.tactile.prophet import Prior
from restac_ros.training.evaluation.surprise import surprise_calibration
from restac_ros.training.step import NamedLeaves
from restac_ros.training.tactile.config import StageName
from restac_ros.training.tactile.losses import (
    beta_nll,
    bounded_logvar,
    negative_log_likelihood,
    squared_error,
)
from restac_ros.training.tactile.samples import TouchBatch
from restac_ros.training.tactile.stage import FrameValues
from restac_ros.training.tactile.trainee import UNIT, Trainee


@dataclass(frozen=True)
class ProphetStage:
    """Beta-NLL of the latent; the mean alone for the first steps.

    Attributes:
        mean_steps: steps in which the variance is left alone.
    """

    mean_steps: int
    name: StageName = 'prophet'
    parts: tuple[str, ...] = (f'{UNIT}/prophet',)
    reads_views: bool = True

    def loss(
        self, model: Trainee, batch: TouchBatch, step: Int[Array, ''], key: PRNGKeyArray
    ) -> tuple[Float[Array, ''], dict[str, Array]]:
        """Return the loss; batch statistics of the view encoder move."""
        latent = model.unit.latent(jnp.asarray(batch.tactile))
        features = model.unit.prophet.encode_views(jnp.asarray(batch.views), train=True)
        prior = model.unit.prophet.predict(features, jnp.asarray(batch.action_prev), nnx.Rngs(key))
        error, raw = squared_error(prior.mean, latent), prior.logvar[:, 0]
        loss = jnp.where(step < self.mean_steps, jnp.mean(error), beta_nll(error, raw))
        nll = jnp.mean(negative_log_likelihood(error, bounded_logvar(raw)))
        return loss, {'latent_error': jnp.mean(error), 'nll': nll, 'logvar': jnp.mean(raw)}

    def measure(self, model: Trainee, batch: TouchBatch) -> dict[str, Array]:
        """Return latents, errors and log variances as in deployment."""
        latent, prior = felt_and_expected(model, batch)
        return {
            'latent': latent,
            'error': squared_error(prior.mean, latent),
            'logvar': prior.logvar[:, 0],
        }

    def health(self, measured: FrameValues) -> dict[str, float]:
        """Return explained variance, and how well logvar foretells the errors."""
        latent, error, logvar = (measured[name] for name in ('latent', 'error', 'logvar'))
        spread = float(np.mean((latent - latent.mean(axis=0)) ** 2))
        found = surprise_calibration(logvar, error)
        return {
            'explained': 1 - float(error.mean()) / spread,
            'nll': found.nll,
            'nll_constant': found.nll_constant,
            'rank_correlation': found.rank_correlation,
            'logvar_min': float(logvar.min()),
            'logvar_max': float(logvar.max()),
        }

    def describe(self, health: Mapping[str, float]) -> str:
        """Return the health in words."""
        better = health['nll'] < health['nll_constant']
        verdict = 'better than' if better else 'NO better than'
        return (
            f'explains {health["explained"]:.0%} of the latent; NLL {health["nll"]:.3f}, {verdict} '
            f'{health["nll_constant"]:.3f} of a constant variance; logvar ({health["logvar_min"]:.2f} to '
            f'{health["logvar_max"]:.2f}) ranks errors with {health["rank_correlation"]:.2f} (1: perfectly)'
        )

    def before(self, step: int, measured: Callable[[int], FrameValues]) -> NamedLeaves:
        """Return no leaves: none is replaced."""
        return {}


def felt_and_expected(model: Trainee, batch: TouchBatch) -> tuple[Float[Array, 'B h w z'], Prior]:
    """Return the latent and its prior, as in deployment."""
    features = model.unit.encode_views(jnp.asarray(batch.views))
    prior = model.unit.prophet.predict(features, jnp.asarray(batch.action_prev))
    return model.unit.latent(jnp.asarray(batch.tactile)), prior

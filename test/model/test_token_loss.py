"""Cross-entropy with label smoothing, by published numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from restac_ros.model.token_loss import smoothed_cross_entropy

BINS = 256
RIGHT = np.array([0.85, 0.60, 0.40, 0.70, 0.55, 0.20, 0.90])  # probabilities of the right bin, by dimension
TARGETS = np.array([205, 77, 255, 160, 255, 3, 0])


ENTROPY = 0.8792093279072909
"""Of a target with 0.9 at one of 256 bins, the rest spread over the others: the least cross-entropy."""


@pytest.fixture
def logits() -> np.ndarray:
    """What is not on the right bin is spread evenly over the others."""
    probabilities = np.repeat((1 - RIGHT)[:, None] / (BINS - 1), BINS, axis=1)
    probabilities[np.arange(len(RIGHT)), TARGETS] = RIGHT
    return np.log(probabilities) + 3.0  # a constant changes nothing


def test_without_smoothing_it_is_minus_the_logarithm_of_the_right_bin(logits: np.ndarray) -> None:
    found = smoothed_cross_entropy(jnp.asarray(logits), jnp.asarray(TARGETS))
    np.testing.assert_allclose(found, [0.16, 0.51, 0.92, 0.36, 0.60, 1.61, 0.11], atol=0.005)
    assert float(found.mean()) == pytest.approx(0.608421, abs=1e-5)


def test_with_smoothing_it_is_the_targets_entropy_and_the_divergence_from_it(logits: np.ndarray) -> None:
    found = np.asarray(smoothed_cross_entropy(jnp.asarray(logits), jnp.asarray(TARGETS), 0.1))
    assert found[0] == pytest.approx(0.8901053895524282, abs=1e-5)
    assert found[0] - ENTROPY == pytest.approx(0.010896061645137345, abs=1e-5)
    assert float(found.mean()) == pytest.approx(1.213883, abs=1e-5)
    assert float(found.mean()) - ENTROPY == pytest.approx(0.334674, abs=1e-5)


def test_it_is_least_where_the_network_says_the_smoothed_target() -> None:
    target = np.full(BINS, 0.1 / (BINS - 1))
    target[7] = 0.9
    least, right = jnp.log(jnp.asarray(target))[None], jnp.array([7])
    value, slope = jax.value_and_grad(lambda x: smoothed_cross_entropy(x, right, 0.1).sum())(least)
    assert float(value) == pytest.approx(ENTROPY, abs=1e-5)
    assert float(jnp.abs(slope).max()) < 1e-6

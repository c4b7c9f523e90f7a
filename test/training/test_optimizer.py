"""The optimiser is the published one: its schedule, visibly shortened with a run, and its clipping."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from restac_ros.training.config import OptimizerConfig
from restac_ros.training.optimizer import schedule, transformation

PUBLISHED = OptimizerConfig()


@pytest.mark.parametrize(('steps', 'warmup', 'decay'), [(50_000, 1_000, 30_000), (3_000, 100, 3_000)])
def test_the_rate_rises_in_a_line_and_falls_by_half_a_cosine(steps: int, warmup: int, decay: int) -> None:
    rate = schedule(PUBLISHED, steps)
    peak, end = PUBLISHED.peak, PUBLISHED.end
    for step in (0, warmup // 2, warmup):
        assert float(rate(step)) == pytest.approx(
            peak * (step + (1 - step / warmup)) / (warmup + 1), rel=0.01
        )
    middle = (warmup + decay) // 2
    assert float(rate(middle)) == pytest.approx((peak + end) / 2, rel=0.01)
    assert float(rate(decay)) == float(rate(decay + 500)) == pytest.approx(end)


def test_a_shortened_schedule_says_so() -> None:
    assert PUBLISHED.describe(3_000).startswith(
        'AdamW, 2.5e-05 after 100 steps, 2.5e-06 after 3000 (shortened'
    )
    assert 'shortened' not in PUBLISHED.describe(30_000)


@pytest.mark.parametrize('size', [0.01, 30.0])
def test_updates_are_those_of_optax_after_its_own_clipping(size: float) -> None:
    """With a state of the same shape: what was saved with it is read."""
    rng = np.random.default_rng(0)
    params = {name: jnp.asarray(rng.normal(size=(5, 7)), jnp.float32) for name in 'ab'}
    adamw = optax.adamw(schedule(PUBLISHED, 100), b1=0.9, b2=0.95, eps=1e-8, weight_decay=1e-10)
    ours, theirs = transformation(PUBLISHED, 100), optax.chain(optax.clip_by_global_norm(1.0), adamw)
    one, other = ours.init(params), theirs.init(params)
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for _ in range(3):
        gradient = {name: size * jnp.asarray(rng.normal(size=(5, 7)), jnp.float32) for name in 'ab'}
        (found, one), (wanted, other) = (
            ours.update(gradient, one, params),
            theirs.update(gradient, other, params),
        )
        for name in params:
            np.testing.assert_allclose(found[name], wanted[name], rtol=1e-5)


def test_a_gradient_that_is_not_finite_is_not_hidden_by_clipping() -> None:
    ours, params = transformation(PUBLISHED, 100), {'a': jnp.ones(2)}
    for broken in (jnp.nan, jnp.inf):
        updates, _ = ours.update({'a': jnp.array([1.0, broken])}, ours.init(params), params)
        assert not jnp.isfinite(updates['a']).all()

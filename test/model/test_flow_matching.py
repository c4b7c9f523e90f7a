"""Noise, targets, losses and Euler's method, against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from restac_ros.model import flow_matching


def test_flow_time_is_one_at_noise_and_the_target_points_to_noise() -> None:
    actions, noise = jnp.ones((2, 3, 4)), jnp.full((2, 3, 4), 5.0)
    x_t, target = flow_matching.interpolate(actions, noise, jnp.array([1.0, 0.25]))
    np.testing.assert_allclose(x_t[0], noise[0])
    np.testing.assert_allclose(x_t[1], 2.0)
    np.testing.assert_allclose(target, 4.0)


def test_training_times_lie_in_their_interval_and_lean_to_noise() -> None:
    time = flow_matching.sample_time(jax.random.key(0), 4000)
    assert time.min() >= 0.001
    assert time.max() <= 1.0
    np.testing.assert_allclose(time.mean(), 0.6 * 0.999 + 0.001, atol=0.02)  # mean of Beta(1.5, 1)


def test_euler_follows_a_straight_flow_exactly() -> None:
    """A velocity that is constant along the path leads from noise to the actions in any number of steps."""
    actions = jnp.arange(6.0).reshape(1, 2, 3)
    noise = jnp.full((1, 2, 3), -2.0)
    for num_steps in (1, 7):
        times = flow_matching.euler_times(num_steps)
        result = flow_matching.integrate(lambda x, t: noise - actions, noise, times, num_steps)
        np.testing.assert_allclose(result, actions, atol=1e-5)


def test_euler_evaluates_where_a_written_out_loop_does() -> None:
    times = flow_matching.euler_times(5)
    x = 1.0
    for t in (1.0, 0.8, 0.6, 0.4, 0.2):
        x -= (t * t + x) / 5
    result = flow_matching.integrate(lambda x, t: t**2 + x, jnp.ones((1, 1, 1)), times, 5)
    np.testing.assert_allclose(result[0, 0, 0], x, atol=1e-6)


def test_fewer_than_one_step_is_refused() -> None:
    with pytest.raises(ValueError, match='num_steps: found 0'):
        flow_matching.euler_times(0)


def test_padded_steps_do_not_count() -> None:
    rng = np.random.default_rng(0)
    velocity, target = (jnp.asarray(rng.standard_normal((2, 4, 6)), jnp.float32) for _ in range(2))
    step_mask = jnp.array([[True] * 4, [True, True, False, False]])
    loss = flow_matching.step_loss((velocity - target) ** 2, step_mask)
    error = np.square(np.asarray(velocity - target)).mean(-1)
    np.testing.assert_allclose(loss[0], error[0], rtol=1e-6)
    np.testing.assert_allclose(loss[1, :2], error[1, :2], rtol=1e-6)
    assert (loss[1, 2:] == 0).all()


def test_time_embedding_has_periods_from_4_ms_to_4() -> None:
    embedding = np.asarray(flow_matching.time_embedding(jnp.array([0.3]), 8))[0]
    periods = np.geomspace(4e-3, 4.0, 4)
    angles = 0.3 * 2 * np.pi / periods
    np.testing.assert_allclose(embedding, np.concatenate([np.sin(angles), np.cos(angles)]), atol=1e-4)

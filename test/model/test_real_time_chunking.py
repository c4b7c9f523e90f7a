"""Guided and conditioned sampling against flow fields whose solutions are known in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from restac_ros.model import flow_matching
from restac_ros.model.real_time_chunking import (
    Guidance,
    guidance_weight,
    guide,
    is_decided,
    keep_decided,
    sample_delay,
    with_decided,
)

BATCH, HORIZON, DIM = 2, 6, 3
WEIGHTS = jnp.array([1.0, 1.0, 0.6, 0.2, 0.0, 0.0])[None, :, None]
FREE = jnp.zeros((1, HORIZON, 1))


def normal(seed: int, *shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape or (BATCH, HORIZON, DIM))


def sample(velocity, noise: jax.Array, num_steps: int) -> jax.Array:
    times = flow_matching.euler_times(num_steps)
    return jax.jit(lambda x: flow_matching.integrate(velocity, x, (times, times), num_steps))(noise)


def test_guidance_weight_matches_the_paper():
    for time in np.linspace(0, 1, 41):
        tau = 1.0 - time
        with np.errstate(divide='ignore', invalid='ignore'):
            r2 = np.float64((1 - tau) ** 2) / (tau**2 + (1 - tau) ** 2)
            free = (1 - tau) / np.float64(tau) / r2
        expected = 5.0 if not np.isfinite(free) else min(5.0, free)
        assert float(guidance_weight(jnp.float32(time))) == pytest.approx(expected, rel=1e-5), time
    assert float(guidance_weight(jnp.float32(0.5), 1.5)) == 1.5


def test_exact_field_is_left_alone():
    """Where the network already knows the actions, they don't depend on x: nothing can be pulled."""
    actions, decided, noise = normal(1), normal(2), normal(3)
    exact = guide(lambda x, time: (x - actions) / time, Guidance(decided, WEIGHTS))
    for num_steps in (1, 4, 10):
        np.testing.assert_allclose(sample(exact, noise, num_steps), actions, atol=2e-5)


def test_constant_field_follows_the_recursion():
    """With constant v the expected actions move with x one to one: a step pulls by weight * W * error / n."""
    field, decided, noise, num_steps = normal(1), normal(2), normal(3), 5
    x = np.asarray(noise, np.float64)
    W = np.asarray(WEIGHTS)
    for k in range(num_steps):
        time = 1 - k / num_steps
        ratio = np.inf if time in (0, 1) else (time**2 + (1 - time) ** 2) / (time * (1 - time))
        error = np.asarray(decided) - (x - time * np.asarray(field))
        x = x - (np.asarray(field) - min(5.0, ratio) * W * error) / num_steps
    guided = guide(lambda x, time: field, Guidance(decided, WEIGHTS))
    np.testing.assert_allclose(sample(guided, noise, num_steps), x, atol=1e-5)


@pytest.fixture
def gaussian():
    """Actions ~ N(mean, C), correlated over the steps: velocity and expected actions are linear in x."""
    step = np.arange(HORIZON)
    C = np.exp(-np.abs(step[:, None] - step) / 3.0)
    mean = np.linspace(-1, 1, HORIZON)[:, None] * np.ones(DIM)

    def expected(time):
        S = (1 - time) ** 2 * C + time**2 * jnp.eye(HORIZON)
        return (1 - time) * jnp.linalg.solve(S, C).T, time * jnp.linalg.inv(S)

    def velocity(x, time):
        to_actions, to_noise = expected(time)
        centred = x - (1 - time) * mean
        return jnp.einsum('ij,bjd->bid', to_noise - to_actions, centred) - mean

    return C, mean, velocity, expected


def test_correction_is_the_jacobian_of_the_expected_actions(gaussian):
    _, _, velocity, expected = gaussian
    decided, x = normal(4), normal(5)
    for time in (0.9, 0.5, 0.15):
        # x - t v is the conditional mean of the actions, so its Jacobian is that of the mean.
        jacobian = np.asarray(expected(time)[0])
        v = velocity(x, time)
        error = WEIGHTS * (decided - (x - time * v))
        pulled = np.einsum('ji,bjd->bid', jacobian, error)
        weight = min(5.0, (time**2 + (1 - time) ** 2) / (time * (1 - time)))
        got = guide(velocity, Guidance(decided, WEIGHTS))(x, (jnp.float32(time), jnp.float32(time)))
        np.testing.assert_allclose(got, v - weight * pulled, atol=2e-5)


def test_unguided_gaussian_is_the_known_transport(gaussian):
    """The flow between Gaussians is x -> mean + C^(1/2) x, reached as the steps get finer."""
    C, mean, velocity, _ = gaussian
    values, vectors = np.linalg.eigh(C)
    root = vectors * np.sqrt(values) @ vectors.T
    noise = normal(6)
    free = guide(velocity, Guidance(jnp.zeros_like(noise), FREE))
    expected = mean + np.einsum('ij,bjd->bid', root, noise)
    np.testing.assert_allclose(sample(free, noise, 400), expected, atol=2e-2)


def test_guided_gaussian_keeps_the_prefix_and_bends_what_follows(gaussian):
    C, mean, velocity, _ = gaussian
    fixed = 2
    decided = jnp.asarray(mean + np.array([2.0, 1.5, 0, 0, 0, 0])[:, None]) + jnp.zeros((BATCH, HORIZON, DIM))
    weights = (jnp.arange(HORIZON) < fixed).astype(jnp.float32)[None, :, None]
    noise = normal(7, 400, HORIZON, DIM)
    decided = jnp.broadcast_to(decided[:1], noise.shape)
    guided = sample(guide(velocity, Guidance(decided, weights)), noise, 20)
    error = jnp.abs(guided - decided)[:, :fixed]
    unguided = sample(guide(velocity, Guidance(decided, FREE)), noise, 20)
    assert float(error.mean()) < 0.15 < float(jnp.abs(unguided - decided)[:, :fixed].mean())
    # The exact conditional mean of what follows, given the prefix.
    gain = C[fixed:, :fixed] @ np.linalg.inv(C[:fixed, :fixed])
    conditional = mean[fixed:] + gain @ np.asarray(decided[0, :fixed] - mean[:fixed])
    shift = np.asarray(guided[:, fixed:].mean(0) - mean[fixed:])
    np.testing.assert_allclose(shift, conditional - mean[fixed:], atol=0.35)
    assert shift[0].min() > 0.6


def test_rows_with_weight_zero_matter_nothing():
    field = normal(1)
    decided = normal(2)
    other = decided.at[:, 4].set(1e6).at[:, 5:].set(jnp.nan)

    def velocity(x, time):
        return field * time + 0.3 * x

    noise = normal(3)
    first, second = (sample(guide(velocity, Guidance(rows, WEIGHTS)), noise, 5) for rows in (decided, other))
    np.testing.assert_array_equal(first, second)


def test_delay_is_data_not_structure():
    traces = []

    @jax.jit
    def run(noise, decided, weights):
        traces.append(1)
        times = flow_matching.euler_times(3)
        return flow_matching.integrate(
            guide(lambda x, time: x * time, Guidance(decided, weights)), noise, (times, times), 3
        )

    for delay in range(4):
        run(normal(1), normal(2), (jnp.arange(HORIZON) < delay).astype(jnp.float32)[None, :, None])
    assert len(traces) == 1


def test_conditioned_sampling_keeps_the_prefix_exactly_and_fills_the_rest(gaussian):
    """Given the conditional field of a Gaussian, the rest is the conditional distribution's transport."""
    C, mean, _, _ = gaussian
    fixed = 2
    gain = C[fixed:, :fixed] @ np.linalg.inv(C[:fixed, :fixed])
    rest = C[fixed:, fixed:] - gain @ C[:fixed, fixed:]

    def conditional(x, time):
        centre = mean[fixed:] + jnp.einsum('ij,bjd->bid', gain, x[:, :fixed] - mean[:fixed])
        S = (1 - time) ** 2 * rest + time**2 * jnp.eye(HORIZON - fixed)
        away = x[:, fixed:] - (1 - time) * centre
        v = jnp.einsum(
            'ij,bjd->bid', (time * jnp.linalg.inv(S) - (1 - time) * jnp.linalg.solve(S, rest).T), away
        )
        return jnp.concatenate([1e3 * jnp.ones_like(x[:, :fixed]), v - centre], axis=1)

    actions, noise = normal(1), normal(2)
    decided = is_decided(jnp.full(BATCH, fixed), HORIZON)
    start = with_decided(noise, actions, decided)
    times = flow_matching.euler_times(400)
    got = flow_matching.integrate(keep_decided(conditional, decided), start, times, 400)
    np.testing.assert_array_equal(got[:, :fixed], actions[:, :fixed])
    values, vectors = np.linalg.eigh(rest)
    root = vectors * np.sqrt(values) @ vectors.T
    centre = mean[fixed:] + np.einsum('ij,bjd->bid', gain, actions[:, :fixed] - mean[:fixed])
    expected = centre + np.einsum('ij,bjd->bid', root, noise[:, fixed:])
    np.testing.assert_allclose(got[:, fixed:], expected, atol=2e-2)


def test_sampled_delays():
    uniform = np.asarray(sample_delay(jax.random.key(0), 4000, 4))
    np.testing.assert_allclose(np.bincount(uniform, minlength=5) / 4000, 0.2, atol=0.03)
    assert sample_delay(jax.random.key(0), 3, 0).tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match='max_delay: found -1'):
        sample_delay(jax.random.key(0), 3, -1)

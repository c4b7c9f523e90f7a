"""Real-time chunking through the networks themselves: pi0, pi0.5 and both ResTac policies."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from restac_ros.model.config import GemmaConfig, ModelConfig, SiglipConfig
from restac_ros.model.flow_loss import compute_loss
from restac_ros.model.norms import modulated_norm
from restac_ros.model.observation import CAMERA_SLOTS, Observation, make_observation
from restac_ros.model.pi05 import Pi05, SamplingPlan
from restac_ros.model.prefix import PrefixCache
from restac_ros.model.real_time_chunking import Conditioning, Guidance, is_decided
from restac_ros.model.tactile.interface import NO_CODE, TactileCode

_HORIZON, _DIM, _BATCH, _STEPS = 6, 5, 2, 5
_BASE = ModelConfig(
    paligemma=GemmaConfig(16, 2, 24, num_heads=2, num_kv_heads=1, head_dim=8),
    action_expert=GemmaConfig(16, 2, 24, num_heads=2, num_kv_heads=1, head_dim=8),
    siglip=SiglipConfig(width=8, depth=1, mlp_dim=16, num_heads=2),
    vocab_size=50,
    image_size=14,
    max_prompt_tokens=16,
    action_dim=_DIM,
    action_horizon=_HORIZON,
    dtype='float32',
    fusion_dim=8,
    fusion_heads=2,
)
# pi0.5 without touch has the action path of both ResTac policies.
_POLICIES = {
    'pi0': {'fusion': 'none', 'time_conditioning': 'concat'},
    'token_in_ae': {'fusion': 'token_in_ae'},
    'forcevla': {'fusion': 'forcevla'},
}
_DELAY = jnp.array([2, 0])
_TIME = jnp.array([0.8, 0.3])
_ALL = jnp.ones((_BATCH, _HORIZON), bool)


def _normal(seed: int) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), (_BATCH, _HORIZON, _DIM))


_ACTIONS = _normal(5)


def _observation(config: ModelConfig) -> Observation:
    rng = np.random.default_rng(3)
    touch = {}
    if config.uses_touch:
        touch = {
            'tactile': np.zeros((_BATCH, *config.tactile_shape), np.uint8),
            'action_prev': np.zeros((_BATCH, 7), np.float32),
        }
    return make_observation(
        config,
        images={slot: rng.integers(0, 256, (_BATCH, 14, 14, 3), np.uint8) for slot in CAMERA_SLOTS},
        image_masks={slot: np.ones(_BATCH, bool) for slot in CAMERA_SLOTS},
        state=rng.standard_normal((_BATCH, _DIM)).astype(np.float32),
        tokenized_prompt=rng.integers(0, config.vocab_size, (_BATCH, 8), np.int32),
        tokenized_prompt_mask=np.arange(8) < np.array([[8], [5]]),
        **touch,
    )


class _Network:
    """One random policy on one input: what it samples, its training velocity and its loss, compiled once."""

    def __init__(self, name: str, make_random: Callable, as_pure: Callable) -> None:
        self.config = dataclasses.replace(_BASE, **_POLICIES[name])
        model = make_random(self.config)
        observation = _observation(self.config)
        q_event = jnp.asarray(np.random.default_rng(0).standard_normal((_BATCH, 64)), jnp.float32)
        touch = None
        if self.config.uses_touch:
            no_code, logvar = jnp.full(_BATCH, NO_CODE, jnp.int32), jnp.array([[0.5], [-0.1]])
            touch = TactileCode(q_event, no_code, logvar, q_event, None, None, None)

        def prepare(model: Pi05) -> tuple[PrefixCache, SamplingPlan]:
            return model.encode_prefix(*observation.prefix), model.plan_sampling(_STEPS)

        cache, plan = as_pure(model, prepare)()

        def sample(model: Pi05, noise: jax.Array, continuation: Any) -> jax.Array:
            return model.sample_actions(cache, touch, observation.state, noise, plan, continuation)[0]

        def joint(model: Pi05, x_t: jax.Array, time: jax.Array, decided: jax.Array | None) -> jax.Array:
            return model.run_jointly(observation, x_t, time, touch, decided).velocity

        def loss(model: Pi05, noise: jax.Array, delay: jax.Array | None, exists: jax.Array) -> jax.Array:
            flow = (_ACTIONS, noise, _TIME)
            return compute_loss(model, observation, *flow, touch=touch, delay=delay, step_mask=exists)

        self.sample, self.joint, self.loss = (as_pure(model, call) for call in (sample, joint, loss))


@pytest.fixture(scope='module', params=_POLICIES)
def network(request, make_random, as_pure) -> _Network:
    return _Network(request.param, make_random, as_pure)


def _weights(delay: int) -> jax.Array:
    return (jnp.arange(_HORIZON) < delay).astype(jnp.float32)[None, :, None]


def test_guidance_of_weight_zero_is_the_plain_sampler(network: _Network) -> None:
    noise = _normal(1)
    free = network.sample(noise, Guidance(jnp.full_like(noise, jnp.nan), _weights(0)))
    np.testing.assert_allclose(free, network.sample(noise, None), atol=2e-6)


def test_guidance_draws_the_prefix_to_the_actions_decided(network: _Network) -> None:
    noise, fixed = _normal(1), 3
    free = network.sample(noise, None)
    decided = free + 0.3
    guided = network.sample(noise, Guidance(decided, _weights(fixed)))
    error = np.abs(guided - decided)
    assert error[:, :fixed].mean() < 0.06
    assert error[:, fixed:].mean() > 2 * error[:, :fixed].mean()


def test_conditioning_keeps_the_prefix_and_reads_it(network: _Network) -> None:
    noise, actions = _normal(1), _normal(2)
    decided = is_decided(_DELAY, _HORIZON)
    got = np.asarray(network.sample(noise, Conditioning(actions, decided)))
    np.testing.assert_array_equal(got[0, :2], actions[0, :2])
    moved = np.asarray(network.sample(noise, Conditioning(actions + 1.0, decided)))
    assert np.abs(moved[0, 2:] - got[0, 2:]).max() > 1e-4, 'what follows depends on what is decided'
    np.testing.assert_array_equal(moved[1], got[1])
    free = network.sample(noise, None)
    np.testing.assert_allclose(got[1], free[1], atol=2e-6, err_msg='nothing decided: the plain sampler')


def test_conditioned_sampling_is_eulers_method_on_the_training_velocity(network: _Network) -> None:
    """The twin: a loop over the training pass, which has neither cache nor sampling plan."""
    noise, actions, decided = _normal(1), _normal(2), is_decided(_DELAY, _HORIZON)
    x = np.where(decided[..., None], actions, noise)
    for k in range(_STEPS):
        time = jnp.full(_BATCH, 1 - k / _STEPS)
        v = network.joint(x, time, decided)
        x = x - np.where(decided[..., None], 0.0, v) / _STEPS
    got = network.sample(noise, Conditioning(actions, decided))
    np.testing.assert_allclose(got, x, atol=2e-5)


def test_each_token_is_normed_by_its_own_flow_time() -> None:
    x, modulation = (jax.random.normal(jax.random.key(i), (2, 3, width)) for i, width in ((1, 4), (2, 12)))
    normed, gate = modulated_norm(x, modulation)
    for token in range(3):
        alone, its_gate = modulated_norm(x[:, token : token + 1], modulation[:, token])
        np.testing.assert_allclose(normed[:, token : token + 1], alone, atol=1e-6)
        np.testing.assert_array_equal(gate[:, token : token + 1], its_gate)


def test_training_prefix_is_clean_told_and_does_not_count(network: _Network) -> None:
    """The twin, sample by sample and step by step; with no delay it is the plain loss."""
    noise = _normal(6)
    loss = np.asarray(network.loss(noise, _DELAY, _ALL))
    x_t, actions, time = np.array(_ACTIONS), np.asarray(_ACTIONS), np.asarray(_TIME)
    for b, delay in enumerate(_DELAY.tolist()):
        for t in range(delay, _HORIZON):
            x_t[b, t] = time[b] * noise[b, t] + (1 - time[b]) * actions[b, t]
    v = np.asarray(network.joint(x_t, _TIME, is_decided(_DELAY, _HORIZON)))
    for b, delay in enumerate(_DELAY.tolist()):
        for t in range(_HORIZON):
            error = v[b, t] - (np.asarray(noise)[b, t] - actions[b, t])
            assert loss[b, t] == pytest.approx(0.0 if t < delay else np.mean(error**2), abs=2e-5), (b, t)
    plain = np.asarray(network.loss(noise, None, _ALL))
    np.testing.assert_allclose(network.loss(noise, _DELAY * 0, _ALL), plain, atol=5e-6)
    assert np.abs(loss[0, 2:] - plain[0, 2:]).max() > 1e-4


def test_noise_of_the_prefix_is_never_seen_and_padded_steps_stay_out(network: _Network) -> None:
    noise = _normal(6)
    loss = np.asarray(network.loss(noise, _DELAY, _ALL))
    np.testing.assert_array_equal(network.loss(noise.at[0, :2].add(9.0), _DELAY, _ALL), loss)
    exists = jnp.arange(_HORIZON) < jnp.array([[5], [4]])
    counts = np.asarray(exists & ~is_decided(_DELAY, _HORIZON))
    masked = network.loss(noise, _DELAY, exists)
    np.testing.assert_allclose(masked, np.where(counts, loss, 0.0), atol=1e-6)

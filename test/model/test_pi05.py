"""pi0.5 against openpi's own numbers, and its cached path against its training pass."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from restac_ros.model import flow_matching
from restac_ros.model.attention import attention_mask, token_positions
from restac_ros.model.config import GemmaConfig, ModelConfig, SiglipConfig
from restac_ros.model.flow_loss import compute_loss
from restac_ros.model.observation import CAMERA_SLOTS, Observation, make_observation
from restac_ros.model.pi05 import Pi05
from restac_ros.model.prefix import PrefixCache
from restac_ros.model.presets import GEMMA_VARIANTS, SIGLIP_SO400M
from restac_ros.model.restac import create_model

_VARIANTS = {
    'pi05_2b_300m': ('gemma_2b', 'gemma_300m', 'adarms'),
    'pi05_dummy': ('dummy', 'dummy', 'adarms'),
    'pi05_2b_lora_300m_lora': ('gemma_2b_lora', 'gemma_300m_lora', 'adarms'),
    'pi0_2b_300m': ('gemma_2b', 'gemma_300m', 'concat'),
    'pi05_300m_dummyless': ('gemma_300m', 'gemma_300m', 'adarms'),
}


@pytest.mark.parametrize('variant', _VARIANTS)
def test_parameter_tree_is_openpis_at_full_size(variant: str, golden_dir: Path) -> None:
    paligemma, expert, conditioning = _VARIANTS[variant]
    config = ModelConfig(
        GEMMA_VARIANTS[paligemma], GEMMA_VARIANTS[expert], SIGLIP_SO400M, time_conditioning=conditioning
    )
    state = nnx.state(nnx.eval_shape(lambda: create_model(config, nnx.Rngs(0))))
    leaves = nnx.to_flat_state(state)
    ours = {'/'.join(map(str, path)): [list(leaf.shape), str(leaf.dtype)] for path, leaf in leaves}
    reference = json.loads((golden_dir / 'openpi_param_trees.json').read_text())[variant]
    assert ours == {name: leaf[:2] for name, leaf in reference['leaves'].items()}
    assert sum(int(np.prod(shape)) for shape, _ in ours.values()) == reference['total']


# openpi's numbers.


class _Outputs(NamedTuple):
    """What one compiled call computes of a golden file."""

    prefix_tokens: jax.Array
    prefix_out: jax.Array
    suffix_out: jax.Array
    velocity: jax.Array
    loss: jax.Array
    cache: PrefixCache
    actions: jax.Array


def _run(model: Pi05, observation: Observation, arrays: Mapping[str, jax.Array]) -> _Outputs:
    joint = model.run_jointly(observation, arrays['out/x_t'], arrays['in/time'])
    velocity = joint.velocity
    cache = model.encode_prefix(*observation.prefix)
    plan = model.plan_sampling(len(arrays['out/sample_t']))
    return _Outputs(
        model.embed_prefix(*observation.prefix)[0],
        joint.prefix_out,
        joint.suffix_out,
        velocity,
        flow_matching.step_loss((velocity - arrays['out/u_t']) ** 2),
        cache,
        model.sample_actions(cache, None, observation.state, arrays['in/sample_noise'], plan)[0],
    )


@pytest.fixture(scope='module')
def run_golden(load_parameters, as_pure) -> Callable[..., _Outputs]:
    """Runs our model on a golden file's parameters and inputs."""

    def run(file) -> _Outputs:
        config = file.config()
        arrays = {key: file[key] for key in file.arrays if key.startswith(('in/', 'out/'))}
        outputs = as_pure(load_parameters(config, file.parameters()), _run)
        return outputs(file.observation(config), arrays)

    return run


def _paired(ours: _Outputs, file) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Ours and the file's, by name; prefix rows where tokens are valid, since padding is read nowhere."""
    length = ours.prefix_tokens.shape[1]  # trailing padding is cut
    valid = file['out/prefix_mask'][:, :length]
    assert not file['out/prefix_mask'][:, length:].any()

    def at_valid(ours: jax.Array, key: str) -> tuple[np.ndarray, np.ndarray]:
        return np.asarray(ours, np.float32)[valid], file[key][:, :length][valid]

    def cached(ours: jax.Array, key: str) -> tuple[np.ndarray, np.ndarray]:
        return np.asarray(ours, np.float32)[:, valid], file[key][:, :, :length][:, valid]

    def whole(ours: jax.Array, key: str) -> tuple[np.ndarray, np.ndarray]:
        return np.asarray(ours, np.float32), file[key]

    return {
        'prefix_tokens': at_valid(ours.prefix_tokens, 'out/prefix_tokens'),
        'prefix_out': at_valid(ours.prefix_out, 'out/prefix_out'),
        'keys': cached(ours.cache.keys, 'out/kv_k'),
        'values': cached(ours.cache.values, 'out/kv_v'),
        'suffix_out': whole(ours.suffix_out, 'out/suffix_out'),
        'velocity': whole(ours.velocity, 'out/v_t'),
        'loss': whole(ours.loss, 'out/loss'),
        'actions': whole(ours.actions, 'out/sample_actions'),
    }


def _rms(errors: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(errors))))


def _assert_float32(ours: _Outputs, file) -> None:
    for name, (a, b) in _paired(ours, file).items():
        np.testing.assert_allclose(a, b, atol=2e-5 if name == 'velocity' else 1e-4, rtol=0, err_msg=name)


def test_float32_equals_openpi(golden: Callable, run_golden: Callable) -> None:
    file = golden('openpi_pi05_tiny')
    _assert_float32(run_golden(file), file)


def test_float32_equals_openpi_at_224_pixels(golden_224, run_golden: Callable) -> None:
    _assert_float32(run_golden(golden_224), golden_224)


def test_bfloat16_is_as_near_to_exact_arithmetic_as_openpis(golden: Callable, run_golden: Callable) -> None:
    """In the root mean square, to 5 %: the two round in different places, and so do two CPUs.

    The largest error of an intermediate is three steps of the format at these magnitudes. That of the 108
    numbers of a chunk depends on the CPU: openpi's is 0.014 where the file was made, three and a half times
    its root mean square; ours has been 0.016 on another. Five times are allowed.
    """
    theirs, exact = golden('openpi_pi05_tiny_bf16'), golden('openpi_pi05_tiny')
    ours = run_golden(theirs)
    assert ours.cache.keys.dtype == jnp.bfloat16
    assert ours.actions.dtype == jnp.float32
    of_openpi = {name: b for name, (_, b) in _paired(ours, theirs).items()}
    for name, (a, b) in _paired(ours, exact).items():
        largest = 5 * _rms(of_openpi[name] - b) if name == 'actions' else 0.1
        assert np.abs(a - b).max() <= largest, name
        assert _rms(a - b) <= 1.05 * _rms(of_openpi[name] - b), name
        # Two independent roundings of the same size differ by sqrt(2) times their own error.
        assert 0 < _rms(a - of_openpi[name]) < 1.6 * _rms(a - b), name


def test_masks_positions_and_time_code_equal_openpi(golden: Callable, load_parameters) -> None:
    file = golden('openpi_pi05_tiny')
    model = load_parameters(file.config(), file.parameters())
    valid = np.concatenate([file['out/prefix_mask'], file['out/suffix_mask']], axis=1)
    opens_block = np.concatenate([file['out/prefix_ar_mask'], file['out/suffix_ar_mask']])
    np.testing.assert_array_equal(attention_mask(valid, opens_block), file['out/attn_mask'])
    np.testing.assert_array_equal(token_positions(valid), file['out/positions'])
    code = model.time_code(file['in/time'])
    np.testing.assert_allclose(code.embedding, file['out/posemb'], atol=1e-4)
    suffix, ours = model.embed_suffix(file['in/state'], file['out/x_t'], code, None)
    np.testing.assert_array_equal(ours, file['out/suffix_ar_mask'])
    np.testing.assert_allclose(suffix, file['out/suffix_tokens'], atol=1e-5)
    x_t, target = flow_matching.interpolate(file['in/actions'], file['in/noise'], file['in/time'])
    np.testing.assert_allclose(x_t, file['out/x_t'], atol=1e-6)
    np.testing.assert_allclose(target, file['out/u_t'], atol=1e-6)


def test_inference_weights_in_bfloat16_give_a_bfloat16_velocity(golden: Callable, load_parameters) -> None:
    """As in openpi, which restores every parameter in bfloat16; what is integrated stays float32."""
    file = golden('openpi_pi05_tiny_bf16')
    config = file.config()
    parameters = {name: value.astype(jnp.bfloat16) for name, value in file.parameters().items()}
    model = load_parameters(config, parameters)
    observation = file.observation(config)
    velocity = model.run_jointly(observation, file['out/x_t'], file['in/time']).velocity
    assert velocity.dtype == jnp.bfloat16
    np.testing.assert_allclose(velocity.astype(jnp.float32), file['out/v_t'], atol=0.09)


# Our two paths, on every way to condition the base policy.

_BASE = ModelConfig(
    paligemma=GemmaConfig(24, 2, 40, num_heads=4, num_kv_heads=2, head_dim=8),
    action_expert=GemmaConfig(16, 2, 32, num_heads=4, num_kv_heads=2, head_dim=8),
    siglip=SiglipConfig(width=16, depth=2, mlp_dim=24, num_heads=2),
    vocab_size=50,
    image_size=28,
    max_prompt_tokens=40,
    action_dim=5,
    action_horizon=4,
    dtype='float32',
    state_input='token',
)


def _inputs(config: ModelConfig, **changes) -> Observation:
    """Three samples: all there; a short prompt; a masked camera."""
    rng = np.random.default_rng(7)
    size = config.image_size
    fields = {
        'images': {slot: rng.integers(0, 256, (3, size, size, 3), dtype=np.uint8) for slot in CAMERA_SLOTS},
        'image_masks': {slot: np.ones(3, bool) for slot in CAMERA_SLOTS},
        'state': rng.standard_normal((3, config.action_dim)).astype(np.float32),
        'tokenized_prompt': rng.integers(0, config.vocab_size, (3, 12), dtype=np.int32),
        'tokenized_prompt_mask': np.arange(12) < np.array([[12], [5], [12]]),
    }
    fields['image_masks']['left_wrist_0_rgb'] = np.array([True, True, False])
    return make_observation(config, **{**fields, **changes})


def _noise(config: ModelConfig) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(8)
    x_t = rng.standard_normal((3, config.action_horizon, config.action_dim)).astype(np.float32)
    return x_t, np.array([0.9, 0.5, 0.1], np.float32)


def _both_velocities(
    model: Pi05, observation: Observation, x_t: jax.Array, time: jax.Array
) -> tuple[jax.Array, jax.Array]:
    cache = model.encode_prefix(*observation.prefix)
    cached = model.velocity_field(cache, None, observation.state)(x_t, model.time_code(time))
    return model.run_jointly(observation, x_t, time).velocity, cached


@pytest.mark.parametrize(
    'changes',
    [
        {'state_input': 'token'},
        {'state_input': 'none'},
        {'time_conditioning': 'concat'},
        {
            'paligemma': GEMMA_VARIANTS['gemma_2b_lora'],
            'action_expert': GEMMA_VARIANTS['gemma_300m_lora'],
        },
    ],
    ids=['pi05-state-token', 'pi05-stateless', 'pi0', 'lora'],
)
def test_training_pass_and_cached_path_give_the_same_velocity(changes, make_random, as_pure) -> None:
    if 'paligemma' in changes:  # the shipped adapters on our small experts
        changes = {
            name: dataclasses.replace(
                getattr(_BASE, name), lora_attention=big.lora_attention, lora_mlp=big.lora_mlp
            )
            for name, big in changes.items()
        }
    config = dataclasses.replace(_BASE, **changes)
    joint, cached = as_pure(make_random(config), _both_velocities)(_inputs(config), *_noise(config))
    assert np.abs(joint).max() > 0.1
    np.testing.assert_allclose(joint, cached, atol=1e-5)


@pytest.fixture(scope='module')
def base_model(make_random) -> Pi05:
    """A randomised pi0.5 with a state token."""
    return make_random(_BASE)


@pytest.fixture(scope='module')
def sample(base_model: Pi05, as_pure) -> Callable[..., np.ndarray]:
    """Samples a chunk in three steps."""

    def run(model: Pi05, observation: Observation, noise: jax.Array) -> jax.Array:
        cache = model.encode_prefix(*observation.prefix)
        return model.sample_actions(cache, None, observation.state, noise, model.plan_sampling(3))[0]

    pure = as_pure(base_model, run)
    return lambda observation: np.asarray(pure(observation, _noise(_BASE)[0]))


def test_every_input_reaches_the_actions(sample: Callable) -> None:
    """State included: the published ResTac code never shows it to the network (defect 7)."""
    rng = np.random.default_rng(1)
    reference = sample(_inputs(_BASE))
    observation = _inputs(_BASE)
    changed = {
        'state': {'state': observation.state + np.float32(0.5)},
        'prompt': {'tokenized_prompt': (np.pad(observation.tokenized_prompt, 0)[:, :12] + 1) % 50},
        **{
            slot: {
                'images': {**observation.images, slot: rng.integers(0, 256, (3, 28, 28, 3), dtype=np.uint8)}
            }
            for slot in CAMERA_SLOTS
        },
    }
    for name, change in changed.items():
        if name == 'prompt':
            change['tokenized_prompt_mask'] = observation.tokenized_prompt_mask[:, :12]
        difference = np.abs(sample(_inputs(_BASE, **change)) - reference).max(axis=(1, 2))
        hidden = np.array([False, False, name == 'left_wrist_0_rgb'])  # sample 2 masks that camera
        assert (difference[~hidden] > 1e-4).all(), name
        assert (difference[hidden] < 1e-5).all(), name


def test_padding_of_the_prompt_changes_nothing(sample: Callable) -> None:
    reference = sample(_inputs(_BASE))
    rng = np.random.default_rng(2)
    for length in (17, 40):
        tokens = rng.integers(0, 50, (3, length), dtype=np.int32)  # what stands at padding must not matter
        mask = np.zeros((3, length), bool)
        plain = _inputs(_BASE)
        tokens[:, :12] = plain.tokenized_prompt[:, :12]
        mask[:, :12] = plain.tokenized_prompt_mask[:, :12]
        padded = Observation(*plain[:3], tokens, mask)  # not through make_observation, which would cut it
        np.testing.assert_allclose(sample(padded), reference, atol=1e-5)


def test_a_masked_camera_equals_an_absent_one(sample: Callable) -> None:
    observation = _inputs(_BASE)
    slot = 'right_wrist_0_rgb'
    masked = _inputs(_BASE, image_masks={**observation.image_masks, slot: np.zeros(3, bool)})
    absent = _inputs(
        _BASE,
        images={name: image for name, image in observation.images.items() if name != slot},
        image_masks={name: mask for name, mask in observation.image_masks.items() if name != slot},
    )
    np.testing.assert_allclose(sample(masked), sample(absent), atol=1e-5)


def test_a_sampling_plan_equals_encoding_each_flow_time(base_model: Pi05) -> None:
    plan = base_model.plan_sampling(4)
    for index, time in enumerate((1.0, 0.75, 0.5, 0.25)):
        code = base_model.time_code(jnp.array([time]))
        planned = jax.tree.map(lambda leaf, i=index: leaf[i : i + 1], plan.code)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), planned, code)


def test_gradients_reach_every_parameter_through_rematerialised_layers(base_model: Pi05) -> None:
    graph, params = nnx.split(base_model)
    observation = _inputs(_BASE)
    x_t, time = _noise(_BASE)

    @jax.jit
    @jax.grad
    def gradient(params: nnx.State, observation: Observation, x_t: jax.Array, time: jax.Array) -> jax.Array:
        return compute_loss(nnx.merge(graph, params), observation, x_t * 0.3, x_t, time).mean()

    unused = {  # expert 0's last layer feeds nothing but its keys and values
        'PaliGemma/llm/final_norm/scale',
    }
    for path, leaf in nnx.to_flat_state(gradient(params, observation, x_t, time)):
        name = '/'.join(map(str, path))
        assert np.isfinite(leaf).all(), name
        assert name in unused or np.abs(leaf).max() > 0, name

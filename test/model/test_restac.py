"""Both ResTac policies against the reference implementation, and the published code's defects, each by name.

Where the published code contradicts itself, the reference files say what to compare with: the fusion class
as published has its own switch (`legacy_unmasked_fusion`), the token class is repaired as `joint_own_block`.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from restac_ros.model import flow_matching
from restac_ros.model.attention import attention_mask
from restac_ros.model.config import LogvarCalibration, ModelConfig
from restac_ros.model.errors import ObservationError
from restac_ros.model.flow_loss import compute_loss
from restac_ros.model.intermediates import Intermediates
from restac_ros.model.observation import CAMERA_SLOTS, Observation, make_observation
from restac_ros.model.presets import PRESETS
from restac_ros.model.restac import ResTac, ResTacTokenInAE
from restac_ros.model.tactile.config import CNN, CnnConfig
from restac_ros.model.tactile.interface import NO_CODE, TactileCode

_FUSION = 'restac_forcevla_uneven_io'
_TOKEN = 'restac_token_in_ae_uneven_io'
_CASES = ('full', 'padded', 'masked_camera')
_KINDS = {
    'necessity': 'scaled_necessity',
    'necessity_trained': 'scaled_necessity',
    'learnable': 'learnable',
    'no_gate': 'off',
}


class _Outputs(NamedTuple):
    """What one compiled call computes at the file's x_t and time."""

    joint: jax.Array
    cached: jax.Array
    loss: jax.Array
    actions: jax.Array
    reading: Intermediates


def _run(model: ResTac, observation: Observation, touch: TactileCode, arrays: Mapping[str, Any]) -> _Outputs:
    joint = model.run_jointly(observation, arrays['x_t'], arrays['time'], touch)
    cache = model.encode_prefix(*observation.prefix)
    seen = model.correct(model.read_touch(touch), cache.prefix_out, cache.mask)
    code = model.time_code(arrays['time'])
    cached = model.velocity_field(cache, seen, observation.state)(arrays['x_t'], code)
    loss = flow_matching.step_loss((joint.velocity - arrays['u_t']) ** 2)
    plan = model.plan_sampling(10)
    actions, _ = model.sample_actions(cache, touch, observation.state, arrays['sample_noise'], plan)
    return _Outputs(joint.velocity, cached, loss, actions, joint.reading)


@pytest.fixture(scope='module')
def run_golden(golden: Callable, load_parameters, as_pure) -> Callable[..., _Outputs]:
    """Runs a reference file's case; networks that differ in parameters only share one compilation."""
    compiled: dict[ModelConfig, Callable] = {}

    def run(name: str, case: str, gate_set: str, **changes: Any) -> _Outputs:
        file = golden(name)
        sizes = {key: file.meta[key] for key in ('fusion_dim', 'fusion_heads') if file.meta[key]}
        config = file.config(fusion=file.meta['kind'], gate=_KINDS[gate_set], **sizes, **changes)
        model = load_parameters(config, file.parameters(None if gate_set == 'no_gate' else gate_set))
        graph, state = nnx.split(model)
        if config not in compiled:
            compiled[config] = jax.jit(lambda state, *args: _run(nnx.merge(graph, state), *args))
        arrays = file.under('in/')
        inputs = {key: arrays[key] for key in ('x_t', 'u_t', 'time', 'sample_noise')}
        return compiled[config](state, file.observation(config, case), file.touch, inputs)

    return run


def _near(ours: jax.Array, reference: np.ndarray, tolerance: float) -> None:
    np.testing.assert_allclose(ours, reference, atol=tolerance, rtol=0)


@pytest.mark.parametrize('gate_set', ['necessity', 'necessity_trained', 'learnable', 'no_gate'])
def test_fusion_equals_the_reference_where_every_position_is_valid(
    golden: Callable, run_golden: Callable, gate_set: str
) -> None:
    file, ours = golden(_FUSION), run_golden(_FUSION, 'full', gate_set)
    stored = f'out/full/{gate_set}'
    _near(ours.joint, file[f'{stored}/joint/v_t'], 2e-5)
    _near(ours.cached, file[f'{stored}/joint/v_t'], 2e-5)
    _near(ours.loss, file[f'{stored}/loss'], 5e-5)
    _near(ours.actions, file[f'{stored}/sample_actions'], 5e-5)
    _near(ours.reading.correction, file[f'{stored}/joint/gated_correction'], 2e-5)
    if gate_set != 'no_gate':
        _near(ours.reading.gate, file[f'{stored}/joint/gate_value'], 1e-5)


@pytest.mark.parametrize('case', _CASES)
def test_legacy_fusion_equals_the_reference_padding_included(
    golden: Callable, run_golden: Callable, case: str
) -> None:
    file = golden(_FUSION)
    ours = run_golden(_FUSION, case, 'necessity', legacy_unmasked_fusion=True)
    stored = f'out/{case}/necessity'
    _near(ours.joint, file[f'{stored}/joint/v_t'], 2e-5)
    _near(ours.cached, file[f'{stored}/cached/v_t'], 2e-5)
    _near(ours.loss, file[f'{stored}/loss'], 5e-5)
    _near(ours.actions, file[f'{stored}/sample_actions'], 5e-5)


@pytest.mark.parametrize('case', _CASES)
@pytest.mark.parametrize('gate_set', ['necessity', 'learnable'])
def test_token_equals_the_reference_with_its_own_attention_block(
    golden: Callable, run_golden: Callable, case: str, gate_set: str
) -> None:
    file, ours = golden(_TOKEN), run_golden(_TOKEN, case, gate_set)
    stored = f'out/{case}/{gate_set}'
    repaired = file[f'{stored}/joint_own_block/v_t']
    _near(ours.joint, repaired, 2e-5)
    _near(ours.cached, file[f'{stored}/cached/v_t'], 2e-5)
    _near(ours.actions, file[f'{stored}/sample_actions'], 5e-5)
    _near(ours.loss, np.square(repaired - file['in/u_t']).mean(axis=-1), 5e-5)
    if f'{stored}/joint/gate_value' in file:
        _near(ours.reading.gate, file[f'{stored}/joint/gate_value'], 1e-5)
        _near(ours.reading.surprise_token, file[f'{stored}/joint/surprise_token'], 1e-5)


def test_token_with_a_clipped_gate_equals_the_reference(golden: Callable, run_golden: Callable) -> None:
    file, ours = golden(_TOKEN), run_golden(_TOKEN, 'full', 'necessity_trained')
    assert ours.reading.gate.max() == 1.0
    _near(ours.joint, file['out/full/necessity_trained/joint_own_block/v_t'], 2e-5)
    _near(ours.actions, file['out/full/necessity_trained/sample_actions'], 5e-5)


@pytest.mark.parametrize('name', [_FUSION, _TOKEN])
def test_sparse_loss_adds_the_mean_gate(golden: Callable, load_parameters, name: str) -> None:
    file = golden(name)
    sizes = {key: file.meta[key] for key in ('fusion_dim', 'fusion_heads') if file.meta[key]}
    config = file.config(fusion=file.meta['kind'], gate='scaled_necessity', use_sparse_loss=True, **sizes)
    model = load_parameters(config, file.parameters('necessity'))
    added = file['out/full/necessity/loss_sparse'] - file['out/full/necessity/loss']
    _near(model.auxiliary_loss(model.read_touch(file.touch)), added, 1e-6)


def test_the_factorized_gate_weighs_its_sparse_loss_by_the_mean_uncertainty(make_random) -> None:
    config = dataclasses.replace(_MICRO, tactile=None, gate='factorized', use_sparse_loss=True)
    model = make_random(config)
    reading = model.read_touch(_code(logvar=[[0.5], [-0.1]]))
    expected = 0.01 * np.exp(0.2) * np.mean(reading.gate)
    np.testing.assert_allclose(model.auxiliary_loss(reading), expected, rtol=1e-5)


def test_compute_loss_is_the_reference_loss(golden: Callable, load_parameters, as_pure) -> None:
    file = golden(_FUSION)
    config = file.config(fusion='forcevla', gate='scaled_necessity', fusion_dim=40, fusion_heads=8)
    model = load_parameters(config, file.parameters('necessity'))
    flow = [file[f'in/{name}'] for name in ('actions', 'noise', 'time')]
    loss = as_pure(model, lambda model, *args: compute_loss(model, *args, touch=file.touch))
    _near(loss(file.observation(config, 'full'), *flow), file['out/full/necessity/loss'], 5e-5)


# The published code's defects (numbers as in its review), where they concern the network.


@pytest.mark.parametrize('case', _CASES)
@pytest.mark.parametrize(
    ('name', 'gate_set'), [(_FUSION, 'necessity'), (_FUSION, 'no_gate'), (_TOKEN, 'learnable')]
)
def test_defect_5_training_and_cached_inference_agree(
    run_golden: Callable, name: str, gate_set: str, case: str
) -> None:
    """Not so for `legacy_unmasked_fusion`, which reads padded positions that differ between the two."""
    ours = run_golden(name, case, gate_set)
    np.testing.assert_allclose(ours.joint, ours.cached, atol=1e-5)


def test_defect_5_the_surprise_token_opens_its_own_block(golden: Callable, load_parameters) -> None:
    """It reads the prefix and itself; the prefix does not read it; the actions read all."""
    file = golden(_TOKEN)
    config = file.config(fusion='token_in_ae', gate='scaled_necessity')
    model = load_parameters(config, file.parameters('necessity'))
    reading = model.read_touch(file.touch)
    code = model.time_code(file['in/time'])
    suffix, opens_block = model.embed_suffix(file['in/state'], file['in/x_t'], code, reading)
    assert suffix.shape[1] == config.num_suffix_tokens == config.action_horizon + 1
    prefix_length = 5
    opens_block = jnp.concatenate([jnp.zeros(prefix_length, bool), opens_block])
    mask = attention_mask(jnp.ones((1, len(opens_block)), bool), opens_block)[0]
    token = prefix_length
    assert not mask[:prefix_length, token:].any()
    assert mask[token, : token + 1].all()
    assert not mask[token, token + 1 :].any()
    assert mask[token + 1 :].all()


@pytest.mark.parametrize('case', ['padded', 'masked_camera'])
def test_defect_6_fusion_reads_no_padded_position(
    golden: Callable, load_parameters, as_pure, case: str
) -> None:
    file = golden(_FUSION)
    config = file.config(fusion='forcevla', gate='off', fusion_dim=40, fusion_heads=8)
    model = load_parameters(config, file.parameters())
    observation = file.observation(config, case)

    def correction(model: ResTac, prefix_out: jax.Array, mask: jax.Array) -> jax.Array:
        return model.correct(model.read_touch(file.touch), prefix_out, mask).correction

    cache = as_pure(model, lambda model: model.encode_prefix(*observation.prefix))()
    spoiled = jnp.where(cache.mask[:, :, None], cache.prefix_out, 1e3)
    run = as_pure(model, correction)
    assert not cache.mask.all()
    np.testing.assert_array_equal(run(cache.prefix_out, cache.mask), run(spoiled, cache.mask))


_MICRO = dataclasses.replace(
    PRESETS['tiny'],
    image_size=56,
    max_prompt_tokens=32,
    action_dim=8,
    action_horizon=5,
    tactile=dataclasses.replace(
        CNN,
        prophet=dataclasses.replace(CNN.prophet, view_size=56),
        cnn=CnnConfig(tactile_widths=(4, 8), view_widths=(4, 8), hidden_dim=16),
    ),
)


def _code(logvar: list[list[float]]) -> TactileCode:
    """Some event codes of this uncertainty."""
    q_event = jnp.asarray(np.random.default_rng(0).standard_normal((len(logvar), 64)), jnp.float32)
    no_code = jnp.full(len(logvar), NO_CODE, jnp.int32)
    return TactileCode(q_event, no_code, jnp.array(logvar), q_event, None, None, None)


def _inputs(config: ModelConfig, **changes: Any) -> Observation:
    rng = np.random.default_rng(3)
    size = config.image_size
    fields = {
        'images': {slot: rng.integers(0, 256, (2, size, size, 3), np.uint8) for slot in CAMERA_SLOTS},
        'image_masks': {slot: np.ones(2, bool) for slot in CAMERA_SLOTS},
        'state': rng.standard_normal((2, config.action_dim)).astype(np.float32),
        'tokenized_prompt': rng.integers(0, config.vocab_size, (2, 20), np.int32),
        'tokenized_prompt_mask': np.arange(20) < np.array([[20], [6]]),
        'tactile': rng.integers(0, 256, (2, *config.tactile_shape), np.uint8),
        'action_prev': rng.standard_normal((2, 7)).astype(np.float32),
    }
    return make_observation(config, **{**fields, **changes})


def _noise(config: ModelConfig) -> np.ndarray:
    rng = np.random.default_rng(4)
    return rng.standard_normal((2, config.action_horizon, config.action_dim)).astype(np.float32)


_TIME = np.array([0.8, 0.3], np.float32)


@pytest.fixture(scope='module', params=['forcevla', 'token_in_ae'])
def micro(request: pytest.FixtureRequest, make_random) -> ResTac:
    """A small policy that encodes touch itself."""
    return make_random(dataclasses.replace(_MICRO, fusion=request.param))


@pytest.fixture(scope='module')
def micro_velocity(micro: ResTac, as_pure) -> Callable[[Observation], np.ndarray]:
    """Velocity of the training pass, the policy's own tactile encoder included."""
    pure = as_pure(micro, lambda model, *args: model.run_jointly(*args).velocity)
    return lambda observation: np.asarray(pure(observation, _noise(_MICRO), _TIME))


def test_defects_1_2_and_7_every_input_reaches_the_velocity(micro_velocity: Callable) -> None:
    """Touch, previous action, state and views: the published code drops two of them and reads no state."""
    reference = micro_velocity(_inputs(_MICRO))
    plain = _inputs(_MICRO)
    changed = {
        'tactile': {'tactile': 255 - plain.tactile},
        'action_prev': {'action_prev': plain.action_prev + np.float32(1)},
        'state': {'state': plain.state + np.float32(1)},
        **{slot: {'images': {**plain.images, slot: 255 - plain.images[slot]}} for slot in CAMERA_SLOTS},
    }
    for name, change in changed.items():
        difference = np.abs(micro_velocity(_inputs(_MICRO, **change)) - reference).max(axis=(1, 2))
        assert (difference > 1e-5).all(), name


def test_defect_1_missing_touch_raises() -> None:
    for field in ('tactile', 'action_prev'):
        with pytest.raises(ObservationError, match=f'{field}: found None'):
            _inputs(_MICRO, **{field: None})


def test_defect_2_a_missing_view_raises(micro: ResTac) -> None:
    observation = _inputs(_MICRO)
    one_less = {slot: observation.images[slot] for slot in CAMERA_SLOTS[:2]}
    with pytest.raises(ObservationError, match=r"images: \['right_wrist_0_rgb'\] missing"):
        micro.encode_views(one_less)
    with pytest.raises(ObservationError, match='expected all of'):
        _inputs(_MICRO, images=one_less, image_masks={slot: np.ones(2, bool) for slot in one_less})


def test_defect_3_the_tactile_image_keeps_its_shape() -> None:
    with pytest.raises(ObservationError, match=r'tactile: found shape \(2, 224, 224, 3\)'):
        _inputs(_MICRO, tactile=np.zeros((2, 224, 224, 3), np.uint8))


def test_defect_4_touch_is_encoded_inside_the_compiled_program(micro: ResTac, as_pure) -> None:
    """And in two calls at two rates, with the same result as in one."""
    observation = _inputs(_MICRO)
    code = as_pure(micro, lambda model, observation: model.observe_touch(observation))(observation)
    views = as_pure(micro, lambda model, observation: model.encode_views(observation.images))(observation)
    encode = as_pure(micro, lambda model, *args: model.encode_tactile(*args))
    split = encode(observation.tactile, views, observation.action_prev)
    np.testing.assert_allclose(code.q_event, split.q_event, atol=1e-5)
    np.testing.assert_allclose(code.logvar, split.logvar, atol=1e-5)


def test_defect_9_action_prev_is_never_normalised(micro: ResTac, as_pure) -> None:
    """The tactile encoder sees the observation's own numbers."""
    observation = _inputs(_MICRO)

    def directly(model: ResTac, tactile: jax.Array, views: jax.Array, action_prev: jax.Array) -> jax.Array:
        return model.tactile.encode(tactile, model.tactile.encode_views(views), action_prev).q_event

    views = np.stack([observation.images[slot] for slot in CAMERA_SLOTS], axis=1)
    tactile, views = (pixels.astype(np.float32) / 255 * 2 - 1 for pixels in (observation.tactile, views))
    expected = as_pure(micro, directly)(tactile, views, observation.action_prev)
    found = as_pure(micro, lambda model, observation: model.observe_touch(observation))(observation)
    np.testing.assert_allclose(found.q_event, expected, atol=1e-5)


def test_defect_11_each_view_is_256_tokens() -> None:
    assert PRESETS['pi05_restac'].tokens_per_image == 256
    assert PRESETS['tiny'].tokens_per_image == 256


# What else the two policies promise.


@pytest.mark.parametrize('fusion', ['forcevla', 'token_in_ae'])
def test_gradients_reach_gate_and_touch(fusion: str, make_random) -> None:
    config = dataclasses.replace(_MICRO, fusion=fusion, gate='factorized', tactile=None)
    graph, params = nnx.split(make_random(config))
    observation = _inputs(config)
    touch = _code(logvar=[[0.3], [-0.4]])

    @jax.jit
    @jax.grad
    def gradient(params: nnx.State, observation: Observation, noise: jax.Array) -> jax.Array:
        model = nnx.merge(graph, params)
        return compute_loss(model, observation, noise * 0.2, noise, _TIME, touch=touch).mean()

    leaves = nnx.to_flat_state(gradient(params, observation, _noise(config)))
    gradients = {'/'.join(map(str, path)): leaf for path, leaf in leaves}
    own = {name: leaf for name, leaf in gradients.items() if not _is_base(name)}
    assert any(name.startswith('gate/') for name in own)
    for name, leaf in own.items():
        assert np.isfinite(leaf).all(), name
        # A bias on the keys moves all logits of a query alike, which a softmax does not see.
        assert np.abs(leaf).max() > 0 or name == 'fusion_self_attn/key/bias', name


def _is_base(name: str) -> bool:
    return name.startswith(('PaliGemma/', 'action_in_proj/', 'action_out_proj/', 'time_mlp_'))


def test_unit_align_is_frozen_in_the_policy_and_the_cnn_is_not(make_random) -> None:
    tiny = PRESETS['tiny']
    frozen = dataclasses.replace(
        _MICRO,
        tactile=dataclasses.replace(
            tiny.tactile, prophet=dataclasses.replace(tiny.tactile.prophet, view_size=56)
        ),
    )
    for config, trains in ((frozen, False), (_MICRO, True)):
        graph, params, rest = nnx.split(make_random(config), nnx.Param, ...)
        observation = _inputs(config)

        def total(params: nnx.State, graph=graph, rest=rest, observation=observation) -> jax.Array:
            code = nnx.merge(graph, params, rest).observe_touch(observation)
            return code.q_event.sum() + code.logvar.sum()

        gradients = nnx.to_flat_state(jax.jit(jax.grad(total))(params))
        largest = max(float(np.abs(leaf).max()) for path, leaf in gradients if path[0] == 'tactile')
        assert (largest > 0) is trains


def test_the_gate_blends_between_default_and_touch(make_random) -> None:
    config = dataclasses.replace(_MICRO, fusion='token_in_ae', gate='learnable', tactile=None)
    model = make_random(config)
    assert isinstance(model, ResTacTokenInAE)
    touch = _code(logvar=[[0.0]])
    model.gate.proj.kernel[...] = jnp.zeros((1, 1))
    for bias, expected in (
        (-200.0, model.default_tactile_embedding[...]),
        (200.0, model.tactile_token_proj(touch.q_event)),
    ):
        model.gate.proj.bias[...] = jnp.full(1, bias)
        np.testing.assert_allclose(model.read_touch(touch).surprise_token[:, 0], expected, atol=1e-6)


def test_logvar_is_standardised_by_the_checkpoints_calibration(make_random) -> None:
    """At -9.5 a raw necessity gate is closed for ever; standardised, it is half open at the mean."""
    touch = TactileCode(
        jnp.ones((3, 64)),
        jnp.zeros(3, jnp.int32),
        jnp.array([[-9.8], [-9.5], [-9.2]]),
        None,
        None,
        None,
        None,
    )
    config = dataclasses.replace(_MICRO, gate='necessity', tactile=None)
    assert make_random(config).read_touch(touch).gate.max() < 2e-4
    calibrated = dataclasses.replace(config, logvar_calibration=LogvarCalibration(mean=-9.5, std=0.3))
    reading = make_random(calibrated).read_touch(touch)
    np.testing.assert_allclose(reading.logvar_standardised[:, 0], [-1, 0, 1], atol=1e-5)
    np.testing.assert_allclose(reading.gate[:, 0], 1 / (1 + np.exp([1, 0, -1])), atol=1e-5)
    np.testing.assert_array_equal(reading.logvar, touch.logvar)


def test_the_published_gate_reads_raw_logvar_calibrated_or_not(make_random) -> None:
    touch = _code(logvar=[[-9.5]])
    config = dataclasses.replace(
        _MICRO,
        gate='scaled_necessity',
        tactile=None,
        logvar_calibration=LogvarCalibration(mean=-3.0, std=2.0),
    )
    np.testing.assert_allclose(make_random(config).read_touch(touch).gate, 0.349, atol=5e-4)


def test_a_prefix_cache_serves_many_touches_and_states(micro: ResTac, as_pure) -> None:
    """With the state in the suffix, a cache stays true while the arm moves: no call changes what it holds."""
    observation = _inputs(_MICRO)
    plan = as_pure(micro, lambda model: model.plan_sampling(2))()
    cache = as_pure(micro, lambda model, *args: model.encode_prefix(*args))(*observation.prefix)
    act = as_pure(micro, lambda model, *args: model.sample_actions(*args)[0])
    encode = as_pure(micro, lambda model, *args: model.encode_tactile(*args))
    noise = _noise(_MICRO)

    def chunk(tactile: np.ndarray, state: np.ndarray) -> np.ndarray:
        touch = encode(tactile, cache.view_features, observation.action_prev)
        return np.asarray(act(cache, touch, state, noise, plan))

    first = chunk(observation.tactile, observation.state)
    pressed = chunk(255 - observation.tactile, observation.state)
    moved = chunk(observation.tactile, observation.state + 1)
    assert np.abs(pressed - first).max() > 1e-5
    assert np.abs(moved - first).max() > 1e-5
    np.testing.assert_array_equal(chunk(observation.tactile, observation.state), first)

"""What a tactile encoder refuses, where the published code guessed, rescaled, cut or answered with zeros."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from restac_ros.model.tactile.cnn import CnnEncoder
from restac_ros.model.tactile.config import CNN, UNIT_ALIGN_TINY
from restac_ros.model.tactile.errors import TactileInputError
from restac_ros.model.tactile.interface import TactileEncoder
from restac_ros.model.tactile.unit_align import UnitAlign

BATCH = 2


@pytest.fixture(scope='module', params=['unit_align', 'cnn'])
def encoder(request: pytest.FixtureRequest) -> TactileEncoder:
    """Abstract: the checks come before any arithmetic."""
    kinds = {'unit_align': (UnitAlign, UNIT_ALIGN_TINY), 'cnn': (CnnEncoder, CNN)}
    make, config = kinds[request.param]
    return nnx.eval_shape(lambda: make(config, nnx.Rngs(0)))


def good_inputs(encoder: TactileEncoder) -> dict[str, np.ndarray]:
    config = encoder.config
    rng = np.random.default_rng(0)
    return {
        'tactile': rng.uniform(-1, 1, (BATCH, *config.tactile_shape)).astype(np.float32),
        'view_features': rng.standard_normal((BATCH, config.view_feature_dim)).astype(np.float32),
        'action_prev': rng.standard_normal((BATCH, 7)).astype(np.float32),
    }


def good_views() -> np.ndarray:
    return np.random.default_rng(1).uniform(-1, 1, (BATCH, 3, 224, 224, 3)).astype(np.float32)


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(TactileInputError) as caught:
        call()
    return str(caught.value)


def refused(encoder: TactileEncoder, field: str, value: object, traced: bool = False) -> str:
    """Message for one wrong input, with values known or only their shapes and types."""
    if field == 'views':
        call = encoder.encode_views
        return refusal(lambda: jax.eval_shape(call, value) if traced else call(value))
    inputs = good_inputs(encoder) | {field: value}
    if traced:
        return refusal(lambda: jax.eval_shape(lambda arrays: encoder.encode(**arrays), inputs))
    return refusal(lambda: encoder.encode(**inputs))


@pytest.mark.parametrize('field', ['tactile', 'views', 'view_features', 'action_prev'])
def test_defect_01_a_missing_input_raises(encoder: TactileEncoder, field: str) -> None:
    assert f'{field}: missing, expected float32' in refused(encoder, field, None)


@pytest.mark.parametrize(
    ('views', 'found'),
    [
        (np.zeros((BATCH, 3, 3, 224, 224), np.float32), '2, 3, 3, 224, 224'),  # channel first
        (np.zeros((BATCH, 3, 112, 112, 3), np.float32), '2, 3, 112, 112, 3'),
        (np.zeros((BATCH, 2, 224, 224, 3), np.float32), '2, 2, 224, 224, 3'),  # a camera short
        (np.zeros((3, 224, 224, 3), np.float32), '3, 224, 224, 3'),
    ],
)
def test_defect_02_views_of_another_shape_raise_and_are_never_answered_by_zeros(
    encoder: TactileEncoder, views: np.ndarray, found: str
) -> None:
    for traced in (False, True):
        message = refused(encoder, 'views', views, traced)
        assert f'views: found shape [{found}], expected [B, 3, 224, 224, 3]' in message
        assert 'base_0_rgb, left_wrist_0_rgb, right_wrist_0_rgb' in message


@pytest.mark.parametrize('shape', [(224, 224, 3), (160, 128, 3), (3, 128, 160), (128, 160, 1)])
def test_defect_03_a_resized_tactile_image_raises(encoder: TactileEncoder, shape: tuple[int, ...]) -> None:
    for traced in (False, True):
        message = refused(encoder, 'tactile', np.zeros((BATCH, *shape), np.float32), traced)
        assert f'tactile: found shape [2, {", ".join(map(str, shape))}], expected [B, 128, 160, 3]' in message
        assert 'never letterboxed' in message


@pytest.mark.parametrize('field', ['tactile', 'views'])
@pytest.mark.parametrize('dtype', [np.uint8, np.float64, np.float16, np.int32])
def test_defect_10_the_range_is_decided_by_type_and_never_guessed(
    encoder: TactileEncoder, field: str, dtype: type
) -> None:
    good = good_views() if field == 'views' else good_inputs(encoder)['tactile']
    message = refused(encoder, field, good.astype(dtype))
    assert f'{field}: found dtype {np.dtype(dtype)}, expected float32' in message


@pytest.mark.parametrize('field', ['tactile', 'views'])
@pytest.mark.parametrize(('value', 'found'), [(255.0, 'to 255'), (1.01, 'to 1.01'), (-1.01, 'from -1.01')])
def test_images_out_of_range_raise(encoder: TactileEncoder, field: str, value: float, found: str) -> None:
    image = good_views() if field == 'views' else good_inputs(encoder)['tactile']
    image[-1, ..., -1] = value
    message = refused(encoder, field, image)
    assert f'{field}: found values' in message
    assert found in message
    assert 'expected [-1, 1]' in message


@pytest.mark.parametrize('field', ['tactile', 'views', 'view_features', 'action_prev'])
@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_raise(encoder: TactileEncoder, field: str, value: float) -> None:
    array = good_views() if field == 'views' else good_inputs(encoder)[field]
    array.flat[-1] = value
    assert f'{field}: found 1 values that are NaN or infinite' in refused(encoder, field, array)


@pytest.mark.parametrize('width', [6, 8, 32])
def test_action_prev_is_neither_cut_nor_padded(encoder: TactileEncoder, width: int) -> None:
    message = refused(encoder, 'action_prev', np.zeros((BATCH, width), np.float32))
    assert f'action_prev: found shape [2, {width}], expected [B, 7]' in message
    assert 'neither normalised nor padded' in message


def test_batches_of_different_size_raise(encoder: TactileEncoder) -> None:
    message = refused(encoder, 'action_prev', np.zeros((BATCH + 1, 7), np.float32))
    assert "found {'tactile': 2, 'view_features': 2, 'action_prev': 3}" in message


def test_good_inputs_pass_known_and_traced(encoder: TactileEncoder) -> None:
    graph, state = nnx.split(encoder)

    def whole(state: nnx.State, inputs: dict[str, jax.Array], views: jax.Array) -> tuple:
        module = nnx.merge(graph, state)
        features = module.encode_views(views)
        return features, module.encode(inputs['tactile'], features, inputs['action_prev'])

    features, code = jax.eval_shape(whole, state, good_inputs(encoder), good_views())
    assert features.shape == (BATCH, encoder.config.view_feature_dim)
    assert code.q_event.shape == code.h_event.shape == (BATCH, 64)
    assert code.logvar.shape == (BATCH, 1)
    assert (code.code_index.shape, code.code_index.dtype) == ((BATCH,), jnp.int32)
    if encoder.config.kind == 'unit_align':
        assert code.prior.shape == code.z_real.shape == code.residual.shape == (BATCH, 3, 16, 20)

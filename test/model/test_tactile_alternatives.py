"""The encoder that stands in for Unit-Align: the trainable CNN."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from restac_ros.model.tactile.cnn import LOGVAR_BOUND, ConvStack, softly_bounded
from restac_ros.model.tactile.config import (
    CNN_MAP,
    UNIT_ALIGN,
    UNIT_ALIGN_TINY,
    CnnConfig,
    ProphetConfig,
    TactileConfig,
)
from restac_ros.model.tactile.factory import make_tactile_encoder
from restac_ros.model.tactile.interface import NO_CODE, TactileCode, TactileEncoder

CNN = TactileConfig(
    kind='cnn',
    tactile_size=(16, 24),
    prophet=ProphetConfig(num_views=2, view_size=32),
    cnn=CnnConfig(tactile_widths=(4, 8), view_widths=(4, 6), hidden_dim=16),
)


def make_inputs(config: TactileConfig, batch: int = 2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = (config.tactile_shape, config.view_shape, (7,))
    return tuple(rng.uniform(-1, 1, (batch, *shape)).astype(np.float32) for shape in shapes)


def code_of(
    encoder: TactileEncoder, tactile: np.ndarray, views: np.ndarray, action_prev: np.ndarray
) -> TactileCode:
    return encoder.encode(tactile, encoder.encode_views(views), action_prev)


@pytest.fixture(scope='module')
def cnn() -> TactileEncoder:
    return make_tactile_encoder(CNN, nnx.Rngs(0))


def test_cnn_gives_a_code_and_no_maps(cnn: TactileEncoder) -> None:
    code = code_of(cnn, *make_inputs(CNN))
    assert code.q_event.shape == (2, 64)
    np.testing.assert_array_equal(code.q_event, code.h_event)
    assert code.code_index.tolist() == [NO_CODE, NO_CODE]
    assert code.prior is code.z_real is code.residual is None


def test_cnn_code_needs_every_input_and_its_uncertainty_only_what_precedes_touch(cnn: TactileEncoder) -> None:
    inputs = make_inputs(CNN)
    code = code_of(cnn, *inputs)
    for i, name in enumerate(['tactile', 'views', 'action_prev']):
        changed = list(inputs)
        changed[i] = -inputs[i]
        other = code_of(cnn, *changed)
        assert np.abs(other.q_event - code.q_event).max() > 1e-3, name
        moved = np.abs(other.logvar - code.logvar).max()
        assert moved == 0 if name == 'tactile' else moved > 1e-4, name


def test_where_an_imprint_is_tells_the_map_and_not_its_maximum() -> None:
    """Of the same imprint at another place, away from the edges, the same maximum is left."""
    images = np.zeros((2, 64, 64, 3), np.float32)
    images[0, 24:28, 16:20] = images[1, 24:28, 40:44] = 1.0
    at_two_places = {}
    for whole_map in (False, True):
        stack = ConvStack((4, 8), nnx.Rngs(0), (64, 64), whole_map=whole_map)
        features = stack(jnp.asarray(images))
        assert features.shape == (2, stack.features)
        at_two_places[whole_map] = float(jnp.abs(features[0] - features[1]).max())
    assert at_two_places[False] < 1e-5
    assert at_two_places[True] > 0.1


def test_the_cnns_uncertainty_stays_where_a_gate_can_open_again() -> None:
    far = jnp.array([-1e4, -30.0, 0.0, 0.3, 1e4])
    bounded = softly_bounded(far)
    assert float(jnp.abs(bounded).max()) <= LOGVAR_BOUND
    np.testing.assert_allclose(bounded[2:4], [0.0, 0.3 / 1.1], rtol=1e-6)
    slope = jax.vmap(jax.grad(softly_bounded))(far)
    assert float(slope[1]) > 0.008, 'as good as none with tanh: 1e-8'


def test_every_parameter_of_the_cnn_is_trained(cnn: TactileEncoder) -> None:
    inputs = make_inputs(CNN)

    def loss(cnn: TactileEncoder) -> jax.Array:
        code = code_of(cnn, *map(jnp.asarray, inputs))
        return jnp.sum(code.q_event**2) + jnp.sum(code.logvar)

    gradients = nnx.to_flat_state(nnx.jit(nnx.grad(loss))(cnn))
    assert len(gradients) == len(nnx.to_flat_state(nnx.state(cnn)))
    for path, gradient in gradients:
        assert np.abs(gradient[...]).max() > 0, path


@pytest.mark.parametrize('preset', [UNIT_ALIGN, UNIT_ALIGN_TINY, TactileConfig(kind='cnn'), CNN_MAP])
def test_every_preset_makes_an_encoder(preset: TactileConfig) -> None:
    encoder = nnx.eval_shape(lambda: make_tactile_encoder(preset, nnx.Rngs(0)))
    assert isinstance(encoder, TactileEncoder)
    kinds = {type(leaf).__name__ for _, leaf in nnx.to_flat_state(nnx.state(encoder))}
    assert kinds <= {'Param', 'BatchStat', 'CodebookVariable'}


def test_torch_is_loaded_only_to_open_its_files() -> None:
    probe = (
        'import sys, restac_ros.model.tactile.factory, restac_ros.model.tactile.unit_align_checkpoint; '
        'print("torch" in sys.modules)'
    )
    run = subprocess.run([sys.executable, '-c', probe], capture_output=True, text=True, check=False)
    assert run.stdout.strip() == 'False', run.stderr

"""Unit-Align at full size against the published torch modules: 8 real inputs, weights of seeded noise."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

from restac_ros.model.tactile import vector_quantizer
from restac_ros.model.tactile.config import UNIT_ALIGN, UNIT_ALIGN_TINY
from restac_ros.model.tactile.factory import make_tactile_encoder
from restac_ros.model.tactile.interface import TactileCode, TactileEncoder
from restac_ros.model.tactile.prophet import imagenet_normalised
from restac_ros.model.tactile.unit_align import UnitAlign
from restac_ros.model.tactile.unit_align_checkpoint import TactileLoadReport, load_unit_align, tensor_table


@pytest.fixture(scope='session')
def golden(golden_dir: Path) -> dict[str, np.ndarray]:
    with np.load(golden_dir / 'unit_align_io.npz', allow_pickle=False) as file:
        return dict(file)


@pytest.fixture(scope='session')
def loaded(shared_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[UnitAlign, TactileLoadReport]:
    path = tmp_path_factory.mktemp('unit_align') / 'noise.ckpt'
    tool = shared_dir / 'tools' / 'make_unit_align_ckpt.py'
    subprocess.run([sys.executable, str(tool), str(path)], check=True, capture_output=True)
    result = load_unit_align(path)
    path.unlink()  # 150 MB
    return result


@pytest.fixture(scope='session')
def views(golden: dict[str, np.ndarray]) -> np.ndarray:
    return golden['in/views_u8'].astype(np.float32) / 255 * 2 - 1


@pytest.fixture(scope='session')
def computed(
    loaded: tuple[UnitAlign, TactileLoadReport], golden: dict[str, np.ndarray], views: np.ndarray
) -> tuple[np.ndarray, TactileCode]:
    """View features and code, from the two calls the policy makes."""
    module, _ = loaded
    view_features = nnx.jit(lambda m, v: m.encode_views(v))(module, views)
    encode = nnx.jit(lambda m, *arrays: m.encode(*arrays))
    code = encode(module, golden['in/tactile'], view_features, golden['in/action_prev'])
    return np.asarray(view_features), jax.tree.map(np.asarray, code)


def test_every_tensor_of_the_published_layout_is_taken(golden_dir: Path) -> None:
    shapes = json.loads((golden_dir / 'unit_align_shapes.json').read_text())
    abstract = nnx.split(nnx.eval_shape(lambda: UnitAlign(UNIT_ALIGN, nnx.Rngs(0))))[1]
    leaves = dict(nnx.to_flat_state(abstract))
    table = tensor_table(UNIT_ALIGN)

    assert set(table) == set(shapes)
    for name, (path, layout) in table.items():
        shape = () if path is None else layout.torch_shape(leaves[path].shape)
        assert list(shape) == shapes[name]['shape'], name
    used = [target.path for target in table.values() if target.path is not None]
    assert len(used) == len(set(used))
    assert set(used) == set(leaves)


def test_report_counts_what_the_checkpoint_holds(loaded: tuple[UnitAlign, TactileLoadReport]) -> None:
    module, report = loaded
    assert module.config == UNIT_ALIGN
    assert isinstance(module, TactileEncoder)
    assert report.loaded == {
        'prophet_encoder.': (134, 11_927_189),
        'obs_encoder.': (126, 25_179_651),
        'quant_conv.': (2, 12),
        'event_encoder.': (28, 230_016),
        'residual_vq.': (3, 16_512),
    }
    assert not report.ignored
    assert not report.ignored_hyper_parameters


def test_views_are_normalised_as_imagenet(golden: dict[str, np.ndarray], views: np.ndarray) -> None:
    mean = np.asarray(imagenet_normalised(views)).mean(axis=(2, 3), dtype=np.float64)
    np.testing.assert_allclose(mean, golden['out/views_imagenet_mean'], atol=1e-5)


def test_view_features(computed: tuple[np.ndarray, TactileCode], golden: dict[str, np.ndarray]) -> None:
    features = golden['out/visual_feat'].reshape(8, -1)
    np.testing.assert_allclose(computed[0], features, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ('field', 'key', 'tolerance'),
    [
        ('prior', 'out/mu', 1e-5),
        ('logvar', 'out/logvar', 1e-5),
        ('z_real', 'out/z_real', 1e-4),
        ('h_event', 'out/h_event', 3e-4),
        ('q_event', 'out/q_event', 1e-6),  # the reference rounds its straight-through sum
        ('q_event', 'out/q_event_codebook_row', 0),
        ('code_index', 'out/code_index', 0),
    ],
)
def test_outputs(
    computed: tuple[np.ndarray, TactileCode],
    golden: dict[str, np.ndarray],
    field: str,
    key: str,
    tolerance: float,
) -> None:
    found = getattr(computed[1], field)
    assert found.shape == golden[key].shape
    np.testing.assert_allclose(found, golden[key], rtol=0, atol=tolerance)


def test_without_codes_the_event_vector_enters_as_it_is() -> None:
    encoder = dataclasses.replace(UNIT_ALIGN_TINY.encoder, ch=4, ch_mult=(1, 1), attn_resolutions=())
    config = dataclasses.replace(
        UNIT_ALIGN_TINY, kind='unit_align_uncoded', tactile_size=(8, 8), encoder=encoder
    )
    rng = np.random.default_rng(0)
    assert not config.trains
    touch = rng.random((2, *config.tactile_shape), np.float32)
    features = rng.random((2, config.view_feature_dim), np.float32)

    graph, shapes = nnx.split(nnx.eval_shape(lambda: make_tactile_encoder(config, nnx.Rngs(0))))
    leaves = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes)
    encode = jax.jit(
        lambda leaves: nnx.merge(graph, leaves).encode(touch, features, np.zeros((2, 7), np.float32))
    )
    code = encode(leaves)
    np.testing.assert_array_equal(code.q_event, code.h_event)
    assert np.ptp(code.q_event, axis=0).max() > 0, 'the two touches differ'


def test_residual_is_measured_minus_expected(computed: tuple[np.ndarray, TactileCode]) -> None:
    code = computed[1]
    np.testing.assert_allclose(code.residual, code.z_real - code.prior, rtol=0, atol=1e-6)


def test_distances_and_commitment_loss(
    loaded: tuple[UnitAlign, TactileLoadReport],
    computed: tuple[np.ndarray, TactileCode],
    golden: dict[str, np.ndarray],
) -> None:
    quantizer = loaded[0].quantizer
    quantized = quantizer(computed[1].h_event)
    np.testing.assert_allclose(quantized.distances, golden['out/distances'], rtol=0, atol=1e-2)
    loss = vector_quantizer.commitment_loss(quantized, quantizer.config)
    np.testing.assert_allclose(loss, golden['out/commit_loss'], rtol=1e-5)


def test_a_press_leaves_the_prior_and_a_view_leaves_the_touch(
    computed: tuple[np.ndarray, TactileCode],
) -> None:
    """Rows: 0 background, 1 adds a press, 2 changes only the views, 3 changes only the previous action."""
    code = computed[1]
    for field, row, other, unchanged in [
        ('prior', 0, 1, True),
        ('logvar', 0, 1, True),
        ('z_real', 0, 1, False),
        ('z_real', 1, 2, True),
        ('prior', 1, 2, False),
        ('logvar', 1, 2, False),
        ('z_real', 2, 3, True),
        ('prior', 2, 3, False),
        ('logvar', 2, 3, False),
        ('z_real', 0, 7, True),
    ]:
        difference = np.abs(getattr(code, field)[row] - getattr(code, field)[other]).max()
        assert difference == 0 if unchanged else difference > 1e-3, (field, row, other)

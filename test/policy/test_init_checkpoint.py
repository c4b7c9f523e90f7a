"""Checkpoints made without training: every input matters, nothing invented passes for measured."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file

from checkpoints import load_checkpoint
from lerobot_file import write_huggingface
from restac_ros.contract.load import parse_contract
from restac_ros.contract.schema import Contract
from restac_ros.model.checkpoint.errors import CheckpointError
from restac_ros.model.checkpoint.network import assemble
from restac_ros.model.checkpoint.store import load_info
from restac_ros.model.config import ModelConfig
from restac_ros.model.observation import CAMERA_SLOTS
from restac_ros.model.presets import PRESETS
from restac_ros.policy import provisional
from restac_ros.policy.errors import PolicyError
from restac_ros.policy.init_checkpoint import import_checkpoint, init_checkpoint
from restac_ros.policy.normalization import NormStats, Quantiles

HEAD = 'lm_head.weight'


def coarse(rng: np.random.Generator, count: int, rows: int, columns: int, cell: int) -> np.ndarray:
    """Images of random square cells; pixel noise is the same grey to every encoder."""
    cells = rng.integers(0, 256, (count, rows // cell, columns // cell, 3), np.uint8)
    return cells.repeat(cell, axis=1).repeat(cell, axis=2)


def network_inputs(config: ModelConfig, rng: np.random.Generator) -> dict:
    return {
        'images': {slot: coarse(rng, 1, 224, 224, 28) for slot in CAMERA_SLOTS},
        'tokens': rng.integers(4, config.vocab_size, (1, 8)).astype(np.int32),
        'tactile': coarse(rng, 1, 128, 160, 32),
        'action_prev': rng.normal(0, 0.02, (1, 7)).astype(np.float32),
        'state': rng.normal(0, 1, (1, config.action_dim)).astype(np.float32),
        'noise': rng.normal(0, 1, (1, config.action_horizon, config.action_dim)).astype(np.float32),
    }


def network(path: Path) -> tuple[ModelConfig, Callable[[dict], tuple[np.ndarray, np.ndarray]]]:
    """The checkpoint's network as one function of its inputs, to (actions, gate)."""
    checkpoint = load_checkpoint(path, consume=jax.device_put)
    graph, state = assemble(checkpoint.info.config, checkpoint.params, source='test')

    @jax.jit
    def run(inputs: dict) -> tuple[jax.Array, jax.Array]:
        model = nnx.merge(graph, state)
        masks = {slot: np.array([True]) for slot in CAMERA_SLOTS}
        cache = model.encode_prefix(inputs['images'], masks, inputs['tokens'], inputs['tokens'] > 0)
        touch = model.encode_tactile(inputs['tactile'], cache.view_features, inputs['action_prev'])
        plan = model.plan_sampling(2)
        actions, reading = model.sample_actions(cache, touch, inputs['state'], inputs['noise'], plan)
        return actions, reading.gate

    return checkpoint.info.config, run


@pytest.mark.parametrize('fusion', ['token_in_ae', 'forcevla'])
def test_every_input_matters_and_the_gate_is_open_somewhere_between(
    fusion: str, contract: Contract, micro: ModelConfig, tmp_path: Path
) -> None:
    init_checkpoint(replace(micro, fusion=fusion), contract, tmp_path / 'checkpoint')
    config, run = network(tmp_path / 'checkpoint')
    first = network_inputs(config, np.random.default_rng(0))
    other = network_inputs(config, np.random.default_rng(1))
    actions, gate = run(first)
    assert 0.02 < gate[0, 0] < 0.98
    changes = {name: {name: other[name]} for name in ('tokens', 'tactile', 'state', 'noise')}
    for slot in CAMERA_SLOTS:
        changes[slot] = {'images': first['images'] | {slot: other['images'][slot]}}
    for name, change in changes.items():
        moved = np.abs(run(first | change)[0] - actions).max()
        assert moved > 1e-4, f'{name} moves the actions by {moved}'
    # The previous action reaches the policy through the tactile prior.
    assert np.abs(run(first | {'action_prev': first['action_prev'] + 0.5})[1] - gate).max() > 1e-6


def test_the_tiny_preset_uses_several_codes_of_its_codebook(contract: Contract, tmp_path: Path) -> None:
    report = init_checkpoint('tiny', contract, tmp_path / 'checkpoint')
    assert report.num_values > 500_000
    checkpoint = load_checkpoint(tmp_path / 'checkpoint', consume=jax.device_put)
    graph, state = assemble(checkpoint.info.config, checkpoint.params, source='test')
    rng = np.random.default_rng(5)
    views = {slot: coarse(rng, 12, 224, 224, 28) for slot in CAMERA_SLOTS}
    tactile = coarse(rng, 12, 128, 160, 16)

    @jax.jit
    def read(views: dict, tactile: np.ndarray, action_prev: np.ndarray) -> tuple[jax.Array, jax.Array]:
        model = nnx.merge(graph, state)
        code = model.encode_tactile(tactile, model.encode_views(views), action_prev)
        return code.code_index, model.read_touch(code).gate

    codes, gate = read(views, tactile, np.zeros((12, 7), np.float32))
    assert len(set(codes.tolist())) >= 4
    assert (gate > 0.02).all()
    assert (gate < 0.98).all()
    assert gate.std() > 0.02


def test_what_was_not_measured_says_so(checkpoint: Path, contract: Contract) -> None:
    info = load_info(checkpoint)
    assert info.norm_stats['source'].startswith('not measured')
    assert info.calibration.source.startswith('not measured')
    assert info.config.logvar_calibration.std == info.calibration.std
    assert info.origin.weights == 'random, untrained'
    assert parse_contract(info.contract_text) == contract
    stats = NormStats.from_dict(info.norm_stats, 'x', 7)
    assert stats.notes() == []
    np.testing.assert_allclose(stats.state.q01[:3], contract.limits.workspace_m.min)
    assert stats.actions.q99[6] == contract.gripper.opening_m[1]


def test_the_same_seed_gives_the_same_weights(
    checkpoint: Path, contract: Contract, micro: ModelConfig, tmp_path: Path
) -> None:
    init_checkpoint(micro, contract, tmp_path / 'again')
    init_checkpoint(micro, contract, tmp_path / 'other', seed=1)
    first, again, other = (
        load_checkpoint(path).params for path in (checkpoint, tmp_path / 'again', tmp_path / 'other')
    )
    for name, leaf in first.items():
        np.testing.assert_array_equal(leaf, again[name])
    assert any((leaf != other[name]).all() for name, leaf in first.items())


def test_refusals(checkpoint: Path, contract: Contract, micro: ModelConfig, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=f'{checkpoint}: already exists'):
        init_checkpoint('tiny', contract, checkpoint)
    with pytest.raises(CheckpointError, match=r"preset 'small' is unknown; known: .*tiny"):
        init_checkpoint('small', contract, tmp_path / 'x')
    with pytest.raises(PolicyError, match='image_size: found 112, expected 224'):
        init_checkpoint(replace(micro, image_size=112, fusion='none', tactile=None), contract, tmp_path / 'x')
    one_camera = contract.model_copy(
        update={'streams': {k: s for k, s in contract.streams.items() if k not in ('side', 'handeye')}}
    )
    with pytest.raises(PolicyError, match='no camera for slot left_wrist_0_rgb, right_wrist_0_rgb'):
        init_checkpoint('tiny', one_camera, tmp_path / 'x')
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope='module')
def base(contract: Contract, micro: ModelConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain pi0.5 of micro size; its params directory has openpi's layout."""
    path = tmp_path_factory.mktemp('base') / 'plain'
    init_checkpoint(replace(micro, fusion='none', tactile=None), contract, path, seed=7)
    return path


def test_openpi_weights_become_a_policy_with_touch(
    base: Path, contract: Contract, micro: ModelConfig, tmp_path: Path
) -> None:
    stats = NormStats(Quantiles((-1.0,) * 7, (1.0,) * 7), Quantiles((-0.1,) * 7, (0.1,) * 7), 'measured on x')
    report = import_checkpoint(base / 'params', micro, contract, tmp_path / 'policy', norm_stats=stats)
    made, source = load_checkpoint(tmp_path / 'policy'), load_checkpoint(base)
    for name, leaf in source.params.items():
        np.testing.assert_array_equal(made.params[name], leaf, err_msg=name)
    assert set(report.leaves.names('loaded')) == source.params.keys()
    assert set(report.leaves.names('kept')) == made.params.keys() - source.params.keys()
    assert 'default_tactile_embedding' in report.leaves.names('kept')
    assert not np.any(made.params['default_tactile_embedding'])  # as at the start of training
    assert 'loaded 51 leaves' in str(report)
    assert made.info.norm_stats['source'] == 'measured on x'
    assert made.info.tokenizer is None
    assert made.info.origin.weights == str(base / 'params')


def test_lerobot_weights_become_the_same_policy(
    base: Path, contract: Contract, micro: ModelConfig, tmp_path: Path
) -> None:
    source = load_checkpoint(base)
    write_huggingface(tmp_path / 'model.safetensors', source.params)
    import_checkpoint(tmp_path, micro, contract, tmp_path / 'policy', dtype='bfloat16')
    made = load_checkpoint(tmp_path / 'policy').params
    for name, leaf in source.params.items():
        np.testing.assert_array_equal(made[name], leaf.astype(made[name].dtype))
        assert made[name].dtype.name == 'bfloat16'
    assert made['gate/threshold'].dtype == np.float32


def test_a_source_with_touch_keeps_its_codebook(
    contract: Contract, micro: ModelConfig, tmp_path: Path
) -> None:
    config = replace(micro, tactile=PRESETS['tiny'].tactile)
    init_checkpoint(config, contract, tmp_path / 'source')
    import_checkpoint(tmp_path / 'source', config, contract, tmp_path / 'policy', seed=3)
    made, source = (load_checkpoint(tmp_path / name).params for name in ('policy', 'source'))
    for name, leaf in source.items():
        np.testing.assert_array_equal(made[name], leaf, err_msg=name)


def test_a_base_without_text_embeddings_is_named_as_such(
    base: Path, contract: Contract, micro: ModelConfig, tmp_path: Path
) -> None:
    """Left out, or kept as zeros; the rest of such a file fits, and every prompt would read alike."""
    params = dict(load_checkpoint(base).params)
    embeddings = 'PaliGemma/llm/embedder/input_embedding'
    zeros, none = tmp_path / 'zeros.safetensors', tmp_path / 'none.safetensors'
    write_huggingface(zeros, params | {embeddings: np.zeros_like(params[embeddings])})
    kept = {
        name: a for name, a in load_file(zeros).items() if not name.endswith(('embed_tokens.weight', HEAD))
    }
    save_file(kept, none)
    for path, found in ((zeros, 'found zeros in 100% of their rows'), (none, 'found none')):
        expected = rf"{path}: text embeddings .*: {found}, expected .*start from openpi's own params"
        with pytest.raises(CheckpointError, match=expected):
            import_checkpoint(path, micro, contract, tmp_path / 'policy')


def test_a_base_of_another_size_is_refused_before_it_is_read(
    base: Path, contract: Contract, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=r'leaves do not fit the model: .* Choose the preset'):
        import_checkpoint(base, 'tiny', contract, tmp_path / 'policy')
    with pytest.raises(CheckpointError, match='absent: no such file or directory'):
        import_checkpoint(tmp_path / 'absent', 'tiny', contract, tmp_path / 'policy')
    assert list(tmp_path.iterdir()) == []


def test_unit_align_brings_its_own_sizes(
    base: Path,
    contract: Contract,
    micro: ModelConfig,
    shared_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(provisional, 'SAMPLES', 2)  # the published size takes a second each
    tool = shared_dir / 'tools' / 'make_unit_align_ckpt.py'
    subprocess.run([sys.executable, str(tool), str(tmp_path / 'ua.ckpt')], check=True, capture_output=True)
    config = replace(micro, tactile=PRESETS['tiny'].tactile)
    report = import_checkpoint(base, config, contract, tmp_path / 'policy', unit_align=tmp_path / 'ua.ckpt')
    made = load_checkpoint(tmp_path / 'policy')
    assert made.info.config.tactile == PRESETS['pi05_restac'].tactile
    assert made.params['tactile/quantizer/embed'].mean() == pytest.approx(
        6.0, abs=0.1
    )  # the file's, not drawn
    assert 'tactile/quantizer/embed' in report.leaves.names('loaded')
    assert -12 < made.info.config.logvar_calibration.mean < -8
    assert made.info.origin.unit_align.endswith('ua.ckpt')

"""Our own checkpoint directory: complete or absent, checked file by file before anything is used."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from checkpoints import load_checkpoint
from restac_ros.model.checkpoint import store
from restac_ros.model.checkpoint.errors import CheckpointError
from restac_ros.model.checkpoint.files import new_directory
from restac_ros.model.checkpoint.network import initial_params, leaf_shapes
from restac_ros.model.checkpoint.params import CastRule
from restac_ros.model.checkpoint.provenance import GateCalibration, Origin
from restac_ros.model.checkpoint.store import CheckpointInfo, load_info, save_checkpoint
from restac_ros.model.config import GemmaConfig, ModelConfig, SiglipConfig

CONFIG = ModelConfig(
    paligemma=GemmaConfig(8, 1, 8, num_heads=2, num_kv_heads=1, head_dim=4),
    action_expert=GemmaConfig(8, 1, 8, num_heads=2, num_kv_heads=1, head_dim=4),
    siglip=SiglipConfig(width=8, depth=1, mlp_dim=8, num_heads=2),
    vocab_size=16,
    fusion='token_in_ae',
)
INFO = CheckpointInfo(
    config=CONFIG,
    contract_text='fps: 15  # µ\n',
    norm_stats={
        'norm_stats': {'state': {'q01': [0.0], 'q99': [1.0]}, 'actions': {'q01': [0.0], 'q99': [1.0]}}
    },
    calibration=GateCalibration(-9.5, 0.3, 64, 'a test'),
    tokenizer=b'pieces',
    origin=Origin('a test', step=3),
)


@pytest.fixture(scope='module')
def params() -> dict[str, np.ndarray]:
    return initial_params(CONFIG, leaf_shapes(CONFIG), seed=0, everything=True)


@pytest.fixture
def saved(tmp_path: Path, params: dict[str, np.ndarray]) -> Path:
    save_checkpoint(tmp_path / 'checkpoint', params, INFO)
    return tmp_path / 'checkpoint'


def test_everything_comes_back(saved: Path, params: dict[str, np.ndarray]) -> None:
    checkpoint = load_checkpoint(saved)
    assert checkpoint.info.config == INFO.config
    for name in ('contract_text', 'norm_stats', 'calibration', 'tokenizer', 'origin'):
        assert getattr(checkpoint.info, name) == getattr(INFO, name), name
    assert checkpoint.info.versions['jax']
    assert checkpoint.params.keys() == params.keys()
    for name, leaf in params.items():
        np.testing.assert_array_equal(checkpoint.params[name], leaf)


def test_dtype_and_destination_are_the_callers(saved: Path) -> None:
    seen = []
    checkpoint = load_checkpoint(
        saved, cast=CastRule('bfloat16'), consume=lambda leaf: seen.append(leaf) or leaf
    )
    assert len(seen) == len(checkpoint.params)
    for name, leaf in checkpoint.params.items():
        assert leaf.dtype.name == ('float32' if name.startswith('gate/') else 'bfloat16'), name


def test_the_same_content_gives_the_same_manifest_entries(tmp_path: Path, params: dict) -> None:
    for name in ('a', 'b'):
        save_checkpoint(tmp_path / name, params, INFO)
    a, b = (json.loads((tmp_path / name / 'checkpoint.json').read_text())['files'] for name in ('a', 'b'))
    for name in (
        'model_config.json',
        'contract.yaml',
        'calibration.json',
        'tokenizer.model',
        store.NORM_STATS,
    ):
        assert a[name] == b[name]


def test_an_existing_directory_stays_as_it_is(saved: Path, params: dict) -> None:
    before = sorted(saved.rglob('*'))
    with pytest.raises(CheckpointError, match=f'{saved}: already exists'):
        save_checkpoint(saved, params, INFO)
    assert sorted(saved.rglob('*')) == before


def test_a_failure_while_writing_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="leaf 'w' is a list"):
        save_checkpoint(tmp_path / 'checkpoint', {'w': [1.0]}, INFO)
    assert list(tmp_path.iterdir()) == []


def test_a_directory_made_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    def lose_the_race() -> None:
        with new_directory(tmp_path / 'x') as partial:
            (partial / 'ours').write_text('')
            (tmp_path / 'x').mkdir()
            (tmp_path / 'x' / 'theirs').write_text('')

    with pytest.raises(OSError, match='not empty'):
        lose_the_race()
    assert [path.name for path in tmp_path.rglob('*')] == ['x', 'theirs']


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ('damage', 'told'),
    [
        (truncate, 'truncated or changed'),
        (flip_a_bit, 'does not match its checksum'),
        (Path.unlink, 'missing'),
    ],
)
def test_damage_to_any_file_names_it_before_anything_is_read(
    saved: Path, damage: Callable[[Path], None], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, 'OrbaxParams', lambda path: pytest.fail('parameters were opened'))
    files = [path for path in saved.rglob('*') if path.is_file() and path.stat().st_size]
    assert len(files) > 8
    for path in files:
        if path.name == 'checkpoint.json':
            continue
        content = path.read_bytes()
        damage(path)
        with pytest.raises(CheckpointError, match=rf'{path}: .*{told}'):
            load_checkpoint(saved)
        path.write_bytes(content)


def test_sizes_are_compared_even_without_checksums(saved: Path) -> None:
    truncate(saved / 'contract.yaml')
    with pytest.raises(CheckpointError, match=r'contract\.yaml: found'):
        load_info(saved, checksums=False)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda m: m | {'format_version': 2}, r'version 2; expected .* version 1\. Update'),
        (lambda m: m | {'format': 'other'}, "format 'other'"),
        (lambda m: m | {'files': []}, 'damaged'),
        (lambda m: m | {'files': {'contract.yaml': 7}}, 'damaged'),
        (lambda m: m | {'files': {'../x': {'size': 1, 'crc32': 0}}}, "'../x', outside of the checkpoint"),
        (lambda m: [], 'found a JSON list'),
    ],
)
def test_a_strange_manifest_is_refused(saved: Path, change: Callable, message: str) -> None:
    manifest = saved / 'checkpoint.json'
    manifest.write_text(json.dumps(change(json.loads(manifest.read_text()))))
    with pytest.raises(CheckpointError, match=message):
        load_info(saved)


def test_a_truncated_manifest_is_named(saved: Path) -> None:
    truncate(saved / 'checkpoint.json')
    (saved / 'checkpoint.json').write_bytes((saved / 'checkpoint.json').read_bytes()[:-30])
    with pytest.raises(CheckpointError, match=r'checkpoint\.json: not readable JSON'):
        load_info(saved)


def test_absent_and_foreign_directories_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r'no such checkpoint directory\. Make one with'):
        load_info(tmp_path / 'absent')
    (tmp_path / 'params').mkdir()
    with pytest.raises(CheckpointError, match=r"no checkpoint\.json here.*'restac-ros import-checkpoint'"):
        load_info(tmp_path)


def test_an_impossible_configuration_names_its_file(tmp_path: Path, params: dict) -> None:
    class Config:
        def to_dict(self) -> dict:
            return INFO.config.to_dict() | {'gate': 'always'}

    info = CheckpointInfo(Config(), INFO.contract_text, INFO.norm_stats, INFO.origin)
    save_checkpoint(tmp_path / 'checkpoint', params, info)
    with pytest.raises(CheckpointError, match=r'model_config\.json: .*always'):
        load_info(tmp_path / 'checkpoint')


def test_leaves_of_another_model_are_refused_before_they_are_read(
    tmp_path: Path, params: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path / 'checkpoint', params, replace(INFO, config=replace(CONFIG, vocab_size=17)))
    monkeypatch.setattr(
        store.OrbaxParams, 'read', lambda *args, **options: pytest.fail('parameters were read')
    )
    with pytest.raises(CheckpointError, match=r'input_embedding is \(16, 8\), expected \(17, 8\)'):
        load_checkpoint(tmp_path / 'checkpoint')

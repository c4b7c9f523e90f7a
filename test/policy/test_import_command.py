"""`restac-ros import-checkpoint` as the README prints it."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from restac_ros.commands.checkpoints import ImportCheckpoint, InitCheckpoint
from restac_ros.contract.load import parse_contract
from restac_ros.contract.schema import Contract
from restac_ros.installation import GraphError, config_file
from restac_ros.model.checkpoint.errors import CheckpointError
from restac_ros.model.checkpoint.sizes import resampled_positions, with_sizes_of
from restac_ros.model.checkpoint.store import PARAMS, load_info
from restac_ros.model.config import ModelConfig
from restac_ros.model.presets import PRESETS
from restac_ros.policy import provisional
from restac_ros.policy.init_checkpoint import import_checkpoint, init_checkpoint
from restac_ros.policy.normalization import NormStatsError

GOLDEN = 'openpi_pi05_tiny_checkpoint'


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a directory without any contract, and with an empty cache of tokenizers."""
    try:
        config_file('contract.yaml')
    except GraphError as error:
        pytest.skip(str(error))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('OPENPI_DATA_HOME', str(tmp_path / 'cache'))


def norm_stats(path: Path, low: list[float], high: list[float]) -> Path:
    columns = {'q01': low, 'q99': high, 'mean': low, 'std': [1.0] * len(low)}
    path.write_text(json.dumps({'norm_stats': {'state': columns, 'actions': columns}}))
    return path


def test_a_checkpoint_that_fits_no_preset_is_imported_with_the_sizes_it_shows(
    golden_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ImportCheckpoint(golden_dir / GOLDEN, to=tmp_path / 'policy').run() == 0
    config = load_info(tmp_path / 'policy').config
    assert (config.paligemma.width, config.action_expert.width, config.paligemma.depth) == (48, 32, 3)
    assert (config.siglip.depth, config.vocab_size, config.action_dim, config.image_size) == (3, 320, 9, 224)
    said = capsys.readouterr().out
    assert said.startswith('runs on: ')
    assert 'note: sizes as in the source, of no preset: widths 48 and 32, depth 3' in said
    assert 'interpolated from 16 patches' in said
    assert 'not in the cache: run `restac-ros download-tokenizer` once' in said
    assert [line for line in said.splitlines() if line.endswith(' ...')]


def test_the_line_of_the_readme_with_a_tactile_encoder_makes_a_policy_with_touch(
    golden_dir: Path, shared_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provisional, 'SAMPLES', 2)  # the published size takes a second each
    tool = shared_dir / 'tools' / 'make_unit_align_ckpt.py'
    subprocess.run([sys.executable, tool, tmp_path / 'ua.ckpt'], check=True, capture_output=True)
    command = ImportCheckpoint(golden_dir / GOLDEN, to=tmp_path / 'policy', unit_align=tmp_path / 'ua.ckpt')
    assert command.run() == 0
    config = load_info(tmp_path / 'policy').config
    assert config.fusion == PRESETS['pi05_restac'].fusion
    assert config.uses_touch
    assert config.tactile is not None


def test_a_network_without_touch_says_that_the_sources_touch_is_left_out(
    contract: Contract, micro: ModelConfig, tmp_path: Path
) -> None:
    init_checkpoint(micro, contract, tmp_path / 'felt')
    numb = replace(micro, fusion='none', tactile=None)
    [note] = import_checkpoint(tmp_path / 'felt' / PARAMS, numb, contract, tmp_path / 'numb').notes
    assert re.match(r'touch was left out: [1-9]\d* leaves of the source', note)
    assert import_checkpoint(tmp_path / 'felt' / PARAMS, micro, contract, tmp_path / 'again').notes == ()


@pytest.mark.parametrize('command', ['init-checkpoint', 'import-checkpoint'])
def test_help_lists_the_networks(command: str) -> None:
    line = [sys.executable, '-P', '-m', 'restac_ros.cli', command, '--help']
    wide = {**os.environ, 'COLUMNS': '200'}  # else a name may be wrapped
    shown = subprocess.run(line, env=wide, capture_output=True, text=True, check=True).stdout
    named = {'pi05', 'pi05_restac', 'pi05_restac_token_in_ae_lora', 'mid', 'tiny', 'tiny_no_touch'}
    assert set(re.findall(r'[a-z0-9_]+', shown)) >= named


def test_a_preset_of_another_size_is_refused_by_name(golden_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match='39 leaves do not fit the model'):
        ImportCheckpoint(golden_dir / GOLDEN, to=tmp_path / 'policy', preset='tiny').run()
    assert not (tmp_path / 'policy').exists()


def test_init_checkpoint_uses_the_installed_contract(tmp_path: Path) -> None:
    assert InitCheckpoint(to=tmp_path / 'policy').run() == 0
    inside = parse_contract(load_info(tmp_path / 'policy').contract_text)
    assert inside == parse_contract(config_file('contract.yaml').read_text())


def test_statistics_of_another_width_or_range_are_refused(golden_dir: Path, tmp_path: Path) -> None:
    wide = norm_stats(tmp_path / 'wide.json', [0.0] * 8, [1.0] * 8)
    with pytest.raises(NormStatsError, match='found 8 values, expected 7'):
        ImportCheckpoint(golden_dir / GOLDEN, to=tmp_path / 'policy', norm_stats=wide).run()
    joints = norm_stats(
        tmp_path / 'joints.json', [-3.0, -2.0, -3.0] + [0.0] * 4, [-1.0, 2.0, 3.0] + [1.0] * 4
    )
    with pytest.raises(NormStatsError, match=r'state x: found -3 to -1, expected .* \(0\.2 to 0\.8 m\)'):
        ImportCheckpoint(golden_dir / GOLDEN, to=tmp_path / 'policy', norm_stats=joints).run()
    assert not (tmp_path / 'policy').exists()


def test_sizes_that_are_not_there_are_refused() -> None:
    with pytest.raises(CheckpointError, match=r'its sizes cannot be read off: .*; is it a pi0.5?'):
        with_sizes_of(PRESETS['pi05'], {'PaliGemma/img/embedding/kernel': (14, 14, 3, 32)}, 'x')


def test_position_embeddings_keep_their_values_where_the_size_stays() -> None:
    grid = np.random.default_rng(0).normal(size=(1, 16, 5)).astype(np.float32)
    np.testing.assert_allclose(resampled_positions(grid, (1, 16, 5)), grid, atol=1e-6)
    constant = np.full((1, 16, 5), 0.25, np.float32)
    np.testing.assert_allclose(resampled_positions(constant, (1, 256, 5)), 0.25, atol=1e-6)


def test_a_pointer_of_git_lfs_is_named(golden_dir: Path, tmp_path: Path) -> None:
    pointer = tmp_path / 'model.safetensors'
    pointer.write_bytes(b'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n')
    with pytest.raises(
        CheckpointError, match='Git LFS pointer, not the file itself: bring it with `git lfs pull`'
    ):
        ImportCheckpoint(pointer, to=tmp_path / 'policy').run()

"""A quantised checkpoint: what is written, what it costs, and that a robot runs it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from restac_ros.contract.schema import Contract
from restac_ros.dataset.dataset_files import OWN_CONTRACT
from restac_ros.dataset.errors import DatasetError
from restac_ros.model.checkpoint.errors import CheckpointError
from restac_ros.model.checkpoint.store import load_info, load_params
from restac_ros.model.int8 import Int8Weight
from restac_ros.policy.policy import Policy
from restac_ros.training.action_probe import ActionProbe
from restac_ros.training.data.episodes import Episodes, open_episodes
from restac_ros.training.errors import TrainingError
from restac_ros.training.quantisation import quantise

PROMPT = 'insert the plug into the socket'


def _tell(*_: object) -> None:
    pass


def test_the_command_writes_a_checkpoint_of_half_the_size_that_acts_alike(
    deployed: Path, touch_data: Path, tmp_path: Path, contract: Contract, episodes: Episodes
) -> None:
    """Within 1 % of the normalised range (median) of the policy it was made from, and run by Policy.load."""
    to, figures = tmp_path / 'int8', tmp_path / 'figures.json'
    words = ['quantise', deployed, '--to', to, '--dataset', touch_data, '--frames', '6', '--json', figures]
    command = [sys.executable, '-m', 'restac_ros.cli', *map(str, words)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert 'actions against the unquantised policy, 6 frames' in run.stdout
    report = json.loads(figures.read_text())
    weights = [w for w in load_params(to, load_info(to).config).values() if isinstance(w, Int8Weight)]
    assert len(weights) == len(report['leaves'])
    assert sum(w.nbytes for w in weights) < 0.6 * sum(2 * w.size for w in weights)  # few values a scale
    assert 0 < report['actions']['median'] < 0.01
    assert all(0 < leaf['error'] < 0.02 for leaf in report['leaves'])
    assert {leaf['layers'] for leaf in report['leaves']} == {1, 2}
    assert load_info(to).origin.made_by == 'quantise'

    sample = episodes.sample(0, 3, load_info(to).config.action_horizon)
    chunks = []
    for path in (deployed, to):
        policy = Policy.load(path, contract, PROMPT, num_steps=3, use_compile_cache=False)
        prefix = policy.encode_prefix(sample.images, 0)
        touch = policy.encode_tactile(sample.tactile, prefix, sample.action_prev, 0)
        chunks.append(policy.act(prefix, touch, sample.state, seed=0, index=0))
    exact, rounded = (np.hstack([c.delta_pose, c.gripper_opening_m[:, None]]) for c in chunks)
    half = np.ptp(exact, axis=0).max()
    assert 0 < np.abs(exact - rounded).max() < 0.1 * half


def test_calibration_keeps_the_weights_that_matter_within_the_budget(
    deployed: Path, touch_data: Path, tmp_path: Path
) -> None:
    plain = quantise(deployed, tmp_path / 'plain', dataset=touch_data, frames=3, tell=_tell)
    budget = plain.share + 0.02
    report = quantise(
        deployed, tmp_path / 'kept', dataset=touch_data, frames=3, calibrate=True, budget=budget, tell=_tell
    )
    kept = [leaf for leaf in report.leaves if leaf.kept]
    assert 0 < len(kept) < len(report.leaves)
    assert plain.share < report.share <= budget
    assert all(leaf.action_error is not None for leaf in report.leaves)
    assert report.actions is not None
    assert plain.actions is not None
    assert report.actions.median < plain.actions.median


def test_a_data_set_without_a_contract_is_read_under_the_checkpoints(
    deployed: Path, touch_data: Path, tmp_path: Path
) -> None:
    """LeRobot makes such ones; training takes them with `--data.contract`, which a checkpoint then holds."""
    root = tmp_path / 'by_lerobot'
    shutil.copytree(touch_data, root)
    (root / OWN_CONTRACT).unlink()
    with pytest.raises(DatasetError, match='was not made by this package'):
        open_episodes(root)
    source = ActionProbe.open(deployed, root, 3, 0).source
    assert len(source) == 3
    assert source.episodes.contract == open_episodes(touch_data).contract
    with pytest.raises(DatasetError, match='nowhere'):
        ActionProbe.open(deployed, tmp_path / 'nowhere', 3, 0)


def test_what_cannot_be_quantised_is_refused_before_anything_is_read(deployed: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match='--calibrate: found no data set'):
        quantise(deployed, tmp_path / 'to', calibrate=True, tell=_tell)
    with pytest.raises(CheckpointError, match='already exists'):
        quantise(deployed, deployed, tell=_tell)
    report = quantise(deployed, tmp_path / 'int8', tell=_tell)
    assert report.actions is None
    with pytest.raises(CheckpointError, match='this checkpoint is quantised'):
        quantise(tmp_path / 'int8', tmp_path / 'again', tell=_tell)

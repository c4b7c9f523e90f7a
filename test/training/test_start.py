"""What a run starts from."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from restac_ros.contract.schema import Contract
from restac_ros.model.checkpoint.merge import NEW_LEAVES
from restac_ros.model.checkpoint.store import load_params
from restac_ros.model.presets import PRESETS
from restac_ros.policy.init_checkpoint import init_checkpoint
from restac_ros.training.config import TrainConfig
from restac_ros.training.errors import TrainingError
from restac_ros.training.start import plan_start, read_weights

SEES, FEELS = 'tiny_cnn_no_touch', 'tiny_cnn'


@pytest.fixture(scope='module')
def without_touch(tmp_path_factory: pytest.TempPathFactory, contract: Contract) -> Path:
    path = tmp_path_factory.mktemp('start') / 'without_touch'
    init_checkpoint(SEES, contract, path, seed=3)
    return path


def test_a_policy_that_sees_can_be_taught_to_feel(without_touch: Path) -> None:
    """What it has learnt stays; touch and gate begin anew."""
    train = TrainConfig(FEELS, init=without_touch)
    plan = plan_start(train)
    assert plan.config == PRESETS[FEELS]
    found, before = read_weights(train, plan).params, load_params(without_touch, PRESETS[SEES])
    new = set(found) - set(before)
    assert new
    assert all(re.search(NEW_LEAVES, name) for name in new)
    for name, leaf in before.items():
        np.testing.assert_array_equal(found[name], leaf, err_msg=name)


def test_a_policy_that_feels_is_not_made_numb(
    without_touch: Path, contract: Contract, tmp_path: Path
) -> None:
    """The other way its touch would be dropped without a word."""
    init_checkpoint(FEELS, contract, tmp_path / 'with_touch', seed=3)
    with pytest.raises(
        TrainingError, match=r'another configuration than preset .*fusion: token_in_ae != none'
    ):
        plan_start(TrainConfig(SEES, init=tmp_path / 'with_touch'))


def test_touch_is_not_taught_by_an_encoder_of_random_weights(contract: Contract, tmp_path: Path) -> None:
    init_checkpoint('tiny_no_touch', contract, tmp_path / 'sees')
    with pytest.raises(TrainingError, match='no --unit-align, expected a trained tactile encoder'):
        plan_start(TrainConfig('tiny', init=tmp_path / 'sees'))


def test_an_ablation_of_gate_or_codebook_starts_from_the_policy_that_sees(without_touch: Path) -> None:
    open_gate = plan_start(TrainConfig(FEELS, init=without_touch, gate='off'))
    assert open_gate.config == replace(PRESETS[FEELS], gate='off')
    uncoded = plan_start(TrainConfig('tiny', uncoded=True)).config
    assert uncoded.tactile is not None
    assert (uncoded.tactile.kind, uncoded.tactile.trains) == ('unit_align_uncoded', False)
    with pytest.raises(TrainingError, match="uncoded: found an encoder of kind 'cnn', expected a Unit-Align"):
        plan_start(TrainConfig(FEELS, init=without_touch, uncoded=True))
    with pytest.raises(
        TrainingError, match=r"gate: found 'off', expected none, as preset .* is without touch"
    ):
        plan_start(TrainConfig(SEES, gate='off'))

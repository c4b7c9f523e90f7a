"""What a run starts from."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from restac_ros.contract.schema import Contract
from restac_ros.model.checkpoint.errors import CheckpointError
from restac_ros.model.checkpoint.merge import NEW_LEAVES
from restac_ros.model.checkpoint.provenance import ContactCalibration, GateCalibration, Origin
from restac_ros.model.checkpoint.store import load_info, load_params, save_checkpoint
from restac_ros.model.presets import PRESETS
from restac_ros.policy.init_checkpoint import init_checkpoint
from restac_ros.training.config import TrainConfig
from restac_ros.training.errors import TrainingError
from restac_ros.training.start import calibration_note, plan_start, read_weights

SEES, FEELS, UNCODED = 'tiny_cnn_no_touch', 'tiny_cnn', 'unit_align_uncoded'


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


def test_a_distilled_policy_is_not_taught_the_flow_again(contract: Contract, tmp_path: Path) -> None:
    init_checkpoint(SEES, contract, tmp_path / 'student')
    info, params = load_info(tmp_path / 'student'), load_params(tmp_path / 'student', PRESETS[SEES])
    for weights, told in (
        ('/policies/cell', 'made from, /policies/cell, and'),
        ('not stated', 'made from, and'),
    ):
        origin = Origin('distil --steps 1', weights, flow_steps=1)
        save_checkpoint(tmp_path / 'student', params, replace(info, origin=origin), replace=True)
        with pytest.raises(
            TrainingError, match=rf'init: found .*student, which was distilled to 1 Euler steps, .*{told}'
        ):
            plan_start(TrainConfig(SEES, init=tmp_path / 'student'))


def test_touch_is_not_taught_by_an_encoder_of_random_weights(contract: Contract, tmp_path: Path) -> None:
    init_checkpoint('tiny_no_touch', contract, tmp_path / 'sees')
    with pytest.raises(TrainingError, match='no --unit-align, expected a trained tactile encoder'):
        plan_start(TrainConfig('tiny', init=tmp_path / 'sees'))


def test_the_encoder_of_a_policy_is_taken_as_it_is(contract: Contract, tmp_path: Path) -> None:
    init_checkpoint('tiny', contract, tmp_path / 'feels', seed=5)
    init_checkpoint('tiny_no_touch', contract, tmp_path / 'sees')
    init_checkpoint(FEELS, contract, tmp_path / 'other')
    plan = plan_start(TrainConfig('tiny', init=tmp_path / 'sees', unit_align=tmp_path / 'feels'))
    info = load_info(tmp_path / 'feels')
    taken = {
        name: leaf
        for name, leaf in load_params(tmp_path / 'feels', info.config).items()
        if name.startswith('tactile/')
    }
    assert plan.config.tactile == info.config.tactile
    assert set(plan.encoder) == set(taken)
    for name, leaf in plan.encoder.items():
        np.testing.assert_array_equal(leaf, taken[name], err_msg=name)
    uncoded = replace(info, config=replace(info.config, tactile=replace(info.config.tactile, kind=UNCODED)))
    save_checkpoint(tmp_path / 'ablation', load_params(tmp_path / 'feels', info.config), uncoded)
    plan = plan_start(TrainConfig('tiny', unit_align=tmp_path / 'ablation'))
    assert plan.config.tactile == info.config.tactile, 'leaving out the codes is the choice of a run'
    for path, found in (('sees', 'no tactile encoder'), ('other', "an encoder of kind 'cnn'")):
        with pytest.raises(
            CheckpointError, match=f'found a policy with {found}, expected one with a trained'
        ):
            plan_start(TrainConfig('tiny', unit_align=tmp_path / path))


def test_an_encoder_of_another_size_takes_the_place_of_the_policys(
    contract: Contract, tmp_path: Path
) -> None:
    tactile = PRESETS['tiny'].tactile
    assert tactile is not None
    quantizer = replace(tactile.quantizer, num_codes=2 * tactile.quantizer.num_codes)
    more = replace(PRESETS['tiny'], tactile=replace(tactile, quantizer=quantizer))
    init_checkpoint('tiny', contract, tmp_path / 'few', seed=5)
    init_checkpoint(more, contract, tmp_path / 'many', seed=6)
    run = TrainConfig('tiny', init=tmp_path / 'few', unit_align=tmp_path / 'many')
    plan = plan_start(run)
    found = read_weights(run, plan).params
    few, many = (load_params(tmp_path / name, load_info(tmp_path / name).config) for name in ('few', 'many'))
    assert set(found) == set(many)
    for name, leaf in found.items():
        wanted = many if name.startswith('tactile/') else few
        np.testing.assert_array_equal(leaf, wanted[name], err_msg=name)


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


def test_a_price_on_gates_that_are_always_open_is_refused(without_touch: Path) -> None:
    priced = plan_start(TrainConfig(FEELS, init=without_touch, use_sparse_loss=True))
    assert priced.config == replace(PRESETS[FEELS], use_sparse_loss=True)
    with pytest.raises(TrainingError, match=r"use-sparse-loss: found True, expected False, as gate = 'off'"):
        plan_start(TrainConfig(FEELS, init=without_touch, gate='off', use_sparse_loss=True))
    with pytest.raises(TrainingError, match=rf"use-sparse-loss: .* preset '{SEES}' is without touch"):
        plan_start(TrainConfig(SEES, use_sparse_loss=True))


def test_what_becomes_of_the_calibration_of_the_policy_to_start_from_is_said(
    without_touch: Path, contract: Contract, tmp_path: Path
) -> None:
    init_checkpoint(FEELS, contract, tmp_path / 'gated')
    info = load_info(tmp_path / 'gated')
    set_by = ContactCalibration(0.5, 0.1, 0.2, 0.8, 0.9, 700, 243, 0.99, 'tactile image', 1, 1.0, ('fresh',))
    before = GateCalibration(-9.4, 0.25, 943, '943 frames of fresh', set_by)
    params = load_params(tmp_path / 'gated', info.config)
    save_checkpoint(tmp_path / 'set', params, replace(info, calibration=before))
    plan = plan_start(TrainConfig(FEELS, init=tmp_path / 'set'))
    assert plan.calibration == before
    assert plan_start(TrainConfig(FEELS, init=without_touch)).calibration is None

    anew = calibration_note(before, GateCalibration(-9.1, 0.3, 256, '256 training frames'), 'set')
    assert anew.startswith(
        'gate: logvar is measured anew, -9.10 +- 0.30 over 256 training frames; set was calibrated with 943 '
        'frames of fresh (logvar -9.40 +- 0.25); its threshold'
    )
    assert anew.endswith('set them anew after it by `restac-ros calibrate`')
    along = calibration_note(replace(before, contact=None), None, 'set')
    assert along == (
        'gate: set was calibrated with 943 frames of fresh (logvar -9.40 +- 0.25), which no longer holds '
        'once the tactile encoder has trained along'
    )

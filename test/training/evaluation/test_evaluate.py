"""Whole evaluations of briefly trained policies: every part is there, equal seeds give equal figures."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from restac_ros.contract.load import dump_contract
from restac_ros.contract.schema import Contract
from restac_ros.model.checkpoint.errors import CheckpointError
from restac_ros.model.checkpoint.store import load_info, load_params, save_checkpoint
from restac_ros.policy.errors import PolicyError
from restac_ros.policy.init_checkpoint import init_checkpoint
from restac_ros.policy.normalization import NormStatsError
from restac_ros.training.data.episodes import open_episodes
from restac_ros.training.errors import TrainingError
from restac_ros.training.evaluation.bootstrap import Estimate
from restac_ros.training.evaluation.evaluate import evaluate
from restac_ros.training.evaluation.page import SECTIONS, write_evaluation
from restac_ros.training.evaluation.parity import check_equal, deployed_observation
from restac_ros.training.evaluation.report import EvaluationReport
from restac_ros.training.evaluation.settings import FLOW_STEPS, EvaluationConfig
from restac_ros.training.evaluation.subject import open_subjects, short_names
from restac_ros.training.touch_task import make_touch_task

SETTINGS = EvaluationConfig(frames=12, batch_size=6, time_bins=2)


@pytest.fixture(scope='module')
def check_data(tmp_path_factory: pytest.TempPathFactory, contract: Contract) -> Path:
    """Episodes that nothing was trained on."""
    root = tmp_path_factory.mktemp('check') / 'data'
    assert len(list(make_touch_task(root, contract, 2, seed=7))) == 2
    return root


@pytest.fixture(scope='session')
def with_touch(deployed: Path) -> Path:
    """The checkpoint of the short run."""
    return deployed


@pytest.fixture(scope='module')
def without_touch(contract: Contract, tmp_path_factory: pytest.TempPathFactory) -> Path:
    to = tmp_path_factory.mktemp('random') / 'no_touch'
    init_checkpoint('tiny_cnn_no_touch', contract, to)
    return to


@pytest.fixture(scope='module')
def report(with_touch: Path, without_touch: Path, check_data: Path) -> EvaluationReport:
    told: list[str] = []
    found = evaluate(
        [with_touch, without_touch], check_data, SETTINGS, lambda what, done, count: told.append(what)
    )
    assert any('frames' in what for what in told)
    return found


def test_every_part_is_measured_of_a_policy_with_touch(report: EvaluationReport) -> None:
    one = report.checkpoints[0]
    assert set(one.errors) >= {'all', 'free', 'contact'}
    assert all(np.isfinite(error.action).all() for error in one.errors.values())
    assert [figure.steps for figure in one.steps] == list(FLOW_STEPS)
    assert one.steps[0].change == pytest.approx((0, 0, 0))
    assert one.steps[-1].change.value > 0
    assert [part.time for part in one.flow] == [0.25, 0.75]
    assert set(one.inputs) == {'base_0_rgb', 'left_wrist_0_rgb', 'right_wrist_0_rgb', 'prompt'}
    assert one.touch is not None
    names = {'reference', 'shuffled', 'frozen', 'delayed', 'gate 0', 'gate 1'}
    assert set(one.touch.ablations) == names
    assert one.touch.ablations['gate 0']['contact'].change.value != (
        one.touch.ablations['gate 1']['contact'].change.value
    )
    assert one.touch.gate.auroc is not None
    assert 0 <= one.touch.gate.auroc.value <= 1


def test_a_policy_without_touch_gets_what_makes_sense(report: EvaluationReport) -> None:
    other = report.checkpoints[1]
    assert other.touch is None
    assert set(other.errors) == set(report.checkpoints[0].errors)
    assert json.loads(report.to_json())['checkpoints'][1]['touch'] == 'no touch'
    (comparison,) = report.comparisons
    assert set(comparison.change) == set(other.errors)


def test_training_and_deployment_were_compared_on_every_frame(report: EvaluationReport) -> None:
    for one in report.checkpoints:
        assert one.parity.frames == SETTINGS.frames
        assert {'state', 'tokenized_prompt', 'images/base_0_rgb'} <= set(one.parity.tensors)
        assert one.parity.chunks == 4
        assert one.parity.chunk_difference < 1e-3
    assert {'tactile', 'action_prev'} <= set(report.checkpoints[0].parity.tensors)


def test_the_page_has_every_section_and_needs_no_other_file(report: EvaluationReport, tmp_path: Path) -> None:
    page = write_evaluation(report, tmp_path / 'out')
    text = page.read_text(encoding='utf-8')
    assert '2 episodes that no checkpoint was trained on; frames:' in text
    assert report.describe()[0].endswith('data: 2 episodes that no checkpoint was trained on')
    assert replace(report, held_out=None).describe()[0].endswith('data: 2 episodes not known to be held out')
    for section in SECTIONS:
        assert f'<h2>{section}</h2>' in text
    assert 'An open-loop error is no rate of success.' in text
    assert text.count('data:image/png;base64,') >= 7
    for outside in ('http://', 'https://', 'src="/', '<script'):
        assert outside not in text
    stored = json.loads(page.with_suffix('.json').read_text(encoding='utf-8'))
    assert stored['checkpoints'][0]['errors']['contact']['action']['value'] > 0


def test_an_interval_that_is_unknown_is_said_to_be_so_everywhere(
    report: EvaluationReport, tmp_path: Path
) -> None:
    (comparison,) = report.comparisons
    unknown = {phase: Estimate(0.25, np.nan, np.nan) for phase in comparison.change}
    errors = report.checkpoints[0].errors
    alone = {phase: replace(error, action=Estimate(0.25, np.nan, np.nan)) for phase, error in errors.items()}
    own = replace(
        report,
        comparisons=[replace(comparison, change=unknown)],
        checkpoints=[replace(report.checkpoints[0], errors=alone), *report.checkpoints[1:]],
    )
    assert 'all +25.0% [unknown]' in own.describe()[-1]
    page = write_evaluation(own, tmp_path / 'out')
    text = page.read_text(encoding='utf-8')
    assert '+25% <span class="soft">[unknown]</span>' in text
    assert '0.25 <span class="soft">[unknown]</span>' in text
    assert '[nan' not in text
    stored = json.loads(page.with_suffix('.json').read_text(encoding='utf-8'))
    assert stored['comparisons'][0]['change']['all'] == {'value': 0.25, 'low': None, 'high': None}


def test_equal_seeds_give_equal_figures(report: EvaluationReport, with_touch: Path, check_data: Path) -> None:
    again = evaluate([with_touch], check_data, SETTINGS, lambda *_: None)
    assert again.checkpoints[0].errors == report.checkpoints[0].errors
    assert again.checkpoints[0].touch == report.checkpoints[0].touch


def test_a_tensor_that_differs_in_one_bit_is_named(with_touch: Path, check_data: Path) -> None:
    episodes = open_episodes(check_data)
    (subject,) = open_subjects([with_touch], episodes)
    sample = episodes.sample(0, 7, subject.config.action_horizon)
    task = subject.loader.prompting.task(sample.task)
    one, other = (deployed_observation(subject.loader, sample, task) for _ in range(2))
    assert 'tactile' in check_equal(one, other, 'here')
    state = one.state.copy()
    state[0, 2] = np.nextafter(state[0, 2], np.float32(np.inf))
    with pytest.raises(TrainingError, match=r'here: state: found .* at \(0, 2\) in deployment.*1 of 32'):
        check_equal(one._replace(state=state), other, 'here')
    swapped = one.images | {'base_0_rgb': one.images['right_wrist_0_rgb']}
    with pytest.raises(TrainingError, match=r'images/base_0_rgb: found'):
        check_equal(one._replace(images=swapped), other, 'here')


def test_frames_that_were_trained_on_are_not_evaluated(with_touch: Path, touch_data: Path) -> None:
    with pytest.raises(TrainingError, match=r'found \d episodes that no checkpoint was trained on, expected'):
        evaluate([with_touch], touch_data, SETTINGS, lambda *_: None, validation_share=0.9)


def test_a_checkpoint_without_statistics_is_refused(
    with_touch: Path, check_data: Path, tmp_path: Path
) -> None:
    info = load_info(with_touch)
    params = load_params(with_touch, info.config)
    save_checkpoint(tmp_path / 'bare', params, replace(info, norm_stats={}))
    with pytest.raises(NormStatsError, match=r'norm_stats: found'):
        evaluate([tmp_path / 'bare'], check_data, SETTINGS, lambda *_: None)


def test_a_contract_that_means_something_else_is_refused(
    with_touch: Path, contract_with: Callable[..., Contract], check_data: Path, tmp_path: Path
) -> None:
    info = load_info(with_touch)
    other = replace(info, contract_text=dump_contract(contract_with(fps=10)))
    save_checkpoint(tmp_path / 'other', load_params(with_touch, info.config), other)
    with pytest.raises(PolicyError, match=r'fps: found 15, expected 10'):
        evaluate([tmp_path / 'other'], check_data, SETTINGS, lambda *_: None)


def test_what_is_no_checkpoint_and_what_is_given_twice_is_refused(with_touch: Path, check_data: Path) -> None:
    with pytest.raises(CheckpointError):
        evaluate([check_data], check_data, SETTINGS, lambda *_: None)
    with pytest.raises(TrainingError, match='expected each once'):
        evaluate([with_touch, with_touch], check_data, SETTINGS, lambda *_: None)


def test_names_are_the_shortest_that_tell_checkpoints_apart() -> None:
    assert short_names([Path('/a/one/c-4'), Path('/a/two/c-4')]) == ['one/c-4', 'two/c-4']
    assert short_names([Path('/a/one/c-4')]) == ['c-4']

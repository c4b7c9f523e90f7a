"""Which episodes are evaluated: none that a checkpoint was trained on, by what the checkpoint records."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from restac_ros.contract.schema import Contract
from restac_ros.model.checkpoint.provenance import Origin
from restac_ros.model.checkpoint.store import TOKENIZER
from restac_ros.training.config import DataConfig, TrainConfig
from restac_ros.training.data.episodes import Episodes, open_episodes
from restac_ros.training.data.selection import is_held_out, selection_of
from restac_ros.training.deploy import write_checkpoint
from restac_ros.training.errors import TrainingError
from restac_ros.training.evaluation.evaluate import evaluated_episodes
from restac_ros.training.evaluation.subject import Subject, open_subjects
from restac_ros.training.prepare import Prepared, prepare
from restac_ros.training.touch_task import make_touch_task

SHARE = 0.1  # that `evaluate` assumes


@pytest.fixture
def trained(prepared: Prepared, tmp_path: Path) -> Callable[..., Path]:
    """trained('name', episodes=(0, 2)) -> a checkpoint that records these of the touch data, or all."""

    def make(name: str, **choice: object) -> Path:
        (source, *_), train = prepared.sources, replace(prepared.train, to=tmp_path / name)
        data = DataConfig(validation_share=0.0, **choice)
        selections = [selection_of(source.episodes, prepared.config.action_horizon, data)]
        run = replace(prepared, train=train, sources=[source], selections=selections)
        return write_checkpoint(run, run.trained, 0)

    return make


def evaluated(
    path: Path, episodes: Episodes, *, share: float = SHARE, old: bool = False
) -> tuple[list[int], bool | None]:
    """What is evaluated of all episodes; `old`: as if the checkpoint recorded no episodes."""
    (subject,) = open_subjects([path], episodes)
    return evaluated_episodes(episodes, [recording_none(subject) if old else subject], (), share)


def recording_none(subject: Subject) -> Subject:
    origin = replace(subject.info.origin, episodes=(), all_episodes=False)
    return replace(subject, info=replace(subject.info, origin=origin))


def held_out(episodes: Episodes, share: float) -> list[int]:
    return [n for n in episodes.tables.spans if is_held_out(episodes.episode_key(n), share)]


def test_where_nothing_was_held_out_nothing_is_evaluated(
    trained: Callable[..., Path], episodes: Episodes
) -> None:
    path = trained('all')
    with pytest.raises(TrainingError, match=r'found 0 episodes that no checkpoint was trained on') as caught:
        evaluated(path, episodes, share=0.9)
    assert '--validation-share' not in str(caught.value)
    (subject,) = open_subjects([path], episodes)
    assert evaluated_episodes(episodes, [subject], (0, 1), SHARE) == ([0, 1], False), 'named, but learnt'


def test_one_more_episode_leaves_the_others_trained_on(
    trained: Callable[..., Path], touch_data: Path, contract: Contract, tmp_path: Path
) -> None:
    path = trained('some', episodes=(0, 1, 2))
    grown = tmp_path / 'grown'
    shutil.copytree(touch_data, grown)
    assert list(make_touch_task(grown, contract, 1)) == [4]
    assert evaluated(path, open_episodes(grown)) == ([3, 4], True)


@pytest.mark.parametrize('part', ['', 'params'])
def test_what_the_first_of_two_trainings_learnt_is_known_to_the_second(
    trained: Callable[..., Path],
    run_of: Callable[..., TrainConfig],
    episodes: Episodes,
    second_data: Path,
    part: str,
) -> None:
    first = trained('first', episodes=(0, 2))
    changes = {'init': first / part, 'tokenizer': first / TOKENIZER, 'validation_share': 0.0}
    run = prepare(run_of(datasets=(second_data,), **changes))
    after = write_checkpoint(run, run.trained, 0)
    assert evaluated(after, episodes) == ([1, 3], True)
    second = open_episodes(second_data)
    (subject,) = open_subjects([after], second)
    assert subject.info.origin.data == (episodes.identity, second.identity)
    assert all(subject.learnt(second, number, SHARE) for number in second.tables.spans)


def test_of_a_checkpoint_that_records_no_episodes_the_share_decides_and_nothing_is_promised(
    trained: Callable[..., Path], episodes: Episodes, second_data: Path
) -> None:
    path, share = trained('old'), 0.7
    assert len(wanted := held_out(episodes, share)) > 1
    assert evaluated(path, episodes, share=share, old=True) == (wanted, None)
    second = open_episodes(second_data)
    assert evaluated(path, second, old=True) == ([0, 1, 2], None)
    with pytest.raises(TrainingError, match=r'give the --validation-share that .* had in training'):
        evaluated(path, episodes, share=0.0, old=True)


def test_a_manifest_of_before_promises_nothing_unless_it_names_no_data() -> None:
    assert not Origin.from_stored({'made_by': 'train cell', 'data': ['data 5241']}, 'here').knows_episodes
    assert Origin.from_stored({'made_by': 'init-checkpoint'}, 'here').knows_episodes

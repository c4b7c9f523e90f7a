"""Which frames are trained on: by verdict, hold-out, motion and list."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from restac_ros.training.config import DataConfig
from restac_ros.training.data.episodes import Episodes, open_episodes
from restac_ros.training.data.selection import selection_of
from restac_ros.training.errors import TrainingError

HORIZON = 16
ALL = DataConfig(validation_share=0.0)
HALF = DataConfig(validation_share=0.5)


def test_no_episode_is_both_trained_on_and_held_out(episodes: Episodes) -> None:
    selection = selection_of(episodes, HORIZON, HALF)
    assert not set(selection.trained[:, 0]) & set(selection.validated[:, 0])
    assert len(selection.trained) + len(selection.validated) == len(episodes.state)
    assert set(selection.trained_episodes) == set(selection.trained[:, 0].tolist())


def test_an_episode_stays_on_its_side_when_others_are_added(episodes: Episodes) -> None:
    whole = selection_of(episodes, HORIZON, HALF)
    fewer = selection_of(episodes, HORIZON, replace(HALF, episodes=(0, 1, 2)))
    kept = {episode for episode in whole.trained_episodes if episode < 3}
    assert kept == set(fewer.trained_episodes)


@pytest.fixture
def assessed(touch_data: Path, tmp_path: Path) -> Callable[..., Episodes]:
    """assessed('good', 'bad', ...) -> the touch data with these verdicts in its quality report."""

    def make(*verdicts: str) -> Episodes:
        root = tmp_path / 'assessed'
        shutil.copytree(touch_data, root, ignore=shutil.ignore_patterns('videos'))
        episodes = [{'verdict': verdict, 'findings': []} for verdict in verdicts]
        report = {'verdict': 'bad', 'episodes': episodes, 'findings': []}
        (root / 'meta' / 'restac_ros' / 'quality.json').write_text(json.dumps(report))
        return open_episodes(root)

    return make


def test_episodes_are_left_out_by_the_verdict_of_the_quality_report(
    assessed: Callable[..., Episodes],
) -> None:
    episodes = assessed('good', 'bad', 'usable', 'good')
    assert selection_of(episodes, HORIZON, ALL).trained_episodes == (0, 1, 2, 3)
    usable = selection_of(episodes, HORIZON, replace(ALL, verdict='usable'))
    assert (usable.trained_episodes, usable.refused) == ((0, 2, 3), (1,))
    assert '1 episodes left out by verdict: [1]' in str(usable)
    assert selection_of(episodes, HORIZON, replace(ALL, verdict='good')).trained_episodes == (0, 3)


def test_verdicts_on_fewer_episodes_than_there_are_are_refused(assessed: Callable[..., Episodes]) -> None:
    with pytest.raises(
        TrainingError, match=r'found verdicts on 2 episodes, expected 4: run `restac-ros quality'
    ):
        selection_of(assessed('good', 'good'), HORIZON, replace(ALL, verdict='usable'))


def test_idle_frames_are_left_out_and_their_share_is_told(numbers_with: Callable[..., Path]) -> None:
    """Episode 2 rests from frame 10 on: a chunk that begins before it still moves."""
    rested: dict[int, np.ndarray] = {}

    def rest(values: np.ndarray, episode: int) -> np.ndarray:
        if episode == 2:
            values[10:] = values[10]
            rested[episode] = values
        return values

    at_rest = open_episodes(numbers_with('observation.state', rest))
    span = at_rest.tables.spans[2]
    at_rest.actions[span.first + 9 : span.first + span.length] = rested[2][10]
    selection = selection_of(at_rest, HORIZON, replace(ALL, skip_idle=True))
    left_out = sorted(set(range(span.length)) - {f for e, f in selection.trained.tolist() if e == 2})
    assert left_out == list(range(10, span.length))
    assert selection.idle >= len(left_out) / len(at_rest.state)
    assert f'{selection.idle:.1%} of frames idle' in str(selection)
    assert 2 in selection.trained_episodes


def test_statistics_do_not_depend_on_idle_frames(episodes: Episodes) -> None:
    moving = selection_of(episodes, HORIZON, replace(ALL, skip_idle=True))
    assert moving.trained_episodes == selection_of(episodes, HORIZON, ALL).trained_episodes

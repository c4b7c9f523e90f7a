"""Data of `make-touch-task`: one series for a seed, however made; touch alone shows where the finger goes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from restac_ros.contract.schema import Contract
from restac_ros.dataset.repair.deletion import delete_episodes
from restac_ros.training.data.episodes import open_episodes
from restac_ros.training.errors import TrainingError
from restac_ros.training.touch_task import ASIDE_M, PRESS, TOUCHES, TURN_RAD, episode, make_touch_task


def keys(root: Path) -> list[str]:
    episodes = open_episodes(root)
    return [episodes.episode_key(index) for index in episodes.tables.spans]


def test_episodes_that_are_appended_are_the_next_of_the_series(contract: Contract, tmp_path: Path) -> None:
    at_once, appended = tmp_path / 'at_once', tmp_path / 'appended'
    assert list(make_touch_task(at_once, contract, 3)) == [0, 1, 2]
    assert list(make_touch_task(appended, contract, 2)) == [0, 1]
    delete_episodes(appended, [0])
    assert list(make_touch_task(appended, contract, 1)) == [2]
    assert keys(appended) == keys(at_once)[1:]
    assert len(set(keys(at_once))) == 3


def test_a_contract_without_a_tactile_stream_is_refused(
    contract_with: Callable[..., Contract], tmp_path: Path
) -> None:
    whole = contract_with()
    streams = {name: stream for name, stream in whole.streams.items() if stream.role != 'tactile'}
    without = whole.model_copy(update={'streams': streams})
    with pytest.raises(TrainingError, match=r'found 0 tactile streams, expected one.*--contract'):
        list(make_touch_task(tmp_path / 'data', without, 1))
    assert not list(tmp_path.iterdir())


def test_the_edge_shows_where_the_finger_goes_and_nothing_else_does() -> None:
    """In contact neither pose nor last motion goes with the edge; the pose a few frames later does."""
    edges, known, gone = [], [], []
    for number in range(200):
        frames = episode(np.random.default_rng(number))
        poses = np.array([frame.state for frame in frames])
        for index in np.flatnonzero([frame.edge is not None for frame in frames]):
            edges.append(frames[index].edge)
            known.append(np.concatenate([poses[index], poses[index] - poses[index - 1]]))
            way = poses[index : index + 9, [1, 5]] - poses[index, [1, 5]]
            gone.append(way[np.abs(way[:, 0]).argmax()])
    assert len(edges) == 200 * TOUCHES * PRESS
    correlation = [abs(np.corrcoef(edges, column)[0, 1]) for column in np.array(known).T]
    assert max(correlation) < 0.1
    np.testing.assert_allclose(gone, np.outer(edges, [ASIDE_M, TURN_RAD]), atol=1e-6)

"""Data of `make-touch-task`: one series of episodes for a seed, however they are made."""

from pathlib import Path

from restac_ros.contract.schema import Contract
from restac_ros.dataset.repair.deletion import delete_episodes
from restac_ros.training.data.episodes import open_episodes
from restac_ros.training.touch_task import make_touch_task


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

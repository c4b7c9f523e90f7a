"""The subtask of every sample, as LeRobot's column states it."""

from pathlib import Path

import numpy as np
import pytest

from restac_ros.contract.schema import Contract
from restac_ros.dataset.language import EpisodeWords
from restac_ros.dataset.lerobot_access import open_dataset, private_cache
from restac_ros.training.data.episodes import Episodes, open_episodes
from worded import active, texts, write_episode


@pytest.fixture(scope='module')
def worded(tmp_path_factory: pytest.TempPathFactory, contract: Contract) -> Path:
    root = tmp_path_factory.mktemp('worded') / 'data'
    with private_cache():
        write_episode(root, contract, None)
        subtasks = texts((0.0, 'reach'), (3.1 / contract.fps, 'insert'), (6 / contract.fps, 'reach'))
        write_episode(root, contract, EpisodeWords(subtasks))
        write_episode(root, contract, EpisodeWords(texts((2 / contract.fps, 'lift'))))
    return root


@pytest.fixture(scope='module')
def episodes(worded: Path) -> Episodes:
    return open_episodes(worded)


def test_every_sample_has_the_subtask_that_holds_at_its_frame(worded: Path, episodes: Episodes) -> None:
    with private_cache():
        dataset = open_dataset(worded)
        for episode, span in episodes.tables.spans.items():
            for frame in range(span.length):
                sample, item = episodes.sample(episode, frame, 4), dataset[span.first + frame]
                assert sample.subtask == active(item['language_persistent'], float(item['timestamp']))
                assert sample.task == 'tidy the table'
    assert episodes.tables.subtasks == ('reach', 'insert', 'lift')
    assert [episodes.sample(2, frame, 4).subtask for frame in (0, 1, 2)] == [None, None, 'lift']


def test_the_fingerprint_knows_the_subtasks(tmp_path: Path, contract: Contract) -> None:
    prints = set()
    for name, words in {'none': None, 'reach': 'reach', 'lift': 'lift'}.items():
        with private_cache():
            write_episode(tmp_path / name, contract, words and EpisodeWords(texts((0.0, words))))
        opened = open_episodes(tmp_path / name)
        prints.add(opened.fingerprint)
        np.testing.assert_array_equal(opened.state[:, 1], 0)
    assert len(prints) == 3

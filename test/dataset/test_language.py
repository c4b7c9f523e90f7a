"""Words of an episode in LeRobot's columns: written, read by LeRobot, and carried through every change."""

from pathlib import Path

import pytest
from lerobot.datasets.language_render import active_at

from restac_ros.contract.schema import Contract
from restac_ros.dataset.dataset_files import LANGUAGE, read_info
from restac_ros.dataset.errors import DatasetError
from restac_ros.dataset.export_v21 import export_v21
from restac_ros.dataset.joining import join_datasets
from restac_ros.dataset.language import NO_WORDS, EpisodeWords, checked_text
from restac_ros.dataset.lerobot_access import open_dataset
from restac_ros.dataset.repair.deletion import delete_episodes
from restac_ros.dataset.repair.examination import examine_dataset
from worded import active, texts, write_episode

pytestmark = pytest.mark.usefixtures('no_copies_in_the_users_cache')

WORDS = EpisodeWords(
    subtasks=texts((0.0, 'reach_the plug'), (0.52, 'insert the plug')),
    to_come=('switch it on',),
    remarks=texts((0.3, 'slower, please')),
)
PLAN = '1. reach_the plug\n2. insert the plug\n3. switch it on'


@pytest.fixture(scope='module')
def worded(tmp_path_factory: pytest.TempPathFactory, contract: Contract) -> Path:
    """Three episodes: without words, with them, and without, which made the data set get the columns."""
    root = tmp_path_factory.mktemp('worded') / 'data'
    for words in (None, WORDS, None):
        write_episode(root, contract, words)
    return root


def test_lerobot_reads_which_text_holds_at_every_frame(worded: Path) -> None:
    dataset = open_dataset(worded)
    for row in range(10, 20):
        item, time_s = dataset[row], (row - 10) / 10
        said = item['language_persistent']
        subtask = active_at(float(item['timestamp']), persistent=said, style='subtask')
        plan = active_at(float(item['timestamp']), persistent=said, style='plan')
        expected = 'insert the plug' if time_s >= 0.5 else 'reach_the plug'
        assert subtask['content'] == expected == active(said, time_s)
        assert plan['content'] == (PLAN if time_s < 0.5 else '1. insert the plug\n2. switch it on')
        events = [(each['role'], each['style'], each['content']) for each in item['language_events']]
        assert events == ([('user', 'interjection', 'slower, please')] if row == 13 else [])
        assert {each['camera'] for each in said} == {None}


def test_episodes_without_words_have_empty_columns(worded: Path) -> None:
    dataset = open_dataset(worded)
    for row in (0, 9, 20, 29):
        assert dataset[row]['language_persistent'] == dataset[row]['language_events'] == []
    assert dataset.meta.has_language_columns
    assert examine_dataset(worded).is_fine


def test_a_data_set_without_words_stays_as_it_was(tmp_path: Path, contract: Contract) -> None:
    write_episode(tmp_path / 'data', contract, NO_WORDS)
    assert not set(LANGUAGE) & set(read_info(tmp_path / 'data')['features'])


def test_merging_gives_both_kinds_of_episodes_the_columns(
    worded: Path, tmp_path: Path, contract: Contract
) -> None:
    write_episode(tmp_path / 'bare', contract, None, task='wipe')
    for name, sources in {'one': [tmp_path / 'bare', worded], 'other': [worded, tmp_path / 'bare']}.items():
        assert join_datasets(sources, tmp_path / name) == 4
        assert examine_dataset(tmp_path / name).is_fine
        dataset = open_dataset(tmp_path / name)
        first = 20 if name == 'one' else 10
        assert active(dataset[first]['language_persistent'], 0.6) == 'insert the plug'
        assert dataset[0]['language_persistent'] == dataset[39]['language_events'] == []


def test_deleting_an_episode_keeps_the_words_of_the_others(worded: Path, tmp_path: Path) -> None:
    join_datasets([worded], tmp_path / 'data')
    delete_episodes(tmp_path / 'data', [0])
    dataset = open_dataset(tmp_path / 'data')
    assert active(dataset[0]['language_persistent'], 0.0) == 'reach_the plug'
    assert dataset[10]['language_persistent'] == []


def test_version_21_which_has_no_such_columns_is_exported_without(worded: Path, tmp_path: Path) -> None:
    export_v21(worded, tmp_path / 'old')
    assert not set(LANGUAGE) & set(read_info(tmp_path / 'old')['features'])


@pytest.mark.parametrize(
    ('words', 'fault'),
    [
        (
            EpisodeWords(texts((1.5, 'reach'))),
            r"episode 0: 'reach': found 1.5 s, expected a time",
        ),
        (EpisodeWords(texts((-0.3, 'reach'))), r"'reach': found -0.3 s, expected"),
        (EpisodeWords(texts((0.0, 'reach'), (0.04, 'lift'))), 'two begin at one frame'),
        (EpisodeWords(texts((0.0, ' _ '))), 'subtask: found an empty text'),
        (EpisodeWords(remarks=texts((0.0, ''))), 'interjection: found an empty text'),
    ],
)
def test_words_that_do_not_fit_the_episode_are_refused_and_nothing_is_written(
    words: EpisodeWords, fault: str, tmp_path: Path, contract: Contract
) -> None:
    with pytest.raises(DatasetError, match=fault):
        write_episode(tmp_path / 'data', contract, words)
    assert not (tmp_path / 'data').exists()


def test_line_feeds_real_or_escaped_twice_never_enter_a_text() -> None:
    assert checked_text('task', ' pick up\nthe \\n plug\t') == 'pick up the plug'
    with pytest.raises(DatasetError, match=r'task: found 3, expected a text'):
        checked_text('task', 3)
    with pytest.raises(DatasetError, match='found 1001 characters, expected at most 1000'):
        checked_text('task', 'x' * 1001)

"""Descriptions of episodes are read with fewer columns, and are what LeRobot's own reading gives."""

from collections.abc import Callable
from pathlib import Path

import pytest
from lerobot.datasets import dataset_metadata

from restac_ros.contract.schema import Contract
from restac_ros.dataset.convert import convert_episode
from restac_ros.dataset.errors import DatasetError
from restac_ros.dataset.lerobot_access import open_dataset, private_cache, quick_opening


@pytest.fixture(scope='module')
def dataset(
    make_recording: Callable,
    contract: Contract,
    write_bag: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    folder = tmp_path_factory.mktemp('opened')
    bag = write_bag(folder / 'bag', make_recording(contract, 0.6))
    for task in ('press', 'turn'):
        convert_episode(bag, contract, folder / 'set', task)
    return folder / 'set'


def test_the_descriptions_are_those_that_lerobot_reads(dataset: Path) -> None:
    usual = dataset_metadata.load_episodes
    with private_cache():
        expected = usual(dataset)
        with quick_opening():
            found = dataset_metadata.load_episodes(dataset)
        assert dataset_metadata.load_episodes is usual
        assert found.features == expected.features
        assert list(found) == list(expected)


def test_a_data_set_without_descriptions_is_refused_as_before(dataset: Path, tmp_path: Path) -> None:
    for part in ('meta/info.json', 'meta/tasks.parquet', 'meta/stats.json'):
        (tmp_path / part).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / part).write_bytes((dataset / part).read_bytes())
    with private_cache(), pytest.raises(DatasetError, match='cannot be read by LeRobot'):
        open_dataset(tmp_path)

"""Many episodes per file: rows and images stay the same to the bit, for LeRobot and for our own readers."""

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from restac_ros.commands.editing import Compact
from restac_ros.contract.schema import Contract
from restac_ros.dataset import compaction
from restac_ros.dataset.compaction import compact_dataset
from restac_ros.dataset.convert import convert_episode
from restac_ros.dataset.dataset_files import read_info, video_keys
from restac_ros.dataset.episode_frames import episode_frames
from restac_ros.dataset.errors import DatasetError
from restac_ros.dataset.lerobot_access import open_dataset
from restac_ros.dataset.repair.examination import examine_dataset
from restac_ros.dataset.transaction import directory_state, shards_lock
from restac_ros.dataset.video.video_cut import VideoPart, join_videos
from restac_ros.training.data.episodes import open_episodes

pytestmark = pytest.mark.usefixtures('no_copies_in_the_users_cache')

TASKS = ('press', 'turn', 'press')


@pytest.fixture(scope='module')
def bags(
    make_recording: Callable,
    contract: Contract,
    write_bag: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> list[Path]:
    folder, messages = tmp_path_factory.mktemp('bags'), make_recording(contract, 1.2)
    return [write_bag(folder / f'bag{n}', messages[: len(messages) * (6 + n) // 9]) for n in range(4)]


@pytest.fixture(scope='module')
def made(bags: list[Path], contract: Contract, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of three episodes, as the converter leaves it."""
    root = tmp_path_factory.mktemp('made') / 'demos'
    for bag, task in zip(bags, TASKS, strict=False):
        convert_episode(bag, contract, root, task)
    return root


@pytest.fixture
def dataset(made: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(made, tmp_path / 'demos'))


def items(root: Path) -> list[dict]:
    """Everything that LeRobot reads."""
    return [dict(row) for row in open_dataset(root)]


def contents(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob('*') if path.is_file()
    }


def assert_same(found: list[dict], expected: list[dict]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for key, value in one.items():
            same = torch.equal(value, other[key]) if isinstance(value, torch.Tensor) else value == other[key]
            assert same, key


def test_all_rows_and_images_stay_the_same_to_the_bit(dataset: Path, made: Path) -> None:
    cameras = len(video_keys(read_info(made)))
    assert Compact(dataset).run() == 0
    assert len(list(dataset.glob('data/*/*'))) == len(list(dataset.glob('meta/episodes/*/*'))) == 1
    assert len(list(dataset.glob('videos/*/*/*'))) == cameras == 3
    assert len(list(made.glob('videos/*/*/*'))) == 9
    assert_same(items(dataset), items(made))
    for episode in range(len(TASKS)):
        for one, other in zip(episode_frames(dataset, episode), episode_frames(made, episode), strict=True):
            np.testing.assert_array_equal(one.state, other.state)
            for name, image in one.images.items():
                np.testing.assert_array_equal(image, other.images[name])
    [rows] = dataset.glob('data/*/*')
    assert pq.ParquetFile(rows).num_row_groups == len(TASKS), 'an episode can be read by itself'
    assert examine_dataset(dataset).is_fine
    unchanged = {'meta/info.json', 'meta/stats.json', 'meta/tasks.parquet', 'meta/restac_ros/contract.yaml'}
    before, after = contents(made), contents(dataset)
    assert {name for name in unchanged if before[name] != after[name]} == set()


def test_training_reads_the_same_pictures(dataset: Path, made: Path) -> None:
    compact_dataset(dataset)
    ours, theirs = open_episodes(dataset), open_episodes(made)
    for number, span in ours.tables.spans.items():
        other = theirs.tables.spans[number]
        for frame in (0, span.length - 1):
            for column in video_keys(read_info(made)):
                picture = ours.pictures.camera(column, span, frame)
                np.testing.assert_array_equal(picture, theirs.pictures.camera(column, other, frame))


def test_the_largest_size_of_a_file_is_kept(dataset: Path, made: Path) -> None:
    size_mb = max(path.stat().st_size for path in made.glob('data/*/*')) / 1e6
    compact_dataset(dataset, rows_mb=2.2 * size_mb, video_mb=1e-6)
    assert len(list(dataset.glob('data/*/*'))) == 2
    assert len(list(dataset.glob('videos/*/*/*'))) == 9
    assert_same(items(dataset), items(made))
    compact_dataset(dataset)
    assert_same(items(dataset), items(made))


def test_episodes_are_appended_to_compact_files_as_before(
    dataset: Path, bags: list[Path], contract: Contract, made: Path, tmp_path: Path
) -> None:
    compact_dataset(dataset)
    plain = Path(shutil.copytree(made, tmp_path / 'plain'))
    for root in (dataset, plain):
        convert_episode(bags[3], contract, root, 'wipe')
    assert_same(items(dataset), items(plain))
    assert examine_dataset(dataset).is_fine
    compact_dataset(dataset)
    assert_same(items(dataset), items(plain))
    assert len(list(dataset.glob('data/*/*'))) == 1


def test_compacting_again_gives_the_same_bytes(dataset: Path) -> None:
    compact_dataset(dataset)
    once, place = contents(dataset), directory_state(dataset)
    before, after = compact_dataset(dataset)
    assert before == after
    assert contents(dataset) == once
    assert directory_state(dataset) == place, 'it is not exchanged for a copy either'


def test_nothing_is_appended_while_it_is_planned(
    dataset: Path, bags: list[Path], contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(dataset)

    class LongPlan(compaction._Plan):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments)
            convert_episode(bags[3], contract, dataset, 'wipe')

    monkeypatch.setattr(compaction, '_Plan', LongPlan)
    with pytest.raises(DatasetError, match='demos is being written by process'):
        compact_dataset(dataset)
    assert contents(dataset) == before


def test_what_was_appended_until_the_lock_was_taken_is_compacted_too(
    dataset: Path, bags: list[Path], contract: Contract, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lock_late(root: Path) -> AbstractContextManager[None]:
        convert_episode(bags[3], contract, root, 'wipe')
        return shards_lock(root)

    monkeypatch.setattr(compaction, 'shards_lock', lock_late)
    compact_dataset(dataset)
    assert read_info(dataset)['total_episodes'] == 4
    assert_same(items(dataset)[: len(items(made))], items(made))
    assert examine_dataset(dataset).is_fine
    assert len(list(dataset.glob('data/*/*'))) == 1


def test_a_result_that_is_not_whole_does_not_take_the_place(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(dataset)
    monkeypatch.setattr(compaction, '_put_descriptions', lambda *_: None)
    with pytest.raises(DatasetError, match=r'demos could not be compacted, and is as it was: .*episode 0'):
        compact_dataset(dataset)
    assert contents(dataset) == before


@pytest.mark.parametrize('at', ['_put_rows', '_put_videos', '_put_descriptions'])
def test_an_interrupt_leaves_the_data_set_as_it_was(
    dataset: Path, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, work = contents(dataset), getattr(compaction, at)

    def interrupted(*arguments: object) -> None:
        work(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(compaction, at, interrupted)
    with pytest.raises(KeyboardInterrupt):
        compact_dataset(dataset)
    assert contents(dataset) == before
    monkeypatch.undo()
    assert compact_dataset(dataset).after == 5
    assert [path.name for path in dataset.parent.iterdir() if path.is_dir()] == ['demos']


def test_a_broken_data_set_is_refused(dataset: Path) -> None:
    next(dataset.glob('videos/*/*/*')).unlink()
    with pytest.raises(DatasetError, match=r'is broken\. First mend it: `restac-ros repair'):
        compact_dataset(dataset)


def test_videos_of_different_settings_are_not_joined(tmp_path: Path) -> None:
    paths = []
    for width in (64, 96):
        paths.append(tmp_path / f'{width}.mp4')
        with av.open(str(paths[-1]), 'w') as video:
            stream = video.add_stream('libx264', rate=10)
            stream.width, stream.height, stream.pix_fmt = width, 64, 'yuv420p'
            for _ in range(3):
                video.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, width, 3), np.uint8))))
            video.mux(stream.encode(None))
    with pytest.raises(DatasetError, match=r'96.mp4 is encoded in another way'):
        join_videos([VideoPart(path, 0.0, 0.3) for path in paths], tmp_path / 'joined.mp4', 10)

"""Repair: a data set of LeRobot's own is broken in every known way; whole episodes read back unchanged."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lerobot.configs import RGBEncoderConfig
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from restac_ros.commands.repairing import repair_dataset
from restac_ros.contract.schema import Contract
from restac_ros.dataset.bag.storage import BagMessage
from restac_ros.dataset.convert import convert_episode
from restac_ros.dataset.episode_notes import converted_recordings
from restac_ros.dataset.errors import DatasetError
from restac_ros.dataset.export_v21 import export_v21
from restac_ros.dataset.lerobot_access import open_dataset
from restac_ros.dataset.repair.examination import examine_dataset
from restac_ros.dataset.repair.repair import repair
from restac_ros.dataset.table_writing import with_column
from restac_ros.dataset.transaction import writing_lock

pytestmark = pytest.mark.usefixtures('no_copies_in_the_users_cache')

FPS = 10
CAMERA = 'observation.images.top'
LENGTHS = [6, 7, 8, 9]
FIRST = np.cumsum([0, *LENGTHS])
DATA = 'data/chunk-000/file-000.parquet'
EPISODES = 'meta/episodes/chunk-000/file-000.parquet'
VIDEO = f'videos/{CAMERA}/chunk-000/file-000.mp4'
NUMBERS = ('index', 'episode_index')


@pytest.fixture(scope='module')
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four episodes of two tasks as LeRobot records them: all in one Parquet file and one video."""
    av.logging.set_libav_level(av.logging.ERROR)
    root = tmp_path_factory.mktemp('intact') / 'demos'
    features = {
        CAMERA: {'dtype': 'video', 'shape': (64, 64, 3), 'names': ['height', 'width', 'channels']},
        'observation.state': {'dtype': 'float32', 'shape': (3,), 'names': None},
        'action': {'dtype': 'float32', 'shape': (2,), 'names': None},
    }
    encoder = RGBEncoderConfig(vcodec='h264', pix_fmt='yuv420p', g=2, crf=20, preset='ultrafast')
    made = LeRobotDataset.create(
        'local/demos', FPS, features, root=root, rgb_encoder=encoder, video_backend='pyav'
    )
    rng = np.random.default_rng(3)
    for number, length in enumerate(LENGTHS):
        for row in range(length):
            image = np.full((64, 64, 3), 40 * number + 4 * row, np.uint8)
            made.add_frame(
                {
                    CAMERA: image,
                    'observation.state': rng.random(3, np.float32),
                    'action': rng.random(2, np.float32),
                    'task': f'task {number % 2}',
                }
            )
        made.save_episode(parallel_encoding=False)
    made.finalize()
    return root


@pytest.fixture(scope='module')
def items(intact: Path) -> list[list[dict]]:
    return read(intact)


@pytest.fixture
def root(intact: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(intact, tmp_path / 'demos'))


def read(root: Path) -> list[list[dict]]:
    """All items by episode."""
    dataset = open_dataset(root)
    found: list[list[dict]] = [[] for _ in range(dataset.num_episodes)]
    for row in range(len(dataset)):
        item = dataset[row]
        assert item['index'] == row
        found[item['episode_index']].append(item)
    return found


def state_of(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob('*')) if p.is_file()}


def edit(root: Path, file: str, **columns: Callable[[np.ndarray], np.ndarray]) -> None:
    """Change columns of a Parquet file by a function of their values."""
    table = pq.read_table(root / file)
    for name, change in columns.items():
        name = name.replace('__', '/')
        table = with_column(table, name, list(change(np.array(table[name].to_pylist()))))
    pq.write_table(table, root / file)


def in_episode(number: int, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    def changed(values: np.ndarray) -> np.ndarray:
        values = values.copy()
        part = slice(FIRST[number], FIRST[number + 1])
        values[part] = change(values[part])
        return values

    return changed


def keep_rows(root: Path, file: str, wanted: Callable[[pa.Table], np.ndarray]) -> None:
    table = pq.read_table(root / file)
    pq.write_table(table.filter(pa.array(wanted(table))), root / file)


def edit_json(root: Path, file: str, **changes: object) -> None:
    path = root / file
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def index_gap(root: Path) -> None:
    """As after rows were lost: numbers jump, and the table of episodes follows them."""
    edit(root, DATA, index=lambda v: np.where(v >= FIRST[2], v + 5, v))
    edit(
        root,
        EPISODES,
        dataset_from_index=lambda v: np.where(v >= FIRST[2], v + 5, v),
        dataset_to_index=lambda v: np.where(v > FIRST[2], v + 5, v),
    )


def first_part_of_a_video(root: Path) -> None:
    """Cut off after two episodes; its index comes first, so that it can still be opened."""
    with av.open(str(root / VIDEO)) as video:
        sizes = [packet.size for packet in video.demux(video=0)]
    content = (root / VIDEO).read_bytes()
    (root / VIDEO).write_bytes(content[: content.index(b'mdat') + 4 + sum(sizes[: FIRST[2]]) + 2])


def damaged_extra_file(root: Path) -> None:
    """What LeRobot leaves when it is killed: Parquet without a footer."""
    (root / 'data/chunk-000/file-001.parquet').write_bytes((root / DATA).read_bytes()[:2000])


def statistics_of_other_rows(root: Path) -> None:
    stats = json.loads((root / 'meta/stats.json').read_text())
    stats['action']['mean'] = [0.0, 9.0]
    edit_json(root, 'meta/stats.json', **stats)


def temporary_files(root: Path) -> None:
    for folder in ('tmpab12cd34', '../.demos.staging', '../.demos.shards/shard-000000'):
        (root / folder).mkdir(parents=True)
        (root / folder / 'main_003.mp4').write_bytes(b'part')


def episode_without_length(root: Path) -> None:
    table = pq.read_table(root / EPISODES)
    pq.write_table(with_column(table, 'length', [6, 7, None, 9]), root / EPISODES)


def first_task_only(root: Path) -> None:
    pd.read_parquet(root / 'meta/tasks.parquet').iloc[:1].to_parquet(root / 'meta/tasks.parquet')


def one_task_of_three(root: Path) -> None:
    """The table keeps the first; the second is what episode 3 says; the third, nobody knows."""
    first_task_only(root)
    edit(root, DATA, task_index=in_episode(1, lambda v: v + 5 * (np.arange(7) > 3)))


MENDED: dict[str, tuple[Callable[[Path], object], str]] = {
    'totals': (
        lambda r: edit_json(r, 'meta/info.json', total_episodes=3, total_frames=21),
        'total_frames is 21, not 30',
    ),
    'stale statistics': (statistics_of_other_rows, 'stats.json is not that of the rows: action'),
    'no statistics': (lambda r: (r / 'meta/stats.json').unlink(), 'stats.json is missing'),
    'torn statistics': (
        lambda r: (r / 'meta/stats.json').write_text('{"action": {"me'),
        'stats.json is damaged',
    ),
    'no tasks': (lambda r: (r / 'meta/tasks.parquet').unlink(), 'tasks.parquet is missing'),
    'a task short': (first_task_only, 'lacks number 1, "task 1"'),
    'index gap': (index_gap, 'episode 2: index does not go on at 13'),
    'phantom episodes': (
        lambda r: edit_json(r, 'meta/info.json', total_episodes=8),
        'total_episodes is 8, not 4',
    ),
    'places': (
        lambda r: edit(r, EPISODES, dataset_from_index=lambda v: v + 1),
        'meta/episodes is wrong: dataset_from_index is not 0',
    ),
    'jitter': (
        lambda r: edit(r, DATA, timestamp=in_episode(1, lambda v: v + 0.02 * (np.arange(7) % 2))),
        'episode 1: timestamps are up to 0.0200 s off the grid',
    ),
    'late clock': (
        lambda r: edit(r, DATA, timestamp=in_episode(3, lambda v: v + 12.5)),
        'episode 3: timestamps are up to 12.5',
    ),
    'frame numbers': (
        lambda r: edit(r, DATA, frame_index=in_episode(2, lambda v: v + 1)),
        'episode 2: frame_index does not count',
    ),
    'killed writer': (damaged_extra_file, 'file-001.parquet is damaged: Parquet magic bytes not found'),
    'temporary files': (temporary_files, 'shards'),
}

LEFT_OUT: dict[str, tuple[Callable[[Path], object], list[int], str]] = {
    'NaN': (
        lambda r: edit(
            r, DATA, action=in_episode(1, lambda v: np.where(np.arange(14).reshape(7, 2) == 4, np.nan, v))
        ),
        [1],
        'action: NaN, infinite or empty in 1 of 7 rows',
    ),
    'false rate': (
        lambda r: edit(r, DATA, timestamp=in_episode(0, lambda v: v * 1.5)),
        [0],
        r'mean rate 6.67 Hz, label 10',
    ),
    'rows in the middle': (
        lambda r: keep_rows(r, DATA, lambda t: ~np.isin(t['index'].to_numpy(), [8, 9])),
        [1],
        'rows are missing',
    ),
    'last rows': (
        lambda r: keep_rows(r, DATA, lambda t: t['index'].to_numpy() < 28),
        [3],
        'it has 7 rows of 9',
    ),
    'all rows': (
        lambda r: keep_rows(r, DATA, lambda t: t['episode_index'].to_numpy() != 3),
        [3],
        'its rows are not in data/',
    ),
    'unknown episode': (
        lambda r: keep_rows(r, EPISODES, lambda t: t['episode_index'].to_numpy() != 2),
        [2],
        'meta/episodes does not know it',
    ),
    'incomplete about': (episode_without_length, [2], 'its row in meta/episodes is incomplete'),
    'cut video': (first_part_of_a_video, [2, 3], 'is cut off'),
    'frames of another': (
        lambda r: edit(
            r,
            EPISODES,
            **{
                f'videos__{CAMERA}__from_timestamp': lambda v: v - np.array([0, 0, 0.3, 0]),
                f'videos__{CAMERA}__to_timestamp': lambda v: v - np.array([0, 0, 0.3, 0]),
            },
        ),
        [1, 2],
        'holds another episode',
    ),
    'lost task': (one_task_of_three, [1], 'the text of its task 6 is lost'),
}


def assert_equal(found: list[list[dict]], expected: list[list[dict]]) -> None:
    assert [len(episode) for episode in found] == [len(episode) for episode in expected]
    for one, other in zip(found, expected, strict=True):
        for row, was in zip(one, other, strict=True):
            assert row.keys() == was.keys()
            for key in row.keys() - set(NUMBERS):
                assert row[key] == was[key] if key == 'task' else np.array_equal(row[key], was[key]), key


@pytest.mark.parametrize('fault', MENDED)
def test_what_can_be_put_right_loses_nothing(fault: str, root: Path, items: list[list[dict]]) -> None:
    break_it, said = MENDED[fault]
    break_it(root)
    before = state_of(root)
    damage = examine_dataset(root)
    lines = [*damage.faults, *map(str, damage.leftovers)]
    assert not damage.lost
    assert any(said in line for line in lines), lines
    assert state_of(root) == before, 'looking changes nothing'
    aside = repair(damage)
    assert_equal(read(root), items)
    assert examine_dataset(root).is_fine
    assert_nothing_is_gone(before, root, aside)
    assert (root / VIDEO).read_bytes() == before[VIDEO]


@pytest.mark.parametrize('fault', LEFT_OUT)
def test_broken_episodes_are_left_out_by_name(fault: str, root: Path, items: list[list[dict]]) -> None:
    break_it, numbers, reason = LEFT_OUT[fault]
    break_it(root)
    before = state_of(root)
    damage = examine_dataset(root)
    assert [lost.number for lost in damage.lost] == numbers
    assert all(any(reason in text for text in lost.reasons) for lost in damage.lost), damage.lost
    aside = repair(damage)
    assert_equal(read(root), [episode for number, episode in enumerate(items) if number not in numbers])
    assert examine_dataset(root).is_fine
    assert_nothing_is_gone(before, root, aside)
    assert damage.cut_videos == ([Path(VIDEO)] if fault == 'cut video' else [])
    assert fault == 'cut video' or (root / VIDEO).read_bytes() == before[VIDEO], 'no frame is encoded anew'


def assert_nothing_is_gone(before: dict[str, bytes], root: Path, aside: Path) -> None:
    """Every file is where it was or, as it was, in the folder beside."""
    now, kept = state_of(root), state_of(aside)
    for name, content in before.items():
        assert content in (now.get(name), kept.get(name)), name
    assert not list(root.parent.glob('.demos.staging')) + list(root.parent.glob('.demos.shards'))
    assert json.loads(kept['report.json'])['dataset'] == str(root)


def test_whole_data_sets_are_not_touched(root: Path, capsys: pytest.CaptureFixture) -> None:
    before = state_of(root)
    assert repair_dataset(root, agreed=True) == 0
    assert 'nothing is broken (4 episodes)' in capsys.readouterr().out
    assert state_of(root) == before
    assert [path.name for path in root.parent.iterdir()] == ['demos']


def test_statistics_are_those_of_the_episodes_that_stay(root: Path, items: list[list[dict]]) -> None:
    break_it, _, _ = LEFT_OUT['NaN']
    break_it(root)
    repair(examine_dataset(root))
    stats = open_dataset(root).meta.stats
    for key in ('action', 'observation.state'):
        rows = np.stack([item[key] for number in (0, 2, 3) for item in items[number]])
        np.testing.assert_allclose(stats[key]['mean'], rows.mean(axis=0), rtol=1e-5)
        np.testing.assert_allclose(stats[key]['max'], rows.max(axis=0))
    pictures = np.stack([item[CAMERA] for number in (0, 2, 3) for item in items[number]])
    np.testing.assert_allclose(stats[CAMERA]['mean'].ravel(), pictures.mean(axis=(0, 2, 3)), atol=0.01)


def test_the_command_asks_first_and_says_what_it_did(root: Path, capsys: pytest.CaptureFixture) -> None:
    LEFT_OUT['NaN'][0](root)
    before = state_of(root)
    assert repair_dataset(root, agreed=False) == 1
    said = capsys.readouterr().out
    assert 'would be left out: episode 1 "task 1"' in said
    assert not [line for line in said.splitlines() if line.startswith(('mended', 'left out', 'moved'))]
    assert 'with --yes' in said
    assert state_of(root) == before
    assert repair_dataset(root, agreed=True) == 0
    assert 'demos.repair-1, with a report.json' in capsys.readouterr().out
    assert repair_dataset(root, agreed=False) == 0


def test_refusals_change_nothing(root: Path) -> None:
    whole = (root / VIDEO).read_bytes()
    (root / VIDEO).write_bytes(whole[:100])
    before = state_of(root)
    damage = examine_dataset(root)
    assert all('cannot be opened' in lost.reasons[0] for lost in damage.lost)
    with pytest.raises(DatasetError, match='no episode is whole'):
        repair(damage)
    (root / VIDEO).write_bytes(whole)
    with writing_lock(root), pytest.raises(DatasetError, match='being written by process'):
        examine_dataset(root)
    edit_json(root, 'meta/info.json', codebase_version='v2.1')
    with pytest.raises(DatasetError, match=r'format v2\.1'):
        examine_dataset(root)
    (root / 'meta/info.json').unlink()
    with pytest.raises(DatasetError, match='cannot be read'):
        examine_dataset(root)
    (root / 'meta/info.json').write_bytes(before['meta/info.json'])
    (root / VIDEO).write_bytes(before[VIDEO])
    assert state_of(root) == before
    assert sorted(path.name for path in root.parent.iterdir()) == ['.demos.lock', 'demos']


def lerobots_own(root: Path, columns: np.ndarray, episodes: int) -> Path:
    """A data set of numbers alone, all of it written by LeRobot."""
    state = {'dtype': 'float32', 'shape': columns.shape[1:], 'names': None}
    made = LeRobotDataset.create('local/numbers', 15, {'observation.state': state}, root=root)
    for _ in range(episodes):
        for row in columns:
            made.add_frame({'observation.state': row, 'task': 't'})
        made.save_episode()
    made.finalize()
    return root


@pytest.mark.parametrize(
    ('value', 'motion', 'rows', 'episodes'),
    [
        (152.5219, 0.04, 1500, 3),  # a raw encoder
        (0.04, 0.0, 1830, 1),  # fingers held for two minutes
        (0.08, 0.0, 4500, 2),
        (3.1415, 1e-4, 2500, 1),  # the roll of a tool that points down
        (-1e6, 1.0, 3000, 1),
    ],
)
def test_means_that_lerobot_took_in_float32_are_not_broken(
    tmp_path: Path, value: float, motion: float, rows: int, episodes: int
) -> None:
    steps = np.arange(rows)
    columns = np.stack([value + motion * (steps % 100 == 7), steps / rows], axis=1).astype(np.float32)
    root = lerobots_own(tmp_path / 'numbers', columns, episodes)
    assert examine_dataset(root).faults == []
    stats = json.loads((root / 'meta/stats.json').read_text())
    stats['observation.state']['mean'][0] += 0.05 * max(abs(value), 1)
    edit_json(root, 'meta/stats.json', **stats)
    damage = examine_dataset(root)
    assert 'stats.json is not that of the rows: observation.state' in damage.faults[0], 'a wrong one is found'
    repair(damage)
    assert examine_dataset(root).is_fine


def test_an_absent_video_is_called_missing_before_its_frames_are_counted(
    root: Path, capsys: pytest.CaptureFixture
) -> None:
    edit(root, EPISODES, **{f'videos__{CAMERA}__to_timestamp': lambda v: v - 0.1})  # as some do
    (root / VIDEO).unlink()
    before = state_of(root)
    damage = examine_dataset(root)
    assert [lost.reasons for lost in damage.lost] == [[f'{VIDEO} is missing']] * 4
    for agreed in (False, True):
        assert repair_dataset(root, agreed=agreed) == 1
        said = capsys.readouterr().out
        assert 'video files missing: 1. Bring them first' in said
        assert 'No episode is whole, so nothing can be mended' in said
        assert '--yes' not in said
        assert 'moved aside' not in said
    assert state_of(root) == before


def test_videos_in_another_folder_are_named_and_whole_once_they_are_back(root: Path) -> None:
    (root / 'videos').rename(root / 'video')
    elsewhere = VIDEO.replace('videos/', 'video/', 1)
    assert f'is missing; {elsewhere} is there: move it' in examine_dataset(root).lost[0].reasons[0]
    (root / 'video').rename(root / 'videos')
    assert examine_dataset(root).is_fine


@pytest.mark.parametrize('file', [VIDEO, DATA, 'meta/info.json'])
def test_pointers_of_git_lfs_are_called_so(root: Path, file: str) -> None:
    (root / file).write_bytes(b'version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n')
    remedy = 'is a Git LFS pointer, not the file itself: bring it with `git lfs pull`'
    if file.endswith('info.json'):
        with pytest.raises(DatasetError, match=remedy):
            examine_dataset(root)
        return
    damage = examine_dataset(root)
    assert remedy in str([*damage.faults, *damage.lost])
    with pytest.raises(DatasetError, match=remedy):
        export_v21(root, root.with_name('v21'))


def test_a_name_lost_in_an_interrupted_write_is_given_back(root: Path, capsys: pytest.CaptureFixture) -> None:
    root.rename(root.with_name('.demos.previous'))
    assert repair_dataset(root, agreed=True) == 0
    assert 'put back under its name' in capsys.readouterr().out
    assert examine_dataset(root).is_fine


def test_lost_episodes_of_ours_name_their_bag_and_come_back(
    tmp_path: Path,
    recording: list[BagMessage],
    contract: Contract,
    write_bag: Callable[..., Path],
    capsys: pytest.CaptureFixture,
) -> None:
    root, bags = tmp_path / 'ours', []
    for number, length_ns in enumerate((500_000_000, 600_000_000)):
        messages = [m for m in recording if m.log_time_ns < recording[0].log_time_ns + length_ns]
        bags.append(write_bag(tmp_path / f'bag{number}', messages))
        convert_episode(bags[-1], contract, root, f'task {number}')
    assert examine_dataset(root).is_fine
    items = read(root)
    info = json.loads((root / 'meta/info.json').read_text())
    (root / 'meta/info.json').write_text('{"codebase_ver')
    repair(examine_dataset(root))
    assert json.loads((root / 'meta/info.json').read_text()) == info, 'made anew from the contract'
    file = root / DATA
    file.write_bytes(file.read_bytes()[:-100])
    assert repair_dataset(root, agreed=True) == 0
    assert f"convert {bags[0]} --to {root} --task 'task 0'" in capsys.readouterr().out
    assert_equal(read(root), [items[1]])
    assert list(converted_recordings(root).values()) == [0]
    assert convert_episode(bags[0], contract, root, 'task 0').episode_index == 1
    assert_equal(read(root), [items[1], items[0]])
    assert examine_dataset(root).is_fine

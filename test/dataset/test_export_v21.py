"""Export to LeRobot v2.1: LeRobot's own converter makes of it what was exported, to the bit."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.scripts.convert_dataset_v21_to_v30 import convert_dataset

from restac_ros.commands.data import Export
from restac_ros.commands.info import print_info
from restac_ros.contract.schema import Contract
from restac_ros.dataset import dataset_place
from restac_ros.dataset import export_v21 as module
from restac_ros.dataset.bag.storage import BagMessage
from restac_ros.dataset.compaction import compact_dataset
from restac_ros.dataset.convert import convert_episode
from restac_ros.dataset.errors import DatasetError
from restac_ros.dataset.export_v21 import export_v21

pytestmark = pytest.mark.usefixtures('no_copies_in_the_users_cache')

START_NS = 1_760_000_000_000_000_000
GELSIGHT, MAIN = 'observation.images.gelsight_left_rgb', 'observation.images.main_realsense_rgb'
DELTAS = {'action': [0.0, 0.1, 0.2], MAIN: [-0.1, 0.0], GELSIGHT: [-0.1, 0.0]}


@pytest.fixture(scope='module')
def bag(
    tmp_path_factory: pytest.TempPathFactory, write_bag: Callable[..., Path], recording: list[BagMessage]
) -> Path:
    return write_bag(tmp_path_factory.mktemp('bag') / 'bag', recording)


@pytest.fixture(scope='module')
def source(tmp_path_factory: pytest.TempPathFactory, bag: Path, contract: Contract) -> Path:
    """A data set of two episodes and tasks."""
    root = tmp_path_factory.mktemp('source') / 'demos'
    convert_episode(bag, contract, root, 'press', end_ns=START_NS + 900_000_000)
    convert_episode(bag, contract, root, 'turn', start_ns=START_NS + 1_000_000_000)
    return root


@pytest.fixture(scope='module')
def exported(tmp_path_factory: pytest.TempPathFactory, source: Path) -> Path:
    target = tmp_path_factory.mktemp('exported') / 'demos21'
    assert export_v21(source, target) == 2
    return target


def opened(root: Path, **options: object) -> LeRobotDataset:
    return LeRobotDataset(f'local/{root.name}', root, video_backend='pyav', **options)


def assert_same_items(root: Path, other: Path, **options: object) -> None:
    ours, theirs = opened(root, **options), opened(other, **options)
    assert len(ours) == len(theirs)
    for row in range(len(ours)):
        one, two = ours[row], theirs[row]
        assert one.keys() == two.keys()
        for key, value in one.items():
            if key == 'task':
                assert value == two[key]
            else:
                np.testing.assert_array_equal(value.numpy(), two[key].numpy(), err_msg=f'{row} {key}')


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def state_of(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob('*')) if p.is_file()}


@pytest.fixture(scope='module')
def returned(tmp_path_factory: pytest.TempPathFactory, exported: Path) -> Path:
    """What LeRobot's converter makes of the export: all episodes in one table and one video per camera."""
    root = tmp_path_factory.mktemp('returned') / 'demos'
    shutil.copytree(exported, root)
    convert_dataset('local/demos', root=root, push_to_hub=False)
    return root


def test_lerobots_converter_leads_back_to_the_same_items(source: Path, returned: Path) -> None:
    """Tactile images, states and video frames alike, one by one and with delta_timestamps."""
    assert len(list(returned.glob('videos/*/*/*.mp4'))) == 3
    assert_same_items(source, returned)
    assert_same_items(source, returned, delta_timestamps=DELTAS)


def test_episodes_that_share_files_are_cut_out(source: Path, returned: Path, tmp_path: Path) -> None:
    shutil.copytree(source / 'meta' / 'restac_ros', returned / 'meta' / 'restac_ros', dirs_exist_ok=True)
    assert export_v21(returned, tmp_path / 'demos') == 2
    assert len(list(tmp_path.glob('demos/videos/*/*/episode_00000?.mp4'))) == 6
    convert_dataset('local/demos', root=tmp_path / 'demos', push_to_hub=False)
    assert_same_items(source, tmp_path / 'demos')


def test_the_layout_is_that_of_v21(source: Path, exported: Path) -> None:
    about = json.loads((exported / 'meta' / 'info.json').read_text())
    old = opened(source)
    assert about['codebase_version'] == 'v2.1'
    assert (about['total_episodes'], about['total_frames'], about['total_tasks']) == (2, len(old), 2)
    assert (about['total_chunks'], about['total_videos'], about['chunks_size']) == (1, 6, 1000)
    assert about['splits'] == {'train': '0:2'}
    assert about['features'][GELSIGHT]['dtype'] == 'image'
    assert about['features'][MAIN]['dtype'] == 'video'
    assert lines(exported / 'meta/tasks.jsonl') == [
        {'task_index': 0, 'task': 'press'},
        {'task_index': 1, 'task': 'turn'},
    ]
    for index, episode in enumerate(lines(exported / 'meta/episodes.jsonl')):
        assert episode == {
            'episode_index': index,
            'tasks': [('press', 'turn')[index]],
            'length': old.meta.episodes[index]['length'],
        }
        place = {'episode_chunk': 0, 'episode_index': index}
        assert pq.read_table(exported / about['data_path'].format(**place)).num_rows == episode['length']
        assert (exported / about['video_path'].format(**place, video_key=MAIN)).is_file()
    for index, line in enumerate(lines(exported / 'meta/episodes_stats.jsonl')):
        assert line['episode_index'] == index
        assert line['stats'].keys() == old.meta.stats.keys()
        assert set(line['stats']['action']) == {'min', 'max', 'mean', 'std', 'count'}
        assert np.shape(line['stats'][GELSIGHT]['mean']) == (3, 1, 1)
        actions = [row['action'].numpy() for row in old.hf_dataset if row['episode_index'] == index]
        np.testing.assert_allclose(line['stats']['action']['mean'], np.mean(actions, axis=0), atol=1e-6)


def test_tables_are_in_words_that_old_readers_know(exported: Path) -> None:
    """`datasets` before version 4 does not know the type List; all know Sequence."""
    [file, _] = sorted(exported.glob('data/*/*.parquet'))
    features = json.loads(pq.read_schema(file).metadata[b'huggingface'])['info']['features']
    assert features['action']['_type'] == 'Sequence'
    assert features[GELSIGHT] == {'_type': 'Image'}
    read = datasets.load_dataset('parquet', data_dir=str(exported / 'data'), split='train')
    assert read[0][GELSIGHT].size == (160, 128)
    assert len(read[0]['action']) == 7


def test_videos_are_shared_and_copied_to_another_disk(
    source: Path, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = next(exported.glob('videos/*/*/*.mp4'))
    assert video.stat().st_nlink > 1

    def refuse(*_: object) -> None:
        raise OSError(18, 'Invalid cross-device link')

    monkeypatch.setattr(dataset_place.os, 'link', refuse)
    export_v21(source, tmp_path / 'far')
    copied = tmp_path / 'far' / video.relative_to(exported)
    assert copied.stat().st_nlink == 1
    assert copied.read_bytes() == video.read_bytes()


def test_an_export_is_replaced_as_a_whole(
    source: Path,
    bag: Path,
    contract: Contract,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """By the command; one that stops in the middle changes nothing."""
    grown, target = tmp_path / 'demos', tmp_path / 'old'
    shutil.copytree(source, grown)
    assert Export(grown, target).run() == 0
    assert "repo_id 'old'" in capsys.readouterr().out
    before = state_of(target)
    convert_episode(bag, contract, grown, 'press', end_ns=START_NS + 500_000_000)
    with monkeypatch.context() as patch:
        patch.setattr(module, 'task_rows', lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            export_v21(grown, target)
    assert state_of(target) == before
    counted: list[tuple[int, int]] = []
    assert export_v21(grown, target, lambda *count: counted.append(count)) == 3
    assert counted == [(1, 3), (2, 3), (3, 3)]
    assert len(lines(target / 'meta/episodes.jsonl')) == 3
    assert sorted(p.name for p in tmp_path.iterdir() if not p.name.endswith('.lock')) == ['demos', 'old']


def test_a_data_set_may_be_appended_to_but_not_compacted_while_it_is_exported(
    source: Path, bag: Path, contract: Contract, tmp_path: Path
) -> None:
    busy, target = Path(shutil.copytree(source, tmp_path / 'demos')), tmp_path / 'old'

    def append(done: int, total: int) -> None:
        if done == total:
            convert_episode(bag, contract, busy, 'press', end_ns=START_NS + 500_000_000)

    assert export_v21(busy, target, append) == 2
    before = state_of(target)
    with pytest.raises(DatasetError, match=r'demos: episode \d was moved or changed while it was read'):
        export_v21(busy, target, lambda done, total: done == total and compact_dataset(busy))
    assert state_of(target) == before


def test_what_cannot_be_exported_is_refused(
    source: Path, exported: Path, bag: Path, contract: Contract, tmp_path: Path
) -> None:
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine' / 'diary.txt').write_text('mine')
    with pytest.raises(DatasetError, match='holds something else than an export'):
        export_v21(source, tmp_path / 'mine')
    shutil.copytree(source, tmp_path / 'other')
    with pytest.raises(DatasetError, match='holds an export of /'):
        export_v21(tmp_path / 'other', exported)
    with pytest.raises(DatasetError, match='overlap'):
        export_v21(source, source / 'old')
    with pytest.raises(DatasetError, match=r'is LeRobot v2\.1; v2\.1 is made of v3\.0'):
        export_v21(exported, tmp_path / 'again')
    with pytest.raises(DatasetError, match=r'is LeRobot v2\.1; episodes are appended to v3\.0'):
        convert_episode(bag, contract, exported, 'press')
    shutil.rmtree(tmp_path / 'other' / 'meta' / 'episodes')
    with pytest.raises(DatasetError, match='does not list episode 0'):
        export_v21(tmp_path / 'other', tmp_path / 'new')
    assert not (tmp_path / 'new').exists()


def test_a_video_of_another_length_is_found(source: Path, tmp_path: Path) -> None:
    shutil.copytree(source, tmp_path / 'demos')
    [one, other] = tmp_path.glob(f'demos/videos/{MAIN}/*/*.mp4')
    shutil.copy2(one, other)
    with pytest.raises(DatasetError, match=r'frames of episode \d, which has \d+ rows'):
        export_v21(tmp_path / 'demos', tmp_path / 'old')


@pytest.mark.parametrize(
    ('pattern', 'named'),
    [
        (f'videos/{MAIN}/*/*.mp4', 'is no video that can be read'),
        ('data/*/*.parquet', 'cannot be read: .*repair'),
        ('meta/tasks.parquet', 'cannot be read: '),
        ('meta/info.json', 'lacks total_episodes, features'),
    ],
)
def test_a_damaged_file_is_named(source: Path, tmp_path: Path, pattern: str, named: str) -> None:
    shutil.copytree(source, tmp_path / 'demos')
    file = max(tmp_path.glob(f'demos/{pattern}'))
    file.write_bytes(b'{"codebase_version": "v3.0"}' if file.suffix == '.json' else b'nothing')
    with pytest.raises(DatasetError, match=named) as caught:
        export_v21(tmp_path / 'demos', tmp_path / 'old')
    assert str(file.relative_to(tmp_path)) in str(caught.value)
    assert not (tmp_path / 'old').exists()


def test_info_describes_an_export(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_info(exported)
    out = capsys.readouterr().out
    assert 'LeRobot data set v2.1' in out
    assert '2 tasks: press; turn' in out

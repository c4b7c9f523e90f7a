"""Samples of recorded episodes: what was seen, what was done, and where both end."""

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from lerobot.configs import RGBEncoderConfig
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from restac_ros.contract.schema import Contract
from restac_ros.dataset.errors import DatasetError
from restac_ros.dataset.export_v21 import export_v21
from restac_ros.dataset.lerobot_access import open_dataset
from restac_ros.dataset.repair.deletion import delete_episodes
from restac_ros.framing.resize import letterbox
from restac_ros.training.config import DataConfig
from restac_ros.training.data.episodes import Episodes, open_episodes
from restac_ros.training.data.picture_cache import cache_key, with_cache
from restac_ros.training.data.selection import selection_of
from restac_ros.training.data.video_frames import VideoIndex
from restac_ros.training.errors import TrainingError

HORIZON = 16


def test_samples_are_what_lerobot_reads(episodes: Episodes, touch_data: Path, contract: Contract) -> None:
    dataset = open_dataset(touch_data)
    for episode, frame in ((0, 0), (2, 7), (3, 30)):
        span = episodes.tables.spans[episode]
        item, sample = dataset[span.first + frame], episodes.sample(episode, frame, HORIZON)
        assert (item['episode_index'], item['frame_index']) == (episode, frame)
        np.testing.assert_array_equal(sample.state, item['observation.state'])
        np.testing.assert_array_equal(sample.actions[0], item['action'])
        assert sample.task == item['task']
        for name, column in episodes.cameras.items():
            read = item[column].numpy().transpose(1, 2, 0) * 255
            assert np.abs(sample.images[name] - read).max() < 3.5, 'the same picture, by whichever converter'
        touch = np.round(item[episodes.tactile].numpy() * 255).transpose(1, 2, 0)
        np.testing.assert_array_equal(sample.tactile, touch)


def test_steps_past_the_end_are_masked_and_hold_the_last_action(episodes: Episodes) -> None:
    length = episodes.tables.spans[1].length
    sample = episodes.sample(1, length - 3, HORIZON)
    assert sample.step_mask.tolist() == [True] * 3 + [False] * (HORIZON - 3)
    assert (sample.actions[3:] == sample.actions[2]).all()


def test_the_previous_action_computed_from_states_is_the_recorded_one(
    touch_data: Path, episodes: Episodes, tmp_path: Path
) -> None:
    bare = tmp_path / 'bare'
    shutil.copytree(touch_data, bare)
    info = json.loads((bare / 'meta' / 'info.json').read_text())
    column = next(name for name in info['features'] if name.endswith('action_prev'))
    del info['features'][column]
    (bare / 'meta' / 'info.json').write_text(json.dumps(info))
    np.testing.assert_allclose(open_episodes(bare).action_prev, episodes.action_prev, atol=1e-6)


def test_version_21_holds_the_same_samples(
    episodes: Episodes, touch_data: Path, contract: Contract, tmp_path: Path
) -> None:
    old = tmp_path / 'v21'
    export_v21(touch_data, old)
    same = open_episodes(old, contract)
    same.check_videos()
    assert same.tables.info['codebase_version'] == 'v2.1'
    for episode, frame in ((0, 3), (3, 20)):
        one, other = (each.sample(episode, frame, HORIZON) for each in (episodes, same))
        assert one.task == other.task
        for name in ('state', 'action_prev', 'actions', 'step_mask', 'tactile'):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        for name, image in one.images.items():
            np.testing.assert_array_equal(image, other.images[name])


@pytest.fixture(params=['v3.0', 'v2.1'])
def copy(request: pytest.FixtureRequest, touch_data: Path, tmp_path: Path) -> Path:
    """The touch data in a version of the format, to be damaged."""
    root = tmp_path / 'data'
    if request.param == 'v3.0':
        return shutil.copytree(touch_data, root)
    export_v21(touch_data, root)
    return root


def test_a_data_set_that_was_not_copied_whole_is_refused(
    touch_data: Path, copy: Path, contract: Contract, tmp_path: Path
) -> None:
    root = copy
    info = json.loads((root / 'meta' / 'info.json').read_text())
    episodes, frames = info['total_episodes'], info['total_frames']
    rows = sorted(root.glob('data/*/*.parquet'))
    assert len(rows) == episodes > 3
    rows[3].unlink()
    with pytest.raises(
        TrainingError,
        match=rf'found the rows of {episodes - 1} episodes in data/, expected {episodes}, .* of episode 3 '
        'are missing; copy the data set again, or `restac-ros repair`',
    ):
        open_episodes(root, contract)
    for descriptions in root.glob('meta/episodes/*/*.parquet'):
        table = pq.read_table(descriptions)
        pq.write_table(table.filter(pc.not_equal(table['episode_index'], 3)), descriptions)
    with pytest.raises(TrainingError, match='those of episode 3 are missing'):
        open_episodes(root, contract)
    shutil.copytree(touch_data, tmp_path / 'other')
    info = json.loads((tmp_path / 'other' / 'meta' / 'info.json').read_text())
    (tmp_path / 'other' / 'meta' / 'info.json').write_text(json.dumps({**info, 'total_frames': frames + 5}))
    with pytest.raises(
        TrainingError, match=f'found {frames} in data/, expected {frames + 5}, the total_frames'
    ):
        open_episodes(tmp_path / 'other', contract)


def test_videos_outside_the_data_set_are_not_opened(copy: Path, contract: Contract) -> None:
    root = copy
    info = json.loads((root / 'meta' / 'info.json').read_text())
    info['video_path'] = f'../{info["video_path"]}'
    (root / 'meta' / 'info.json').write_text(json.dumps(info))
    with pytest.raises(DatasetError, match=r'places videos outside the data set: \.\./videos'):
        open_episodes(root, contract).check_videos()


@pytest.mark.parametrize(
    ('text', 'expected'),
    [(None, 'No such file'), ('{"task_index": 0}\n', "'task'"), ('version https://git-lfs', 'git lfs pull')],
)
def test_tasks_of_version_21_that_cannot_be_read_are_named(
    touch_data: Path, contract: Contract, tmp_path: Path, text: str | None, expected: str
) -> None:
    export_v21(touch_data, tmp_path / 'v21')
    tasks = tmp_path / 'v21' / 'meta' / 'tasks.jsonl'
    tasks.unlink()
    if text is not None:
        tasks.write_text(text)
    with pytest.raises(DatasetError, match=rf'tasks\.jsonl .*{expected}'):
        open_episodes(tmp_path / 'v21', contract)


@pytest.fixture(scope='module')
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two episodes of LeRobot's own writer, in two video files."""
    return make_foreign(tmp_path_factory.mktemp('foreign') / 'data', 2, video_mb=0.001)


def make_foreign(root: Path, episodes: int, video_mb: float) -> Path:
    """Write as LeRobot does: other column names and sizes, few key frames, no action_prev.

    The task changes in the middle of each episode.
    """
    rng = np.random.default_rng(3)
    names = ['height', 'width', 'channels']
    features = {
        'observation.images.top': {'dtype': 'video', 'shape': (240, 320, 3), 'names': names},
        'observation.images.gel': {'dtype': 'image', 'shape': (128, 160, 3), 'names': names},
        'observation.state': {'dtype': 'float32', 'shape': (7,), 'names': None},
        'action': {'dtype': 'float32', 'shape': (7,), 'names': None},
    }
    made = LeRobotDataset.create(
        'other/robot',
        15,
        features,
        root=root,
        rgb_encoder=RGBEncoderConfig(vcodec='h264', g=5, crf=18),
        video_files_size_in_mb=video_mb,
    )
    state = np.array([0.5, 0.0, 0.1, np.pi, 0.0, 0.0, 0.04], np.float32)
    for _ in range(episodes):
        for frame in range(12):
            state = state + rng.normal(0, 0.004, 7).astype(np.float32)
            picture = cv2.resize(rng.integers(0, 256, (6, 8, 3), np.uint8), (320, 240))
            made.add_frame(
                {
                    'observation.images.top': picture,
                    'observation.images.gel': rng.integers(0, 256, (128, 160, 3), np.uint8),
                    'observation.state': state,
                    'action': state + np.float32(0.002),
                    'task': 'reach' if frame < 6 else 'press',
                }
            )
        made.save_episode()
    made.finalize()
    return root


def mapped(contract: Contract, contract_with: Callable[..., Contract]) -> Contract:
    """The contract with the column names of `make_foreign`."""
    streams = contract.model_dump(mode='json', exclude_none=True)['streams']
    streams['main']['feature'] = 'observation.images.top'
    streams['gelsight_left']['feature'] = 'observation.images.gel'
    return contract_with(streams=streams)


def test_episodes_that_share_a_video_are_read_also_when_one_was_deleted(
    contract: Contract, contract_with: Callable[..., Contract], tmp_path: Path
) -> None:
    root = make_foreign(tmp_path / 'data', 3, video_mb=100.0)
    (video,) = root.glob('videos/*/*/*.mp4')
    ours = mapped(contract, contract_with)
    whole = open_episodes(root, ours)
    whole.check_videos()
    delete_episodes(root, [2])
    part = open_episodes(root, ours)
    part.check_videos()
    assert len(VideoIndex.of(video)) == 36, 'its frames stay in the file'
    assert len(part.state) == 24
    for one, other in zip(
        whole.sample(1, 5, 4).images.values(), part.sample(1, 5, 4).images.values(), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_a_data_set_that_lerobot_made_is_mapped_by_a_contract(
    foreign: Path, contract: Contract, contract_with: Callable[..., Contract]
) -> None:
    read = open_episodes(foreign, mapped(contract, contract_with))
    read.check_videos()
    assert len({str(path) for path in foreign.glob('videos/*/*/*.mp4')}) == 2
    reference = open_dataset(foreign)
    for episode, frame in ((0, 0), (0, 11), (1, 7), (1, 2)):
        span = read.tables.spans[episode]
        item, sample = reference[span.first + frame], read.sample(episode, frame, HORIZON)
        assert sample.task == item['task'] == ('reach' if frame < 6 else 'press')
        assert sample.images['main'].shape == (224, 224, 3)
        image = np.round(item['observation.images.top'].numpy().transpose(1, 2, 0) * 255).astype(np.uint8)
        assert np.abs(sample.images['main'].astype(int) - letterbox(image)).max() <= 4
        gel = np.round(item['observation.images.gel'].numpy() * 255).transpose(1, 2, 0)
        np.testing.assert_array_equal(sample.tactile, gel)
        before = read.state[span.first + max(frame - 1, 0)]
        np.testing.assert_allclose(sample.action_prev, sample.state - before, atol=1e-6)


def test_a_slice_of_the_episodes_gives_the_samples_of_the_whole(episodes: Episodes) -> None:
    part = selection_of(episodes, HORIZON, DataConfig(validation_share=0.0, episodes=(1, 3)))
    assert set(part.trained[:, 0].tolist()) == {1, 3}
    for episode, frame in part.trained[::29].tolist():
        sample = episodes.sample(episode, frame, HORIZON)
        rows = np.flatnonzero(
            (episodes.tables.numbers['observation.state'] == sample.state).all(axis=1)
        ).tolist()
        assert episodes.tables.spans[episode].first + frame in rows


def test_pictures_come_out_of_the_cache_as_they_were_decoded(
    episodes: Episodes, touch_data: Path, tmp_path: Path
) -> None:
    counted: list[tuple[int, int]] = []
    cached = with_cache(episodes, tmp_path, 2, lambda *count: counted.append(count))
    assert counted[-1] == (len(episodes.state), len(episodes.state))
    travelled = pickle.loads(pickle.dumps(cached))
    assert len(pickle.dumps(cached.pictures)) < 1000, 'its place travels, not its content'
    for episode, frame in ((0, 0), (3, 33)):
        one, other = (each.sample(episode, frame, HORIZON) for each in (episodes, travelled))
        np.testing.assert_array_equal(one.tactile, other.tactile)
        for name, image in one.images.items():
            np.testing.assert_array_equal(image, other.images[name])
    again = with_cache(episodes, tmp_path, 2, lambda *_: pytest.fail('it is there already'))
    assert again.pictures == cached.pictures
    folder, lock = sorted(tmp_path.iterdir(), reverse=True)
    assert lock.name == f'.{folder.name}.lock'
    video = next(touch_data.glob('videos/*/*/*.mp4'))
    before = video.stat()
    os.utime(video)
    try:
        assert cache_key(episodes) != folder.name, 'other files, another cache'
    finally:
        os.utime(video, ns=(before.st_atime_ns, before.st_mtime_ns))  # others read it, too


def test_a_cache_that_does_not_fit_the_disk_is_refused(
    episodes: Episodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = type('Usage', (), {'free': 2**30})
    monkeypatch.setattr('shutil.disk_usage', lambda _: full)
    with pytest.raises(TrainingError, match=r'found 1\.1 GB free, expected .*--loader\.cache'):
        with_cache(episodes, tmp_path, 2, lambda *_: None)
    assert [path.suffix for path in tmp_path.iterdir()] == ['.lock']

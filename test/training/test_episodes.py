"""Samples of recorded episodes: what was seen, what was done, and where both end."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from restac_ros.contract.schema import Contract
from restac_ros.dataset.lerobot_access import open_dataset
from restac_ros.training.data.episodes import Episodes, chosen, open_episodes
from restac_ros.training.data.selection import select
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


def test_columns_of_other_names_are_mapped_by_the_contract(
    touch_data: Path, tmp_path: Path, contract_with: Callable[..., Contract], contract: Contract
) -> None:
    streams = contract.model_dump(mode='json')['streams']
    streams['main']['feature'] = 'observation.images.top'
    only = {name: value for name, value in streams.items() if name not in ('handeye', 'side')}
    renamed = contract_with(streams=only)
    with pytest.raises(TrainingError, match='expected some of'):
        open_episodes(touch_data, renamed)


def test_another_frame_rate_is_refused(touch_data: Path, contract_with: Callable[..., Contract]) -> None:
    with pytest.raises(TrainingError, match='found 15 frames/s, expected 10 by the contract'):
        open_episodes(touch_data, contract_with(fps=10))


def test_a_number_that_is_not_finite_is_named_by_place(touch_data: Path, tmp_path: Path) -> None:
    bad = tmp_path / 'bad'
    shutil.copytree(touch_data, bad)
    path = sorted((bad / 'data').glob('*/*.parquet'))[1]
    table = pq.read_table(path)
    values = np.array(table['observation.state'].to_pylist(), np.float32)
    values[5, 2] = np.nan
    column = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), 7)
    number = table.column_names.index('observation.state')
    pq.write_table(table.set_column(number, 'observation.state', column), path)
    with pytest.raises(TrainingError, match=r'observation\.state\[2\] of episode 1, frame 5: found nan'):
        open_episodes(bad)


def test_a_video_that_is_missing_or_short_is_refused_before_anything_is_decoded(
    touch_data: Path, tmp_path: Path
) -> None:
    bad = tmp_path / 'bad'
    shutil.copytree(touch_data, bad)
    videos = sorted((bad / 'videos').glob('*/*/*.mp4'))
    videos[0].unlink()
    with pytest.raises(TrainingError, match=r'is missing: bring the videos'):
        open_episodes(bad).check_videos()


def test_an_episode_that_is_not_there_is_refused(episodes: Episodes) -> None:
    with pytest.raises(TrainingError, match=r'found no episode \[9\], expected numbers from 0 to 3'):
        chosen(episodes, [1, 9])


def test_no_episode_is_both_trained_on_and_held_out(episodes: Episodes) -> None:
    selection = select(episodes, range(4), HORIZON, 0.5, skip_idle=False)
    assert not set(selection.trained[:, 0]) & set(selection.validated[:, 0])
    assert len(selection.trained) + len(selection.validated) == len(episodes.state)


def test_an_episode_stays_on_its_side_when_others_are_added(episodes: Episodes) -> None:
    whole = select(episodes, range(4), HORIZON, 0.5, skip_idle=False)
    fewer = select(episodes, range(3), HORIZON, 0.5, skip_idle=False)
    kept = {episode for episode in set(whole.trained[:, 0].tolist()) if episode < 3}
    assert kept == set(fewer.trained[:, 0].tolist())

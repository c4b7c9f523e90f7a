"""Data sets for the benchmarks of training: recordings as a robot makes them, and many rows of numbers."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from restac_ros.bench.recordings import START_NS, Scene, make_messages, write_recording
from restac_ros.bench.settings import size_px
from restac_ros.contract.schema import Contract
from restac_ros.dataset.convert import convert_episode
from restac_ros.dataset.dataset_files import OWN_CONTRACT, TASKS, read_info, write_info
from restac_ros.dataset.features import STATE_NAMES

RECORDED_PX = '640x480'
MIN_RANGE = dict.fromkeys(STATE_NAMES, 0.1)  # the arm of these recordings rests
_FILE_ROWS, _EPISODE_ROWS = 100_000, 500
_STEP = np.array([2e-3, 2e-3, 2e-3, 1e-2, 1e-2, 1e-2, 1e-4], np.float32)


def record_dataset(folder: Path, contract: Contract, seconds: float, episodes: int) -> Path:
    """Record cameras of 640 x 480 px and touch, and convert them to videos of key frames, letterboxed."""
    root = folder / 'recorded'
    for number in range(episodes):
        scene = Scene(size_px(RECORDED_PX), seed=number)
        messages = make_messages(contract, seconds, scene, START_NS + number * 10**12)
        bag = write_recording(folder / f'bag-{number}', contract, messages)
        convert_episode(bag, contract, root)
    return root


def write_numbers(root: Path, like: Path, rows: int, seed: int = 0) -> Path:
    """Write a data set of so many rows of numbers, in episodes of 500, declared as the one at `like` is.

    There are no images: readers of numbers alone need none.
    """
    for folder in ('data/chunk-000', 'meta/episodes/chunk-000', 'meta/restac_ros'):
        (root / folder).mkdir(parents=True)
    episodes = -(-rows // _EPISODE_ROWS)
    write_info(root, read_info(like) | {'total_episodes': episodes, 'total_frames': rows})
    for name in (TASKS, OWN_CONTRACT):
        (root / name).write_bytes((like / name).read_bytes())
    rng = np.random.default_rng(seed)
    for number, first in enumerate(range(0, rows, _FILE_ROWS)):
        index = np.arange(first, min(first + _FILE_ROWS, rows))
        pq.write_table(_rows(index, rng), root / 'data' / 'chunk-000' / f'file-{number:03d}.parquet')
    starts = range(0, rows, _EPISODE_ROWS)
    described = {
        'episode_index': list(range(len(starts))),
        'length': [min(_EPISODE_ROWS, rows - start) for start in starts],
        'tasks': [['bench']] * len(starts),
    }
    pq.write_table(pa.table(described), root / 'meta' / 'episodes' / 'chunk-000' / 'file-000.parquet')
    return root


def _rows(index: np.ndarray, rng: np.random.Generator) -> pa.Table:
    """A random walk inside the workspace; the action is the next state."""
    walk = np.cumsum(rng.normal(0, _STEP, (len(index) + 1, 7)).astype(np.float32), axis=0)
    walk = np.sin(walk) * np.float32(0.05) + np.array([0.5, 0, 0.2, np.pi, 0, 0, 0], np.float32)
    walk[:, 6] = 0.04 + np.sin(walk[:, 6] * 20) * 0.03
    columns = {
        'observation.state': walk[:-1],
        'action': walk[1:],
        'observation.action_prev': np.diff(walk, axis=0),
    }
    return pa.table(
        {
            'episode_index': index // _EPISODE_ROWS,
            'frame_index': index % _EPISODE_ROWS,
            'task_index': np.zeros(len(index), np.int64),
            **{
                name: pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), 7)
                for name, values in columns.items()
            },
        }
    )

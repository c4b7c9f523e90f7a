"""The frames of one episode in order, images included, with bounded memory and without LeRobot."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from restac_ros.contract.schema import Contract
from restac_ros.dataset.dataset_files import (
    LANGUAGE,
    data_file,
    dataset_contract,
    read_info,
    streams_of,
    video_file,
)
from restac_ros.dataset.dataset_tables import episode_rows
from restac_ros.dataset.errors import DatasetError
from restac_ros.dataset.features import STATE_NAMES, image_columns
from restac_ros.dataset.image_files import HALF_TICK_S, decoded_picture, images_from, undecodable

_BATCH_ROWS = 64


class EpisodeFrame(NamedTuple):
    """One frame: s from the episode's start, state and action float [7], images uint8 [H, W, 3] by stream."""

    time_s: float
    state: np.ndarray
    action: np.ndarray
    images: dict[str, np.ndarray]
    subtask: str = ''


class EpisodeText(NamedTuple):
    """An episode's task, and what it is made of."""

    task: str
    frames: int


def episode_text(root: Path, index: int) -> EpisodeText:
    """Return task and length of an episode.

    Raises:
        DatasetError: there is no such episode, or its description is damaged.
    """
    row = _episode_row(root, index)
    return EpisodeText('; '.join(row.get('tasks', [])), int(row['length']))


def episode_frames(root: Path, index: int, otherwise: Contract | None = None) -> Iterator[EpisodeFrame]:
    """Yield the frames of an episode; `otherwise` is the contract of a data set that has none.

    Raises:
        DatasetError: there is no such episode, the contract does not fit, or files are damaged.
        ContractError: the data set's contract is not valid.
    """
    contract, info, row = dataset_contract(root, otherwise), read_info(root), _episode_row(root, index)
    image_keys = _image_keys(root, contract)
    pictures = {
        name: key for name, key in image_keys.items() if info['features'][key].get('dtype') == 'image'
    }
    films = {name: key for name, key in image_keys.items() if name not in pictures}
    columns = ['timestamp', 'observation.state', 'action', *pictures.values()]
    columns += [name for name in LANGUAGE[:1] if name in info['features']]
    with ExitStack() as stack:
        videos = {}
        for name, key in films.items():
            begin_s = row[f'videos/{key}/from_timestamp']
            videos[name] = _video_images(stack, video_file(root, info, key, row), begin_s)
        for batch in _rows(data_file(root, info, row), columns, index):
            for place in range(batch.num_rows):
                images = {name: next(video) for name, video in videos.items()}
                images |= {
                    name: decoded_picture(batch.column(key)[place]['bytes'].as_py(), key, index)
                    for name, key in pictures.items()
                }
                yield _frame(batch, place, images)


def _image_keys(root: Path, contract: Contract) -> dict[str, str]:
    """Column of each camera and tactile stream that the data set stores.

    Raises:
        DatasetError: a column that the contract requires is missing, or state and action have another size.
    """
    features, streams = read_info(root)['features'], streams_of(root, contract)
    images = {name: key for name, key in image_columns(contract).items() if name in streams}
    if missing := sorted(set(images.values()) - set(features)):
        found = ', '.join(name for name in features if name.startswith('observation.')) or 'none'
        raise DatasetError(
            f'{root} has no {", ".join(missing)}, which the contract requires; found {found}. Give the '
            'contract of its columns (`feature` of each camera and tactile stream)'
        )
    for key in ('observation.state', 'action'):
        if (shape := features.get(key, {}).get('shape')) != [len(STATE_NAMES)]:
            raise DatasetError(f'{root}: {key} has shape {shape}; expected [{len(STATE_NAMES)}]')
    return images


def _episode_row(root: Path, index: int) -> dict[str, Any]:
    rows = episode_rows(root)
    if index not in rows:
        raise DatasetError(f'{root} has {len(rows)} episodes, numbered from 0; found {index}')
    return rows[index]


def _rows(path: Path, columns: list[str], index: int) -> Iterator[pa.RecordBatch]:
    try:
        for batch in pq.ParquetFile(path).iter_batches(_BATCH_ROWS, columns=['episode_index', *columns]):
            if (chosen := batch.filter(pc.equal(batch.column('episode_index'), index))).num_rows:
                yield chosen
    except (pa.ArrowException, OSError) as error:
        raise undecodable(path, error) from error


def _frame(batch: pa.RecordBatch, place: int, images: dict[str, np.ndarray]) -> EpisodeFrame:
    time_s = float(batch.column('timestamp')[place].as_py())
    subtask = ''
    if LANGUAGE[0] in batch.schema.names:
        for text in batch.column(LANGUAGE[0])[place].as_py() or ():
            if text['style'] == 'subtask' and text['timestamp'] <= time_s + HALF_TICK_S:
                subtask = text['content']
    state, action = (np.array(batch.column(key)[place].as_py()) for key in ('observation.state', 'action'))
    return EpisodeFrame(time_s, state, action, images, subtask)


def _video_images(stack: ExitStack, path: Path, begin_s: float) -> Iterator[np.ndarray]:
    """Yield the images of a video from `begin_s` on; the file stays open as long as `stack`."""
    try:
        video = stack.enter_context(av.open(str(path)))
        yield from images_from(video, begin_s)
    except (OSError, av.FFmpegError) as error:
        raise undecodable(path, error) from error
    raise DatasetError(f'{path} ends before its episode: `restac-ros repair` tells what is broken')

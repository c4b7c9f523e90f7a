"""Opens LeRobot's data sets: offline, with a decoder that loads, and nothing left in a cache."""

import ctypes.util
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pyarrow.parquet as pq
from datasets import Dataset
from datasets.table import embed_table_storage
from lerobot.configs import RGBEncoderConfig
from lerobot.datasets import compute_stats, dataset_metadata, dataset_writer, io_utils
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.utils.utils import SuppressProgressBars

from restac_ros.dataset.errors import DatasetError
from restac_ros.dataset.video.video_choice import VideoChoice
from restac_ros.dataset.video.video_encoder import STATISTICS_EVERY, STATISTICS_STEP, VideoEncoder

# Of tactile images: differences to neighbours, Huffman-coded. The noise hardly repeats: searching for
# repetitions, as LeRobot's level 6 does, takes 18 times as long (9 ms of a core) and makes larger files.
PNG = (
    cv2.IMWRITE_PNG_COMPRESSION,
    1,
    cv2.IMWRITE_PNG_STRATEGY,
    cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY,
    cv2.IMWRITE_PNG_FILTER,
    cv2.IMWRITE_PNG_FILTER_AVG,
)


def decoder_backend() -> str:
    """Return torchcodec where FFmpeg's shared libraries, which it needs, are installed; else PyAV.

    LeRobot would try, and print a page of warnings.
    """
    return 'torchcodec' if ctypes.util.find_library('avutil') else 'pyav'


@contextmanager
def private_cache() -> Iterator[None]:
    """Use a temporary cache for the tables that Hugging Face copies when a data set is opened."""
    config = io_utils.datasets.config
    usual = config.HF_DATASETS_CACHE
    with tempfile.TemporaryDirectory(prefix='restac_ros_') as folder:
        config.HF_DATASETS_CACHE = Path(folder)
        try:
            yield
        finally:
            config.HF_DATASETS_CACHE = usual


@contextmanager
def quick_saving() -> Iterator[None]:
    """Replace two steps of LeRobot's saving that would take most of its time.

    Statistics of stored images come from as few pixels as those of videos. Images enter the table all at
    once: LeRobot maps over the rows, and makes all columns' types anew for each.
    """
    usual = compute_stats.sample_images, dataset_writer.embed_images

    def sample(paths: list[str]) -> np.ndarray:
        read = compute_stats.load_image_as_numpy
        images = [read(path, dtype=np.uint8, channel_first=True) for path in paths[::STATISTICS_EVERY]]
        return np.stack(images)[..., ::STATISTICS_STEP, ::STATISTICS_STEP]

    def embed(dataset: Dataset) -> Dataset:
        return Dataset(embed_table_storage(dataset.data.table), dataset.info, dataset.split)

    compute_stats.sample_images, dataset_writer.embed_images = sample, embed
    try:
        yield
    finally:
        compute_stats.sample_images, dataset_writer.embed_images = usual


@contextmanager
def quick_opening() -> Iterator[None]:
    """Replace LeRobot's reading of the episodes' descriptions by one of the columns that it keeps.

    It reads the statistics, too, four fifths of all columns, and takes a time that grows with the square of
    their number: a fifth of a conversion.
    """
    usual = dataset_metadata.load_episodes

    def load(root: Path) -> Dataset:
        paths = [str(path) for path in sorted(root.glob('meta/episodes/*/*.parquet'))]
        if not paths:
            return usual(root)  # says what is missing
        kept = [name for name in pq.read_schema(paths[0]).names if not name.startswith('stats/')]
        with SuppressProgressBars():
            return Dataset.from_parquet(paths, columns=kept)

    dataset_metadata.load_episodes = load
    try:
        yield
    finally:
        dataset_metadata.load_episodes = usual


def open_dataset(root: Path, episodes: list[int] | None = None) -> LeRobotDataset:
    """Read a data set's episodes (all when None).

    Raises:
        DatasetError: there is none, or LeRobot cannot read it.
    """
    if not (root / 'meta' / 'info.json').is_file():
        raise DatasetError(f'{root} is no LeRobot data set: meta/info.json is missing.')
    try:
        with quick_opening():
            return LeRobotDataset(repo_id(root), root, episodes=episodes, video_backend=decoder_backend())
    except Exception as error:  # pyarrow, datasets and LeRobot each raise types of their own
        raise DatasetError(
            f'{root} cannot be read by LeRobot: {type(error).__name__}: {error}. '
            '`restac-ros repair` lists what is broken.'
        ) from error


def repo_id(root: Path) -> str:
    """Return the name that LeRobot needs; nothing is downloaded or uploaded under it."""
    return f'local/{root.name.strip(".")}'


class WritableDataset(LeRobotDataset):
    """LeRobot's data set for writing, with our video settings and encoder."""

    @staticmethod
    def _build_streaming_encoder(fps: int, rgb_encoder: RGBEncoderConfig, *_: object) -> VideoEncoder:
        return VideoEncoder(fps, rgb_encoder)

    @classmethod
    def create_at(
        cls, root: Path, fps: int, features: dict[str, dict], robot_type: str | None, video: VideoChoice
    ) -> 'WritableDataset':
        """Create a data set; `root` must not exist."""
        made = cls.create(repo_id(root), fps, features, root=root, robot_type=robot_type, **_writing(video))
        return _with_quick_png(made)

    @classmethod
    def append_to(cls, root: Path, video: VideoChoice) -> 'WritableDataset':
        """Open a data set to append; episodes go into new files, meta/{info,stats}.json are rewritten."""
        with quick_opening():
            resumed = cls.resume(repo_id(root), root=root, **_writing(video))
        return _with_quick_png(resumed)


def _with_quick_png(dataset: WritableDataset) -> WritableDataset:
    def save(image: np.ndarray, path: Path, _: int = 0) -> None:
        _, encoded = cv2.imencode('.png', cv2.cvtColor(image, cv2.COLOR_RGB2BGR), PNG)
        path.write_bytes(encoded.data)

    dataset.writer._save_image = save  # LeRobot offers no setting for it
    return dataset


def _writing(video: VideoChoice) -> dict[str, Any]:
    av.logging.set_libav_level(av.logging.ERROR)  # x264 prints statistics of every video
    os.environ.setdefault('SVT_LOG', '1')  # and the AV1 encoder its settings; 1: errors only
    return {
        'rgb_encoder': RGBEncoderConfig(**video.settings),
        'streaming_encoding': True,
        'video_backend': decoder_backend(),
    }

"""Decoded images in memory-mapped files: for small data sets that are read many times.

A frame takes 150 kB a camera, and one read instead of one decode. A cache belongs to one state of a data set:
its key is made of the data set's fingerprint and of its files' sizes and times, so that no other's is read.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from restac_ros.framing.resize import IMAGE_SIZE, TACTILE_SHAPE
from restac_ros.training.data.episodes import Episodes
from restac_ros.training.data.tables import EpisodeRows
from restac_ros.training.errors import TrainingError

_CAMERA_SHAPE = (IMAGE_SIZE, IMAGE_SIZE, 3)
_TOUCH_SHAPE = (*TACTILE_SHAPE, 3)
_SPARE_BYTES = 1 << 30


@dataclass
class CachedPictures:
    """Images of a data set from decoded files, one per column.

    Attributes:
        folder: holds `COLUMN.npy`, uint8 [N, H, W, 3], rows as in the tables.
    """

    folder: Path

    def __post_init__(self) -> None:
        self._arrays: dict[str, np.ndarray] = {}

    def camera(self, column: str, span: EpisodeRows, frame: int) -> UInt8[np.ndarray, '224 224 3']:
        """Return a camera's image of a frame."""
        return np.array(self._array(column)[span.first + frame])

    def touch(self, column: str, span: EpisodeRows, frame: int) -> UInt8[np.ndarray, '128 160 3']:
        """Return a tactile image of a frame."""
        return np.array(self._array(column)[span.first + frame])

    def check(self, column: str) -> None:
        """Open the file: its frames were counted when it was made."""
        self._array(column)

    def __getstate__(self) -> dict[str, Any]:
        """The place alone: a mapped file would travel with its content."""
        return {'folder': self.folder, '_arrays': {}}

    def _array(self, column: str) -> np.ndarray:
        if column not in self._arrays:
            self._arrays[column] = np.load(_file(self.folder, column), mmap_mode='r', allow_pickle=False)
        return self._arrays[column]


def with_cache(
    episodes: Episodes, root: Path, threads: int, on_frame: Callable[[int, int], None]
) -> Episodes:
    """Return the same episodes, read from decoded files, which are made first where they are absent.

    Args:
        episodes: of one data set.
        root: directory of all caches.
        threads: that decode.
        on_frame: called with the number of frames done, and of all.

    Raises:
        TrainingError: too little free disk, or an image that cannot be decoded.
    """
    folder = root / cache_key(episodes)
    if not folder.is_dir():
        _check_room(episodes, root)
        making = Path(tempfile.mkdtemp(prefix=f'.{folder.name}.', dir=root))
        try:
            _fill(episodes, making, threads, on_frame)
            _publish(making, folder)
        finally:
            shutil.rmtree(making, ignore_errors=True)
    return replace(episodes, pictures=CachedPictures(folder))


def cache_key(episodes: Episodes) -> str:
    """Name of a data set's cache."""
    root = episodes.tables.root
    total = hashlib.sha256(episodes.fingerprint.encode())
    for path in sorted([*root.glob('data/**/*.parquet'), *root.glob('videos/**/*.mp4')]):
        about = path.stat()
        total.update(f'{path.relative_to(root)} {about.st_size} {about.st_mtime_ns}\n'.encode())
    return total.hexdigest()[:32]


def _check_room(episodes: Episodes, root: Path) -> None:
    root.mkdir(parents=True, exist_ok=True)
    needed = sum(int(np.prod(_shape(episodes, column))) for column in episodes.image_columns)
    free = shutil.disk_usage(root).free
    if free < needed + _SPARE_BYTES:
        raise TrainingError(
            f'{root}: found {free / 1e9:.1f} GB free, expected {(needed + _SPARE_BYTES) / 1e9:.1f} GB '
            f'for the decoded images of {episodes.name}; choose another directory as --loader.cache, or none'
        )


def _shape(episodes: Episodes, column: str) -> tuple[int, ...]:
    shape = _TOUCH_SHAPE if column == episodes.tactile else _CAMERA_SHAPE
    return len(episodes.state), *shape


def _fill(episodes: Episodes, folder: Path, threads: int, on_frame: Callable[[int, int], None]) -> None:
    done = 0
    arrays = {
        column: _made(_file(folder, column), _shape(episodes, column)) for column in episodes.image_columns
    }

    def decode(span: EpisodeRows, frame: int) -> None:
        for column, array in arrays.items():
            read = episodes.pictures.touch if column == episodes.tactile else episodes.pictures.camera
            array[span.first + frame] = read(column, span, frame)

    with ThreadPoolExecutor(threads) as pool:
        for span in episodes.tables.spans.values():
            for _ in pool.map(partial(decode, span), range(span.length)):
                done += 1
                on_frame(done, len(episodes.state))
    for array in arrays.values():
        array.flush()


def _made(path: Path, shape: tuple[int, ...]) -> np.memmap:
    """A mapped file with all its blocks: a disk that fills up later would end the process by a signal."""
    array = np.lib.format.open_memmap(path, mode='w+', dtype=np.uint8, shape=shape)
    with path.open('r+b') as file:
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def _publish(making: Path, folder: Path) -> None:
    """Give a whole cache its name; another process may have been faster with the same."""
    try:
        making.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise


def _file(folder: Path, column: str) -> Path:
    return folder / f'{column.replace("/", "_")}.npy'

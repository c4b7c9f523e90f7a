"""Decoded images in memory-mapped files: for small data sets that are read many times.

A frame takes 150 kB a camera, and one read instead of one decode. A cache belongs to one state of a data set:
its key is made of the data set's fingerprint and of its files' sizes and times, so that no other's is read.
Of processes that start together one decodes, and the others wait for it.
"""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from restac_ros.framing.resize import IMAGE_SIZE, TACTILE_SHAPE
from restac_ros.training.config import LoaderConfig
from restac_ros.training.data.episodes import Episodes
from restac_ros.training.data.loader import reading_threads
from restac_ros.training.data.tables import EpisodeRows
from restac_ros.training.errors import TrainingError

_CAMERA_SHAPE = (IMAGE_SIZE, IMAGE_SIZE, 3)
_TOUCH_SHAPE = (*TACTILE_SHAPE, 3)
_SPARE_BYTES = 1 << 30
_DECODING = 1  # counts up when other pixels come of the same files: caches made before are then left alone


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
    episodes: Episodes,
    root: Path,
    threads: int,
    on_frame: Callable[[int, int], None],
    show: Callable[[str], None] = lambda _: None,
) -> Episodes:
    """Return the same episodes, read from decoded files, which are made first where they are absent.

    Args:
        episodes: of one data set.
        root: directory of all caches.
        threads: that decode.
        on_frame: called with the number of frames done, and of all.
        show: prints that another process is waited for.

    Raises:
        TrainingError: too little free disk, a directory that cannot be written, or an image that cannot be
            decoded.
    """
    folder = root / cache_key(episodes)
    if not folder.is_dir():  # it appears whole: only who makes one needs the lock
        with _writing(root, episodes):
            root.mkdir(parents=True, exist_ok=True)
        with _alone(episodes, folder, show):
            if not folder.is_dir():
                _make(episodes, folder, threads, on_frame)
    return replace(episodes, pictures=CachedPictures(folder))


def with_cache_of(
    loader: LoaderConfig, opened: Sequence[Episodes], show: Callable[[str], None]
) -> list[Episodes]:
    """Return the same data sets, decoded once where `loader` asks for a cache; `show` prints the progress.

    Raises:
        TrainingError: see `with_cache`.
    """
    if (root := loader.cache) is None:
        return list(opened)
    threads = reading_threads(loader)

    def counted(episodes: Episodes, done: int, total: int) -> None:
        if done == total or done % max(1, total // 20) == 0:
            show(f'{episodes.name}: {done} of {total} frames decoded into {root}')

    return [with_cache(episodes, root, threads, partial(counted, episodes), show) for episodes in opened]


def cache_key(episodes: Episodes) -> str:
    """Name of a data set's cache."""
    root = episodes.tables.root
    total = hashlib.sha256(f'decoding {_DECODING} {episodes.fingerprint}'.encode())
    for path in sorted([*root.glob('data/**/*.parquet'), *root.glob('videos/**/*.mp4')]):
        about = path.stat()
        total.update(f'{path.relative_to(root)} {about.st_size} {about.st_mtime_ns}\n'.encode())
    return total.hexdigest()[:32]


@contextmanager
def _writing(root: Path, episodes: Episodes) -> Iterator[None]:
    """Refuse a directory that cannot be written, or a disk that is full, with the remedy."""
    try:
        yield
    except OSError as error:
        raise TrainingError(
            f'{root}: the decoded images of {episodes.name} cannot be written: {error}; make room, or choose '
            'another directory as --loader.cache, or none'
        ) from error


@contextmanager
def _alone(episodes: Episodes, folder: Path, show: Callable[[str], None]) -> Iterator[None]:
    """Wait until no other process makes this cache; the system ends the lock of one that dies."""
    path = folder.with_name(f'.{folder.name}.lock')
    with _writing(folder.parent, episodes):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        with _writing(folder.parent, episodes):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                place = folder.parent
                show(f'{episodes.name}: another process decodes its images into {place}: waiting for it')
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _make(episodes: Episodes, folder: Path, threads: int, on_frame: Callable[[int, int], None]) -> None:
    """Decode into a folder of another name, of the mode that the umask says, and name it when it is whole."""
    root, mark = folder.parent, f'.{folder.name}.making'
    making = root / f'{mark}{os.getpid()}'
    with _writing(root, episodes):
        for leftover in root.glob(f'{mark}*'):  # of processes that died: those that live hold the lock
            shutil.rmtree(leftover, ignore_errors=True)
        _check_room(episodes, root)
        making.mkdir()
    try:
        _fill(episodes, making, threads, on_frame)
        with _writing(root, episodes):
            making.rename(folder)
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _check_room(episodes: Episodes, root: Path) -> None:
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
    with _writing(folder.parent, episodes):
        arrays = {
            column: _made(_file(folder, column), _shape(episodes, column))
            for column in episodes.image_columns
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
    with _writing(folder.parent, episodes):
        for array in arrays.values():
            array.flush()


def _made(path: Path, shape: tuple[int, ...]) -> np.memmap:
    """A mapped file with all its blocks: a disk that fills up later would end the process by a signal."""
    array = np.lib.format.open_memmap(path, mode='w+', dtype=np.uint8, shape=shape)
    with path.open('r+b') as file:
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def _file(folder: Path, column: str) -> Path:
    return folder / f'{column.replace("/", "_")}.npy'

"""Images of recorded episodes, as they are stored: frames of videos, or pictures in the tables."""

import threading
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
import pyarrow as pa
from jaxtyping import UInt8

from restac_ros.dataset.dataset_files import EARLIER_VERSION, video_file
from restac_ros.dataset.episode_notes import DELETED
from restac_ros.framing.resize import TACTILE_SHAPE, letterbox
from restac_ros.training.data.tables import REPAIR_ADVICE, EpisodeRows, Tables, read_pictures
from restac_ros.training.data.video_frames import FrameReader, VideoIndex
from restac_ros.training.errors import TrainingError

_TOO_MANY = (
    'which of them belong to its rows is unknown: convert its recording again. If episodes behind it were '
    'left out, `restac-ros export` writes a data set without their frames'
)


class Pictures(Protocol):
    """Where images come from."""

    def camera(self, column: str, span: EpisodeRows, frame: int) -> UInt8[np.ndarray, 'H W 3']:
        """Return a camera's image of a frame, letterboxed to [224, 224, 3], RGB."""

    def touch(self, column: str, span: EpisodeRows, frame: int) -> UInt8[np.ndarray, '128 160 3']:
        """Return a tactile image of a frame, RGB."""

    def check(self, column: str) -> None:
        """Compare what is stored with the tables."""


class _VideoPlace(NamedTuple):
    file: VideoIndex
    first_frame: int
    begin_s: float


class StoredPictures:
    """Decodes images from a data set's own files. Travels to other processes; each opens its own files.

    Args:
        tables: of the data set.
    """

    def __init__(self, tables: Tables) -> None:
        self.__setstate__({'_tables': tables, '_videos': {}})

    def camera(self, column: str, span: EpisodeRows, frame: int) -> UInt8[np.ndarray, 'H W 3']:
        """Return a camera's image of a frame, letterboxed.

        Raises:
            TrainingError: it cannot be decoded, by its place.
        """
        return letterbox(self._decoded(column, span, frame))

    def touch(self, column: str, span: EpisodeRows, frame: int) -> UInt8[np.ndarray, '128 160 3']:
        """Return a tactile image of a frame.

        Raises:
            TrainingError: it cannot be decoded, or is of another size.
        """
        image = self._decoded(column, span, frame)
        if image.shape[:2] != TACTILE_SHAPE:
            raise TrainingError(
                f'{self._tables.root}: {column} of episode {span.index}, frame {frame}: found '
                f'{image.shape[:2]} px, expected {TACTILE_SHAPE}; tactile images are stored at that size'
            )
        return image

    def check(self, column: str) -> None:
        """Compare a column's videos, if it has some, with the tables, without decoding.

        Raises:
            TrainingError: a file is missing, holds another number of frames than its episodes, or shows them
                at other times.
            DatasetError: a file would lie outside the data set.
        """
        if self._is_video(column):
            self._places(column)

    def video_frame(self, column: str, span: EpisodeRows, frame: int) -> tuple[VideoIndex, int]:
        """Return the file of a video column that holds a frame, and the frame's number in it."""
        place = self._places(column)[span.index]
        return place.file, place.first_frame + frame

    def __getstate__(self) -> dict[str, Any]:
        """All but open files and what tables can be read again for."""
        return {'_tables': self._tables, '_videos': self._videos}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._tables: Tables = state['_tables']
        self._videos: dict[str, dict[int, _VideoPlace]] = state['_videos']
        self._pictures: dict[str, pa.ChunkedArray] = {}
        self._reader, self._opening = FrameReader(), threading.Lock()

    def _is_video(self, column: str) -> bool:
        return self._tables.info['features'][column]['dtype'] == 'video'

    def _decoded(self, column: str, span: EpisodeRows, frame: int) -> np.ndarray:
        if self._is_video(column):
            return self._reader.read(*self.video_frame(column, span, frame))
        row = int(self._tables.place_of_row[span.first + frame])
        data = np.frombuffer(self._encoded(column)[row].as_buffer(), np.uint8)
        image = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)
        if image is None:
            raise TrainingError(
                f'{self._tables.root}: {column} of episode {span.index}, frame {frame} is no whole picture'
            )
        return image

    def _encoded(self, column: str) -> pa.ChunkedArray:
        with self._opening:
            if column not in self._pictures:
                self._pictures[column] = read_pictures(self._tables.root, column)
            return self._pictures[column]

    def _places(self, column: str) -> dict[int, _VideoPlace]:
        with self._opening:
            if column not in self._videos:
                self._videos[column] = _video_places(self._tables, column)
            return self._videos[column]


def _video_places(tables: Tables, column: str) -> dict[int, _VideoPlace]:
    """Each episode's own file and place in it: the numbers of the data files are others."""
    indices: dict[Path, VideoIndex] = {}
    ends: dict[Path, int] = {}  # of the last episode in each file
    places: dict[int, _VideoPlace] = {}
    for span in tables.spans.values():
        path, begin_s = _video_file(tables, column, span)
        if path not in indices:
            indices[path] = VideoIndex.of(path)
        place = _VideoPlace(indices[path], round(begin_s * tables.fps), begin_s)
        ends[path] = max(ends.get(path, 0), place.first_frame + span.length)
        places[span.index] = place
    # Deleted episodes leave their frames in files that they shared with others.
    may_be_longer = len(ends) < len(places) and (tables.root / DELETED).is_file()
    for span in tables.spans.values():
        place = places[span.index]
        is_last = place.first_frame + span.length == ends[place.file.path]
        _check_frames(place, span, is_last and not may_be_longer)
        _check_stamps(place, span, tables.fps)
    return places


def _check_frames(place: _VideoPlace, span: EpisodeRows, ends_file: bool) -> None:
    """Refuse an episode that its file does not hold whole, or behind which the file wrongly goes on."""
    found, wanted = len(place.file), place.first_frame + span.length
    if place.first_frame >= 0 and (found == wanted or (found > wanted and not ends_file)):
        return
    remedy = _TOO_MANY if found > wanted else REPAIR_ADVICE
    raise TrainingError(
        f'{place.file.path}: found {found} frames, expected {wanted}: those of episode {span.index} begin at '
        f'{place.first_frame}; {remedy}'
    )


def _check_stamps(place: _VideoPlace, span: EpisodeRows, fps: int) -> None:
    """Refuse an episode with a frame that is not shown when its row says: another stands in its place."""
    file, first = place.file, place.first_frame
    shown_s = file.times[first : first + span.length] * file.unit_s
    wanted_s = place.begin_s + np.arange(span.length) / fps
    off = np.abs(shown_s - wanted_s) > 0.5 / fps
    if off.any():
        frame = int(np.argmax(off))
        raise TrainingError(
            f'{file.path}: episode {span.index}, frame {frame}: found it at {shown_s[frame]:.3f} s, expected '
            f'{wanted_s[frame]:.3f} s: images and rows are not of the same moments; {REPAIR_ADVICE}'
        )


def _video_file(tables: Tables, column: str, span: EpisodeRows) -> tuple[Path, float]:
    """The file that holds an episode's frames, and when the first of them is shown in it, seconds."""
    path = video_file(tables.root, tables.info, column, span.described).resolve()
    if not path.is_file():
        raise TrainingError(
            f'{path} is missing: bring the videos (`git lfs pull`, or copy the data set again)'
        )
    if tables.info['codebase_version'] == EARLIER_VERSION:
        return path, 0.0  # a file holds one episode
    return path, span.described[f'videos/{column}/from_timestamp']

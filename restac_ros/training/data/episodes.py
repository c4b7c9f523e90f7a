"""Recorded episodes as samples at random: what was seen at a frame, and what was done in the steps after."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float32, UInt8

from restac_ros.contract.schema import Contract
from restac_ros.dataset.dataset_files import dataset_contract, read_info
from restac_ros.dataset.features import action_prev_key
from restac_ros.framing.resize import TACTILE_SHAPE, letterbox
from restac_ros.framing.values import STATE_DIM, state_change
from restac_ros.training.data.tables import EpisodeRows, Tables, read_pictures, read_tables
from restac_ros.training.data.video_frames import FrameReader, VideoIndex
from restac_ros.training.errors import TrainingError

STATE, ACTION = 'observation.state', 'action'
SHORTEST = 2  # frames: an action needs a frame after it


class EpisodeSample(NamedTuple):
    """One frame of an episode and the actions that followed, raw units, nothing normalised.

    images:      camera stream -> uint8 [224, 224, 3] RGB, letterboxed
    tactile:     uint8 [128, 160, 3] RGB, or None for data without touch
    state:       float32 [7]: x y z [m], rotation [3] [rad], gripper opening [m]
    action_prev: float32 [7]: state minus the state one period earlier, zeros at the first frame
    actions:     float32 [T, 7] absolute; past the episode's end the last action stands, masked
    step_mask:   bool [T]: False for steps past the episode's end
    task:        what the robot shall do, in words
    episode, frame: where it is from
    """

    images: Mapping[str, UInt8[np.ndarray, 'H W 3']]
    tactile: UInt8[np.ndarray, '128 160 3'] | None
    state: Float32[np.ndarray, '7']
    action_prev: Float32[np.ndarray, '7']
    actions: Float32[np.ndarray, 'T 7']
    step_mask: Bool[np.ndarray, ' T']
    task: str
    episode: int
    frame: int


class _VideoPlace(NamedTuple):
    file: VideoIndex
    first_frame: int


@dataclass(frozen=True)
class Episodes:
    """The episodes of one data set under its contract. Opened by `open_episodes`.

    Attributes:
        tables: the numbers.
        contract: what the columns mean.
        action_prev: float32 [N, 7], of the data set or computed from its states.
    """

    tables: Tables
    contract: Contract
    action_prev: Float32[np.ndarray, 'N 7']
    cameras: Mapping[str, str]  # stream -> column
    tactile: str | None  # column
    _reader: FrameReader

    @property
    def name(self) -> str:
        """Directory of the data set, for messages and metrics."""
        return str(self.tables.root)

    @property
    def state(self) -> Float32[np.ndarray, 'N 7']:
        """States of all frames."""
        return self.tables.numbers[STATE]

    @property
    def actions(self) -> Float32[np.ndarray, 'N 7']:
        """Absolute actions of all frames."""
        return self.tables.numbers[ACTION]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the numbers and the contract."""
        return hashlib.sha256(f'{self.tables.digest()} {self.contract.digest()}'.encode()).hexdigest()

    def episode_key(self, index: int) -> str:
        """SHA-256 (hex) of one episode's states: the same in whichever data set and place it stands."""
        span = self.tables.spans[index]
        return hashlib.sha256(self.state[span.first : span.first + span.length].tobytes()).hexdigest()

    def sample(self, episode: int, frame: int, horizon: int) -> EpisodeSample:
        """Read one sample.

        Raises:
            TrainingError: a picture that cannot be decoded, by its place.
        """
        span = self.tables.spans[episode]
        if not 0 <= frame < span.length:
            raise TrainingError(
                f'{self.name}: episode {episode} has {span.length} frames, none is number {frame}'
            )
        row = span.first + frame
        steps = frame + np.arange(horizon)
        step_mask = steps < span.length
        rows = span.first + np.minimum(steps, span.length - 1)
        return EpisodeSample(
            images={name: self._camera(column, span, frame) for name, column in self.cameras.items()},
            tactile=None if self.tactile is None else self._picture(self.tactile, episode, frame),
            state=self.state[row],
            action_prev=self.action_prev[row],
            actions=self.actions[rows],
            step_mask=step_mask,
            task=self.tables.tasks[int(self.tables.task_of_row[row])],
            episode=episode,
            frame=frame,
        )

    def tactile_image(self, episode: int, frame: int) -> UInt8[np.ndarray, '128 160 3']:
        """Read the tactile image of one frame alone.

        Raises:
            TrainingError: data without touch, or a picture that cannot be decoded.
        """
        if self.tactile is None:
            raise TrainingError(f'{self.name}: found no tactile images, expected them')
        return self._picture(self.tactile, episode, frame)

    def _camera(self, column: str, span: EpisodeRows, frame: int) -> np.ndarray:
        if self.tables.info['features'][column]['dtype'] == 'image':
            return letterbox(self._decoded_picture(column, span.index, frame))
        place = self._videos[column][span.index]
        return letterbox(self._reader.read(place.file, place.first_frame + frame))

    def _picture(self, column: str, episode: int, frame: int) -> np.ndarray:
        image = self._decoded_picture(column, episode, frame)
        if image.shape[:2] != TACTILE_SHAPE:
            raise TrainingError(
                f'{self.name}: {column} of episode {episode}, frame {frame}: found {image.shape[:2]} px, '
                f'expected {TACTILE_SHAPE}; tactile images are stored at that size'
            )
        return image

    def _decoded_picture(self, column: str, episode: int, frame: int) -> np.ndarray:
        data = np.frombuffer(self._pictures[column][episode, frame].as_buffer(), np.uint8)
        image = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)
        if image is None:
            raise TrainingError(
                f'{self.name}: {column} of episode {episode}, frame {frame} is no whole picture'
            )
        return image

    @cached_property
    def _pictures(self) -> Mapping[str, Mapping[tuple[int, int], pa.BinaryScalar]]:
        columns = [column for column in self._image_columns if self._dtype(column) == 'image']
        return {column: read_pictures(self.tables.root, column) for column in columns}

    @cached_property
    def _videos(self) -> Mapping[str, Mapping[int, _VideoPlace]]:
        columns = [column for column in self._image_columns if self._dtype(column) == 'video']
        return {column: self._video_places(column) for column in columns}

    @property
    def _image_columns(self) -> list[str]:
        return [*self.cameras.values(), *([self.tactile] if self.tactile else [])]

    def _dtype(self, column: str) -> str:
        return self.tables.info['features'][column]['dtype']

    def _video_places(self, column: str) -> dict[int, _VideoPlace]:
        """Each episode's own file and place of it: the numbers of the data files are others."""
        indices: dict[Path, VideoIndex] = {}
        places = {}
        for span in self.tables.spans.values():
            path, first = _video_file(self.tables, column, span)
            if path not in indices:
                indices[path] = VideoIndex.of(path)
            index = indices[path]
            if first + span.length > len(index):
                raise TrainingError(
                    f'{path}: found {len(index)} frames, expected {first + span.length}: those of episode '
                    f'{span.index} begin at {first}; `restac-ros repair` tells'
                )
            places[span.index] = _VideoPlace(index, first)
        return places

    def check_videos(self) -> None:
        """Compare every video with its table, without decoding.

        Raises:
            TrainingError: a file is missing, or has fewer frames than its episodes.
        """
        _ = self._videos


def open_episodes(root: Path, contract: Contract | None = None) -> Episodes:
    """Open a LeRobot data set for training.

    Args:
        root: v3.0 or v2.1, of this package or of LeRobot.
        contract: names the image columns (`feature` of each camera and tactile stream) and the meaning of the
            numbers; None takes the data set's own.

    Raises:
        TrainingError: data and contract disagree, or rows, columns or videos do.
        DatasetError: a file is damaged, or there is no contract.
    """
    root = root.expanduser().resolve()
    contract = contract or dataset_contract(root)
    columns = read_info(root).get('features', {})
    previous_key = action_prev_key(columns)
    stored = [name for name in (STATE, ACTION, previous_key) if name in columns or name != previous_key]
    tables = read_tables(root, dict.fromkeys(stored, STATE_DIM))
    _check_contract(tables, contract)
    cameras = {name: stream.feature for name, stream in contract.by_role('camera').items()}
    touch = [stream.feature for stream in contract.by_role('tactile').values()]
    _check_images(tables, cameras, touch)
    short = [span.index for span in tables.spans.values() if span.length < SHORTEST]
    if short:
        raise TrainingError(
            f'{root}: found {len(short)} episodes shorter than {SHORTEST} frames, expected none: '
            f'{short[:10]}; take them out with `restac-ros delete`'
        )
    previous = tables.numbers.get(previous_key)
    if previous is None:
        previous = _previous_of_states(tables, contract)
    present = {name: column for name, column in cameras.items() if column in columns}
    tactile = touch[0] if touch and touch[0] in columns else None
    return Episodes(tables, contract, previous, present, tactile, FrameReader())


def chosen(episodes: Episodes, wanted: Sequence[int] | None) -> list[int]:
    """Episode numbers asked for, or all.

    Raises:
        TrainingError: a number that is not in the data set.
    """
    known = list(episodes.tables.spans)
    unknown = sorted(set(wanted or ()) - set(known))
    if unknown:
        raise TrainingError(
            f'{episodes.name}: found no episode {unknown}, expected numbers from {known[0]} to {known[-1]}'
        )
    return known if wanted is None else sorted(set(wanted))


def _previous_of_states(tables: Tables, contract: Contract) -> np.ndarray:
    """What recording stores, computed from stored states: zeros at each episode's first frame."""
    state = tables.numbers[STATE]
    previous = np.zeros_like(state)
    for span in tables.spans.values():
        rows = slice(span.first, span.first + span.length)
        own = state[rows]
        previous[rows][1:] = state_change(contract, own[1:], own[:-1])
    return previous


def _check_contract(tables: Tables, contract: Contract) -> None:
    if tables.fps != contract.fps:
        raise TrainingError(
            f'{tables.root}: found {tables.fps} frames/s, expected {contract.fps} by the contract; '
            'give the contract that the data were recorded under'
        )


def _check_images(tables: Tables, cameras: Mapping[str, str], touch: Sequence[str]) -> None:
    features = tables.info['features']
    present = [column for column in cameras.values() if column in features]
    if not present:
        images = [name for name, feature in features.items() if feature['dtype'] in ('image', 'video')]
        raise TrainingError(
            f'{tables.root}: found image columns {images}, expected some of {list(cameras.values())}: '
            'name them as `feature` of the cameras in a contract and give it with --contract'
        )
    for column in (*present, *(column for column in touch if column in features)):
        if (dtype := features[column]['dtype']) not in ('image', 'video'):
            raise TrainingError(f'{tables.root}: {column}: found {dtype}, expected image or video')


def _video_file(tables: Tables, column: str, span: EpisodeRows) -> tuple[Path, int]:
    """The file that holds an episode's frames, and the number of the first of them in it."""
    info, described = tables.info, span.described
    if info['codebase_version'] == 'v2.1':
        chunk = span.index // int(info.get('chunks_size', 1000))
        name = info['video_path'].format(video_key=column, episode_chunk=chunk, episode_index=span.index)
        first = 0
    else:
        name = info['video_path'].format(
            video_key=column,
            chunk_index=described[f'videos/{column}/chunk_index'],
            file_index=described[f'videos/{column}/file_index'],
        )
        first = round(described[f'videos/{column}/from_timestamp'] * tables.fps)
    path = (tables.root / name).resolve()
    if not path.is_relative_to(tables.root):
        raise TrainingError(f'{tables.root}: meta/info.json places videos outside the data set: {name}')
    if not path.is_file():
        raise TrainingError(
            f'{path} is missing: bring the videos (`git lfs pull`, or copy the data set again)'
        )
    return path, first

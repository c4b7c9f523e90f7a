"""Recorded episodes as samples at random: observation of a frame, and actions of the steps after it."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from restac_ros.contract.schema import Contract
from restac_ros.dataset.dataset_files import OWN_CONTRACT, dataset_contract, is_dataset, read_info
from restac_ros.dataset.features import action_prev_key
from restac_ros.framing.values import STATE_DIM, state_change
from restac_ros.training.data.agreement import check_agreement
from restac_ros.training.data.pictures import Pictures, StoredPictures
from restac_ros.training.data.tables import Tables, read_tables
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
    subtask:     the part of it that this frame belongs to; None where the data set states none
    episode, frame: where it is from
    """

    images: Mapping[str, UInt8[np.ndarray, 'H W 3']]
    tactile: UInt8[np.ndarray, '128 160 3'] | None
    state: Float32[np.ndarray, '7']
    action_prev: Float32[np.ndarray, '7']
    actions: Float32[np.ndarray, 'T 7']
    step_mask: Bool[np.ndarray, ' T']
    task: str
    subtask: str | None
    episode: int
    frame: int


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
    pictures: Pictures

    @property
    def name(self) -> str:
        """Directory of the data set, for messages and metrics."""
        return str(self.tables.root)

    @property
    def identity(self) -> str:
        """Name and fingerprint, as checkpoints keep them: they are passed on, its folder need not be."""
        return f'{self.tables.root.name} {self.fingerprint}'

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

    @property
    def image_columns(self) -> list[str]:
        """Columns of cameras and touch."""
        return [*self.cameras.values(), *([self.tactile] if self.tactile else [])]

    def check_videos(self) -> None:
        """Compare every video with its table, without decoding.

        Raises:
            TrainingError: a file is missing, holds another number of frames than its episodes, or shows them
                at other times.
        """
        for column in self.image_columns:
            self.pictures.check(column)

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
            images={name: self.pictures.camera(column, span, frame) for name, column in self.cameras.items()},
            tactile=None if self.tactile is None else self.pictures.touch(self.tactile, span, frame),
            state=self.state[row],
            action_prev=self.action_prev[row],
            actions=self.actions[rows],
            step_mask=step_mask,
            task=self.tables.tasks[int(self.tables.task_of_row[row])],
            subtask=self.tables.subtask(row),
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
        return self.pictures.touch(self.tactile, self.tables.spans[episode], frame)


def open_episodes(
    root: Path, contract: Contract | None = None, otherwise: Contract | None = None
) -> Episodes:
    """Open a LeRobot data set for training.

    Args:
        root: v3.0 or v2.1, of this package or of LeRobot.
        contract: names the image columns (`feature` of each camera and tactile stream) and the meaning of the
            numbers; None: the data set's own.
        otherwise: contract for a data set that has none, as LeRobot makes.

    Raises:
        TrainingError: data and contract disagree, or rows and columns do. Videos are not checked: see
            `Episodes.check_videos`.
        DatasetError: a file is damaged, or there is no contract.
    """
    root = root.expanduser().resolve()
    if otherwise is not None and is_dataset(root) and not (root / OWN_CONTRACT).is_file():
        contract = contract or otherwise
    contract = contract or dataset_contract(root)
    columns = read_info(root).get('features', {})
    previous_key = action_prev_key(columns)
    stored = [name for name in (STATE, ACTION, previous_key) if name in columns or name != previous_key]
    tables = read_tables(root, dict.fromkeys(stored, STATE_DIM))
    cameras = {name: stream.feature for name, stream in contract.by_role('camera').items()}
    touch = [stream.feature for stream in contract.by_role('tactile').values()]
    check_agreement(tables, contract, cameras, touch)
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
    return Episodes(tables, contract, previous, present, tactile, StoredPictures(tables))


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

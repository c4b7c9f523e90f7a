"""What Unit-Align learns from: tactile images, and the views and motion that should have predicted them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int, UInt8

from restac_ros.model.observation import CAMERA_SLOTS
from restac_ros.training.batch import Array
from restac_ros.training.data.episodes import Episodes
from restac_ros.training.errors import TrainingError


class TouchBatch(NamedTuple):
    """Inputs of Unit-Align, pixels as bytes. B is the batch, V the views in the order of CAMERA_SLOTS."""

    tactile: UInt8[Array, 'B h w 3']
    views: UInt8[Array, 'B V H W 3'] | None  # None where only the tactile image is read
    action_prev: Float[Array, 'B 7']  # raw units
    source: Int[Array, ' B']  # which data set
    place: Int[Array, 'B 2']  # episode and frame, to name a sample that something is wrong with


@dataclass(frozen=True)
class TouchSource:
    """Frames of one data set as batches of one, by their place in `places`.

    Attributes:
        episodes: the data set.
        places: episode and frame of each sample, [n, 2].
        number: of the data set in the mixture.
        reads_views: false leaves the videos closed.
    """

    episodes: Episodes
    places: Int[np.ndarray, 'n 2']
    number: int
    reads_views: bool = True

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> TouchBatch:
        episode, frame = self.places[index].tolist()
        row = self.episodes.tables.spans[episode].first + frame
        views, tactile = None, None
        if self.reads_views:
            sample = self.episodes.sample(episode, frame, 1)
            views, tactile = self._views(sample.images), sample.tactile
        if tactile is None:
            tactile = self.episodes.tactile_image(episode, frame)
        return TouchBatch(
            tactile=tactile[None],
            views=views,
            action_prev=self.episodes.action_prev[row][None],
            source=np.array([self.number], np.int32),
            place=np.array([[episode, frame]], np.int32),
        )

    def _views(self, images: Mapping[str, np.ndarray]) -> np.ndarray:
        by_slot: dict[str, np.ndarray] = {
            stream.slot: images[name] for name, stream in self.episodes.contract.by_role('camera').items()
        }
        return np.stack([by_slot[slot] for slot in CAMERA_SLOTS])[None]

    def joined(self, rows: Sequence[TouchBatch]) -> TouchBatch:
        """Return one batch of several."""
        batch: TouchBatch = jax.tree.map(lambda *values: np.concatenate(values), *rows)
        return batch


def check_touch_data(episodes: Episodes) -> None:
    """Refuse data that a tactile prior cannot be learnt from.

    Raises:
        TrainingError: no tactile images, a camera of the prior is missing, or videos and table disagree.
    """
    if episodes.tactile is None:
        raise TrainingError(
            f'{episodes.name}: found no tactile images, expected them: record with a tactile stream, or name '
            'its column in a contract and give it with --contract'
        )
    cameras = episodes.contract.by_role('camera')
    present = {stream.slot for name, stream in cameras.items() if name in episodes.cameras}
    if missing := [slot for slot in CAMERA_SLOTS if slot not in present]:
        raise TrainingError(
            f'{episodes.name}: found no images for {missing}, expected all of {list(CAMERA_SLOTS)}: the '
            'tactile prior reads every camera'
        )
    episodes.check_videos()

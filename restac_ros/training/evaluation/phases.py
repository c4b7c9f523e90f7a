"""Which frames are evaluated, and what was going on in each: free, in contact, or the gripper moving."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from restac_ros.training.data.episodes import Episodes
from restac_ros.training.data.lessons import is_stated
from restac_ros.training.errors import TrainingError

GRIPPER = 6  # place of the opening in states and actions
GRIPPER_EVENT_M = 0.005
"""An opening that changes by more within the executed steps is an event of the gripper."""

PHASE_FREE, PHASE_CONTACT, PHASE_GRIPPER, PHASE_ALL = 'free', 'contact', 'gripper event', 'all'


@dataclass(frozen=True)
class ChosenFrames:
    """Frames to evaluate, in order.

    Attributes:
        places: episode and frame of each, [n, 2].
        weights: how many frames of the data each stands for.
        contact: whether the sensor touched something; None for data without touch.
        gripper: whether the opening changes within the executed steps.
    """

    places: Int[np.ndarray, 'n 2']
    weights: Float[np.ndarray, ' n']
    contact: Bool[np.ndarray, ' n'] | None
    gripper: Bool[np.ndarray, ' n']

    def __len__(self) -> int:
        return len(self.places)

    @property
    def episodes(self) -> Int[np.ndarray, ' n']:
        """Episode of each frame."""
        return self.places[:, 0]

    def phase_weights(self) -> dict[str, Float[np.ndarray, ' n']]:
        """Weights of the frames of each phase, 0 elsewhere; a phase without frames is left out."""
        masks = {PHASE_ALL: np.ones(len(self), bool)}
        if self.contact is not None:
            masks |= {PHASE_FREE: ~self.contact, PHASE_CONTACT: self.contact}
        masks[PHASE_GRIPPER] = self.gripper
        return {name: np.where(mask, self.weights, 0.0) for name, mask in masks.items() if mask.any()}


def choose_frames(
    episodes: Episodes,
    numbers: Sequence[int],
    contact: Mapping[int, Bool[np.ndarray, ' frames']] | None,
    most: int,
    executed: int,
    *,
    stated: bool = False,
) -> ChosenFrames:
    """Choose frames evenly: of more than `most`, half in contact and half in free space, where possible.

    Args:
        episodes: the data set.
        numbers: which episodes.
        contact: by episode and frame; None for data without touch.
        most: largest number of frames.
        executed: steps of a chunk within which an event of the gripper counts.
        stated: only frames whose subtask is stated.
    """
    places = np.concatenate(
        [
            np.stack([np.full(length, number), np.arange(length)], axis=1)
            for number in numbers
            for length in [episodes.tables.spans[number].length]
        ]
    )
    touching = None if contact is None else np.concatenate([contact[number] for number in numbers])
    gripper = np.concatenate([_gripper_events(episodes, number, executed) for number in numbers])
    if stated:
        kept = is_stated(episodes, places)
        if not kept.any():
            raise TrainingError(
                f'{episodes.name}: found no stated subtask in episodes {list(numbers)}, expected some: the '
                'network acts by them; state them with `restac-ros annotate`, or name other --episodes'
            )
        places, gripper = places[kept], gripper[kept]
        touching = None if touching is None else touching[kept]
    rows, weights = evenly(np.zeros(len(places), bool) if touching is None else touching, most)
    return ChosenFrames(places[rows], weights, None if touching is None else touching[rows], gripper[rows])


def evenly(
    contact: Bool[np.ndarray, ' N'], most: int
) -> tuple[Int[np.ndarray, ' n'], Float[np.ndarray, ' n']]:
    """Return rows, in order, and the number of rows that each stands for."""
    strata = [rows for rows in (np.flatnonzero(~contact), np.flatnonzero(contact)) if rows.size]
    small = sorted(strata, key=len)
    taken: list[np.ndarray] = []
    weights: list[np.ndarray] = []
    for number, rows in enumerate(small):
        room = (most - sum(map(len, taken))) // (len(small) - number)
        count = min(len(rows), max(room, 1))
        taken.append(rows[np.linspace(0, len(rows) - 1, count).round().astype(int)])
        weights.append(np.full(count, len(rows) / count))
    rows, weight = np.concatenate(taken), np.concatenate(weights)
    order = np.argsort(rows)
    return rows[order], weight[order]


def _gripper_events(episodes: Episodes, number: int, executed: int) -> Bool[np.ndarray, ' frames']:
    span = episodes.tables.spans[number]
    rows = slice(span.first, span.first + span.length)
    opening, target = episodes.state[rows, GRIPPER], episodes.actions[rows, GRIPPER]
    moved = np.zeros(span.length, bool)
    for step in range(min(executed, span.length)):
        change = np.abs(target[step:] - opening[: span.length - step])
        moved[: span.length - step] |= change > GRIPPER_EVENT_M
    return moved

"""Which frames of which episodes are trained on, and which are held out."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from restac_ros.training.data.episodes import Episodes
from restac_ros.training.errors import TrainingError
from restac_ros.training.norm_stats import delta_rule

IDLE_BELOW = np.array([1e-3, 1e-3, 1e-3, 1e-2, 1e-2, 1e-2, 1e-3])
"""m, rad, m: a chunk whose every delta and whose opening's change is below is idle."""


@dataclass(frozen=True)
class FrameSelection:
    """Frames as (episode, frame).

    Attributes:
        trained, validated: [n, 2]; episodes are on one side only.
        idle: share of frames left out as idle.
    """

    trained: Int[np.ndarray, 'n 2']
    validated: Int[np.ndarray, 'm 2']
    idle: float

    @property
    def trained_episodes(self) -> list[int]:
        """Numbers of the episodes that are trained on."""
        return np.unique(self.trained[:, 0]).tolist()


def is_held_out(key: str, share: float) -> bool:
    """Whether an episode is for validation: by a hash of its content, so that it stays on its side."""
    return int(hashlib.sha256(f'validation {key}'.encode()).hexdigest()[:8], 16) < share * 2**32


def select(
    episodes: Episodes, numbers: Sequence[int], horizon: int, validation_share: float, *, skip_idle: bool
) -> FrameSelection:
    """Choose frames of the given episodes.

    Raises:
        TrainingError: nothing is left to train on.
    """
    sides: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    frames = idle_frames = 0
    for number in numbers:
        length = episodes.tables.spans[number].length
        kept = np.ones(length, bool)
        if skip_idle:
            kept = ~idle(episodes, number, horizon)
            idle_frames += int((~kept).sum())
        frames += length
        places = np.stack([np.full(length, number), np.arange(length)], axis=1)[kept]
        sides[is_held_out(episodes.episode_key(number), validation_share)].append(places)
    trained, validated = (np.concatenate(side) if side else np.empty((0, 2), np.int64) for side in sides)
    if not trained.size:
        raise TrainingError(
            f'{episodes.name}: found no frame to train on among {len(numbers)} episodes (validation share '
            f'{validation_share:g}, {idle_frames} of {frames} frames idle); record more, or hold out less'
        )
    return FrameSelection(trained, validated, idle_frames / max(frames, 1))


def idle(episodes: Episodes, number: int, horizon: int) -> np.ndarray:
    """Frames whose chunk moves nothing, bool [frames]."""
    span = episodes.tables.spans[number]
    rows = slice(span.first, span.first + span.length)
    state, actions = episodes.state[rows], episodes.actions[rows]
    rule = delta_rule(episodes.contract)
    still = np.ones(span.length, bool)
    for step in range(min(horizon, span.length)):
        deltas = rule.deltas(actions[step:], state[: span.length - step])
        deltas[:, 6] -= state[: span.length - step, 6]
        still[: span.length - step] &= (np.abs(deltas) < IDLE_BELOW).all(axis=1)
    return still

"""Which frames of which episodes are trained on, and which are held out."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int

from restac_ros.dataset.quality.quality_file import read_verdicts
from restac_ros.training.config import DataConfig, LeastVerdict
from restac_ros.training.data.episodes import Episodes, chosen
from restac_ros.training.errors import TrainingError
from restac_ros.training.norm_stats import delta_rule

IDLE_BELOW = np.array([1e-3, 1e-3, 1e-3, 1e-2, 1e-2, 1e-2, 1e-3])
"""m, rad, m: a chunk whose every delta and whose opening's change is below is idle."""


@dataclass(frozen=True)
class FrameSelection:
    """Frames as (episode, frame).

    Attributes:
        trained, validated: [n, 2]; episodes are on one side only.
        trained_episodes: numbers of the episodes on the side that is trained on, idle ones among them:
            statistics are measured on these.
        refused: episodes left out for the verdict of the quality report.
        idle: share of frames left out as idle.
    """

    trained: Int[np.ndarray, 'n 2']
    validated: Int[np.ndarray, 'm 2']
    trained_episodes: tuple[int, ...]
    refused: tuple[int, ...]
    idle: float

    def __str__(self) -> str:
        text = f'{len(self.trained)} frames of {len(self.trained_episodes)} episodes'
        text += f', {len(self.validated)} frames held out, {self.idle:.1%} of frames idle and left out'
        if self.refused:
            text += f', {len(self.refused)} episodes left out by verdict: {list(self.refused)}'
        return text


def is_held_out(key: str, share: float) -> bool:
    """Whether an episode is for validation: by a hash of its content, so that it stays on its side."""
    return int(hashlib.sha256(f'validation {key}'.encode()).hexdigest()[:8], 16) < share * 2**32


def selection_of(episodes: Episodes, horizon: int, data: DataConfig) -> FrameSelection:
    """Choose frames of one data set as a run's settings say: by list, verdict, hold-out and motion.

    Raises:
        TrainingError: nothing is left to train on, an episode that is not there, or no verdicts where they
            are asked for.
    """
    numbers, refused = _by_verdict(episodes, chosen(episodes, data.episodes or None), data.verdict)
    found = select(episodes, numbers, horizon, data.validation_share, skip_idle=data.skip_idle)
    return replace(found, refused=tuple(refused))


def select(
    episodes: Episodes, numbers: Sequence[int], horizon: int, validation_share: float, *, skip_idle: bool
) -> FrameSelection:
    """Choose frames of the given episodes.

    Raises:
        TrainingError: nothing is left to train on.
    """
    sides: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    trained_episodes = []
    frames = idle_frames = 0
    for number in numbers:
        kept = np.ones(episodes.tables.spans[number].length, bool)
        if skip_idle:
            kept = ~idle(episodes, number, horizon)
        frames, idle_frames = frames + len(kept), idle_frames + int((~kept).sum())
        held_out = is_held_out(episodes.episode_key(number), validation_share)
        sides[held_out].append(np.stack([np.full(len(kept), number), np.arange(len(kept))], axis=1)[kept])
        if not held_out:
            trained_episodes.append(number)
    trained, validated = (np.concatenate(side) if side else np.empty((0, 2), np.int64) for side in sides)
    if not trained.size:
        raise TrainingError(
            f'{episodes.name}: found no frame to train on among {len(numbers)} episodes (validation share '
            f'{validation_share:g}, {idle_frames} of {frames} frames idle), expected some; record more, or '
            'leave out less'
        )
    return FrameSelection(trained, validated, tuple(trained_episodes), (), idle_frames / max(frames, 1))


def _by_verdict(episodes: Episodes, numbers: list[int], least: LeastVerdict) -> tuple[list[int], list[int]]:
    """The episodes whose verdict is good enough, and the others."""
    if least == 'any':
        return numbers, []
    found = read_verdicts(episodes.tables.root)
    if found.file is None or len(found.episodes) <= max(numbers):
        raise TrainingError(
            f'{episodes.name}: found verdicts on {len(found.episodes)} episodes, expected '
            f'{max(numbers) + 1}: run `restac-ros quality {episodes.name}`, or train with --data.verdict any'
        )
    enough = ('good',) if least == 'good' else ('good', 'usable')
    refused = [number for number in numbers if found.episodes[number] not in enough]
    return [number for number in numbers if number not in refused], refused


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

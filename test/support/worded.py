"""Small episodes with words in LeRobot's language columns."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from restac_ros.contract.schema import Contract
from restac_ros.dataset.features import ACTION_PREV, image_columns, stored_streams
from restac_ros.dataset.language import EpisodeWords, TimedText
from restac_ros.dataset.writer import appending
from restac_ros.framing.resize import IMAGE_SIZE

CAMERA = 'main'


def texts(*pairs: tuple[float, str]) -> tuple[TimedText, ...]:
    return tuple(TimedText(*pair) for pair in pairs)


def one_camera(contract: Contract) -> Contract:
    """The contract with every image but one camera's optional."""
    others = {name: contract.streams[name] for name in image_columns(contract) if name != CAMERA}
    optional = {name: stream.model_copy(update={'required': False}) for name, stream in others.items()}
    return contract.model_copy(update={'streams': {**contract.streams, **optional}})


def write_episode(
    root: Path, contract: Contract, words: EpisodeWords | None, frames: int = 10, task: str = 'tidy the table'
) -> int:
    """Append an episode of one camera in which the arm moves along x; return its number."""
    contract = one_camera(contract)
    column = image_columns(contract)[CAMERA]
    streams = stored_streams(contract, [column])
    state = np.array([0.5, 0.0, 0.1, np.pi, 0.0, 0.0, 0.04], np.float32)
    step = np.array([0.01, 0, 0, 0, 0, 0, 0], np.float32)
    with appending(root, contract, streams, task) as writer:
        for frame in range(frames):
            writer.add(
                {
                    column: np.full((IMAGE_SIZE, IMAGE_SIZE, 3), 20 * frame % 256, np.uint8),
                    'observation.state': state + frame * step,
                    'action': state + (frame + 1) * step,
                    ACTION_PREV: step * (frame > 0),
                    **{f'stamp_ns.{name}': np.array([frame], np.int64) for name in streams},
                    **{f'age_ns.{name}': np.array([0], np.int64) for name in streams},
                    **{f'valid.{name}': np.array([True]) for name in streams},
                }
            )
        if words is not None:
            writer.words = words
    return writer.index


def active(persistent: Sequence[dict], time_s: float, style: str = 'subtask') -> str | None:
    """The text of a style that holds at a time: the obvious twin of LeRobot's rule."""
    before = [row for row in persistent if row['style'] == style and row['timestamp'] <= np.float32(time_s)]
    return max(before, key=lambda row: row['timestamp'])['content'] if before else None

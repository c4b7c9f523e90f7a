"""Episodes of three tasks in three subtasks each, whose pictures tell the stage: an instrument for training.

The task is in the prompt, the stage in the pictures alone: a disc, a square or a bar in one of three colours,
anywhere and in any light. Who says the right subtask has read both. The arm goes to where the stage is drawn.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from restac_ros.contract.schema import Contract
from restac_ros.dataset.errors import DatasetError
from restac_ros.dataset.features import row_of, stored_streams
from restac_ros.dataset.language import EpisodeWords, TimedText
from restac_ros.dataset.writer import appending
from restac_ros.framing.resize import IMAGE_SIZE
from restac_ros.training.touch_task import draw_touch, drawn_frame

STAGED_TASKS: Mapping[str, tuple[str, str, str]] = {
    'make a cup of tea': ('fill the kettle', 'pour the water', 'drop the tea bag'),
    'pack the box': ('open the box', 'place the plug in the box', 'close the lid'),
    'clean the table': ('pick up the sponge', 'wipe the table', 'put the sponge away'),
}
SHORTEST_STAGE, LONGEST_STAGE = 4, 7  # frames
_COLOURS = ((200, 60, 50), (60, 170, 70), (60, 80, 200))  # of the stages
_SIZE_PX = (26, 52)
_NOISE_GREY_LEVELS = 3.0
_REACH_M = 0.05
_CENTRE = np.array([0.5, 0.0, 0.15, np.pi, 0.0, 0.0, 0.04])


class Staged(NamedTuple):
    """One frame: the stage, where it is drawn (0 .. 1 across and down), and the arm's state."""

    stage: int
    place: Float[np.ndarray, '2']
    state: Float[np.ndarray, '7']


def staged_episode(rng: np.random.Generator) -> list[Staged]:
    """Return the frames of one episode, its three stages one after another."""
    frames, here = [], rng.uniform(0, 1, 2)
    for stage in range(3):
        place = rng.uniform(0, 1, 2)
        count = int(rng.integers(SHORTEST_STAGE, LONGEST_STAGE + 1))
        for share in np.linspace(0, 1, count, endpoint=False):
            frames.append(Staged(stage, place, _state(here + (place - here) * share, rng)))
        here = place
    return frames


def make_subtask_task(root: Path, contract: Contract, episodes: int, seed: int = 0) -> Iterator[int]:
    """Write episodes to a new LeRobot data set, the tasks in turn; yields the number of each when it is in.

    Raises:
        DatasetError: there is something at `root`.
    """
    if root.exists():
        raise DatasetError(f'{root}: exists already, expected a new directory')
    streams = stored_streams(contract)
    tasks = list(STAGED_TASKS)
    for number in range(episodes):
        rng = np.random.default_rng((seed, number))
        task, frames = tasks[number % len(tasks)], staged_episode(rng)
        with appending(root, contract, streams, task) as writer:
            for index, frame in enumerate(frames[:-1]):
                before, after = frames[max(index - 1, 0)].state, frames[index + 1].state
                images = {name: draw_stage(frame, rng) for name in contract.by_role('camera')}
                images |= {name: draw_touch(None, rng) for name in contract.by_role('tactile')}
                drawn = drawn_frame(contract, index, images, frame.state, before)
                writer.add(row_of(contract, drawn, after, streams))
            begins = [next(i for i, frame in enumerate(frames) if frame.stage == stage) for stage in range(3)]
            writer.words = EpisodeWords(
                tuple(
                    TimedText(begin / contract.fps, text)
                    for begin, text in zip(begins, STAGED_TASKS[task], strict=True)
                )
            )
            writer.about = {'made_by': 'make-subtask-task', 'seed': seed, 'number': number}
        yield number


def draw_stage(frame: Staged, rng: np.random.Generator) -> UInt8[np.ndarray, '224 224 3']:
    """Return a picture of the stage: its shape in its colour, on grey of any brightness."""
    image = np.full((IMAGE_SIZE, IMAGE_SIZE, 3), rng.uniform(90, 160), np.float64)
    size = int(rng.integers(*_SIZE_PX))
    column, row = (round(float(size + share * (IMAGE_SIZE - 2 * size))) for share in frame.place)
    colour = tuple(float(value) for value in np.array(_COLOURS[frame.stage]) * rng.uniform(0.8, 1.1))
    match frame.stage:
        case 0:
            cv2.circle(image, (column, row), size, colour, -1)
        case 1:
            cv2.rectangle(image, (column - size, row - size), (column + size, row + size), colour, -1)
        case _:
            half = size // 3
            cv2.rectangle(image, (column - size, row - half), (column + size, row + half), colour, -1)
    return np.clip(image + rng.normal(0, _NOISE_GREY_LEVELS, image.shape), 0, 255).astype(np.uint8)


def _state(place: Float[np.ndarray, '2'], rng: np.random.Generator) -> Float[np.ndarray, '7']:
    """The arm above a place; angles and opening vary a little, so that no dimension stands still."""
    state = _CENTRE.copy()
    state[:2] += (place - 0.5) * 2 * _REACH_M
    state[2:] += rng.uniform(-1, 1, 5) * np.array([0.02, 0.05, 0.05, 0.05, 0.01])
    return state.astype(np.float32)

"""Episodes in which the right action depends on touch alone: a test instrument for training and evaluation.

A finger comes down and presses upon an edge; pressed to the full, it goes off to the side, and turns, by the
edge's angle in the tactile image, and comes back. While it presses, it only goes down: neither cameras nor
state nor the last motion show where it will go, nor does where on the gel the edge lies; only its angle does.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from restac_ros.contract.schema import Contract
from restac_ros.dataset.episode_notes import episode_notes, noted_episodes
from restac_ros.dataset.features import row_of, stored_streams
from restac_ros.dataset.writer import appending
from restac_ros.framing.frame import Frame, StreamStatus
from restac_ros.framing.resize import IMAGE_SIZE, TACTILE_SHAPE
from restac_ros.framing.values import state_change
from restac_ros.training.errors import TrainingError

TOUCH_TASK = 'feel the edge and go where it points'
LEVELS = (-1.0, -1.0 / 3.0, 1.0 / 3.0, 1.0)
"""Angles of the edge, of `EDGE_RAD`; how far the finger goes and turns is in proportion."""

EDGE_RAD = np.pi / 3
ASIDE_M, TURN_RAD = 0.06, 0.4
DOWN_M, EDGE_M, UP_M = 0.02, 0.04, 0.08  # heights: pressed to the full, first touch, free
APPROACH, PRESS, LEAVE = 6, 5, 3  # frames; the last approach of an episode finds nothing
TOUCHES = 4  # an episode
_AT_HEIGHT = np.array([0.02, 0.0, 0.06, 0.1, 0.1, 0.0, 0.02])  # free against pressed: slanting, tilted, open
_PRESSED = np.array([0.5, 0.0, DOWN_M, np.pi, 0.0, 0.0, 0.03])
_SPREAD = np.array([0.002, 0.005, 0.0, 0.01, 0.01, 0.02, 0.001])  # of where it comes down
_NOISE_GREY_LEVELS = 2.0
_EDGE_SHIFT_PX = 30.0
_LAMPS_RAD = np.array([0.0, 2.0, 4.0]) * np.pi / 3  # of red, green and blue light


@dataclass(frozen=True)
class Touchdown:
    """One frame of the task: pose, and the edge's angle when it is touched."""

    state: Float[np.ndarray, '7']
    edge: float | None


def episode(rng: np.random.Generator) -> list[Touchdown]:
    """Return the frames of one episode."""
    frames: list[Touchdown] = []
    here = _at(_somewhere(rng), UP_M)
    for _ in range(TOUCHES):
        place, edge = _somewhere(rng), float(rng.choice(LEVELS))
        touched, pressed, left = (_at(place, height) for height in (EDGE_M, DOWN_M, UP_M))
        left[[1, 5]] += edge * np.array([ASIDE_M, TURN_RAD])
        frames += [Touchdown(pose, None) for pose in _way(here, touched, APPROACH)]
        frames += [Touchdown(pose, edge) for pose in _way(touched, pressed, PRESS - 1)]
        frames.append(Touchdown(pressed, edge))
        frames += [Touchdown(pose, None) for pose in _way(pressed, left, LEAVE + 1)[1:]]
        here = left
    end = _at(_somewhere(rng), EDGE_M)
    return frames + [Touchdown(pose, None) for pose in _way(here, end, APPROACH + 1)]


def make_touch_task(root: Path, contract: Contract, episodes: int, seed: int = 0) -> Iterator[int]:
    """Write episodes to a new or existing LeRobot data set; yields the number of each when it is in.

    The episodes of a seed are a series, and one that is appended later is the next of it.

    Raises:
        TrainingError: a contract that has no tactile stream, or several.
        DatasetError: there is another data set at `root`.
    """
    streams = stored_streams(contract)
    touch = _only_touch(contract)
    first = _next_number(root, seed)
    for number in range(first, first + episodes):
        rng = np.random.default_rng((seed, number))
        frames = episode(rng)
        with appending(root, contract, streams, TOUCH_TASK) as writer:
            for index, frame in enumerate(frames[:-1]):
                before = frames[max(index - 1, 0)].state
                images = {
                    name: draw_cameras_view(name, frame.state, rng) for name in contract.by_role('camera')
                }
                images[touch] = draw_touch(frame.edge, rng)
                writer.add(
                    row_of(
                        contract,
                        drawn_frame(contract, index, images, frame.state, before),
                        frames[index + 1].state,
                        streams,
                    )
                )
            writer.about = {'made_by': 'make-touch-task', 'seed': seed, 'number': number}
        yield number


def _only_touch(contract: Contract) -> str:
    names = list(contract.by_role('tactile'))
    if len(names) != 1:
        raise TrainingError(
            f'contract {contract.name}: found {len(names)} tactile streams, expected one, which the task is '
            'felt by: name another contract with --contract'
        )
    return names[0]


def _next_number(root: Path, seed: int) -> int:
    """Return the number after the last episode of this seed that a data set holds."""
    notes = [episode_notes(root, index) for index in noted_episodes(root)]
    return max((about['number'] + 1 for about in notes if about.get('seed') == seed), default=0)


def draw_touch(edge: float | None, rng: np.random.Generator) -> UInt8[np.ndarray, '128 160 3']:
    """Return a gel lit from three sides, with a ridge across it where it is pressed.

    Each lamp shows the slopes that face it, so that the ridge's angle decides its colours.
    """
    rows, columns = np.mgrid[: TACTILE_SHAPE[0], : TACTILE_SHAPE[1]]
    base = np.stack(
        [110 + 25 * columns / TACTILE_SHAPE[1], 120 + 20 * rows / TACTILE_SHAPE[0], 130 - 0.1 * rows], axis=-1
    )
    if edge is not None:
        angle, shift = edge * EDGE_RAD, rng.uniform(-_EDGE_SHIFT_PX, _EDGE_SHIFT_PX)
        across = (columns - TACTILE_SHAPE[1] / 2) * np.cos(angle) + (rows - TACTILE_SHAPE[0] / 2) * np.sin(
            angle
        )
        offset = (across - shift) / 8.0
        slope = -offset * np.exp(-(offset**2) / 2)
        base += 90.0 * slope[..., None] * np.cos(angle - _LAMPS_RAD)
    return np.clip(base + rng.normal(0, _NOISE_GREY_LEVELS, base.shape), 0, 255).astype(np.uint8)


def draw_cameras_view(
    view: str, state: np.ndarray, rng: np.random.Generator
) -> UInt8[np.ndarray, '224 224 3']:
    """Draw a table and a finger over it for a state [7], from in front, from the side or from the wrist."""
    image = np.full((IMAGE_SIZE, IMAGE_SIZE, 3), (150, 140, 125), np.float64)
    image[170:] = (90, 100, 110)
    x, y, z = state[:3]
    across = {'side': x - 0.5}.get(view, y)
    column, row = round(112 + across * 900), round(165 - (z - DOWN_M) * 1500)
    if view == 'handeye':  # it moves with the hand: the table comes nearer
        image[round(120 + (z - DOWN_M) * 1000) :] = (90, 100, 110)
        column, row = 112, 120
    image[max(row - 60, 0) : row, max(column - 8, 0) : column + 8] = (40, 60, 190)
    return np.clip(image + rng.normal(0, _NOISE_GREY_LEVELS, image.shape), 0, 255).astype(np.uint8)


def drawn_frame(
    contract: Contract, index: int, images: dict[str, np.ndarray], state: np.ndarray, before: np.ndarray
) -> Frame:
    """Return frame `index` as recording makes it, of states [7], every stream sampled at its time."""
    time_ns = index * 10**9 // contract.fps
    status = StreamStatus(time_ns, time_ns, 0, valid=True)
    return Frame(
        time_ns=time_ns,
        images={name: images[name] for name in contract.by_role('camera')},
        tactile={name: images[name] for name in contract.by_role('tactile')},
        state=state,
        action_prev=state_change(contract, state, before).astype(np.float32),
        target=None,
        streams=dict.fromkeys(contract.streams, status),
        reasons=(),
    )


def _somewhere(rng: np.random.Generator) -> Float[np.ndarray, '7']:
    """A place to come down at, pressed to the full; no dimension stands still in the data."""
    return _PRESSED + rng.uniform(-1, 1, 7) * _SPREAD


def _at(place: Float[np.ndarray, '7'], height_m: float) -> Float[np.ndarray, '7']:
    """The pose over a place, by height."""
    return (place + _AT_HEIGHT * (height_m - DOWN_M) / (UP_M - DOWN_M)).astype(np.float32)


def _way(
    start: Float[np.ndarray, '7'], end: Float[np.ndarray, '7'], frames: int
) -> list[Float[np.ndarray, '7']]:
    """Return `frames` poses, evenly spaced, the first at `start`, the last one step before `end`."""
    return list(np.linspace(start, end, frames, endpoint=False).astype(np.float32))

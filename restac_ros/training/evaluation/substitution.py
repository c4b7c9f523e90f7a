"""Other tactile frames in place of the recorded ones: each way is a map from frames to frames of the data.

Everything else of an observation stays, so that a chunk which changes has changed by the tactile image alone.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Int

from restac_ros.training.errors import TrainingError
from restac_ros.training.evaluation.phases import ChosenFrames

REFERENCE, SHUFFLED, SENSOR_STOPPED, DELAYED = 'reference', 'shuffled', 'frozen', 'delayed'
SUBSTITUTIONS = {
    REFERENCE: "the episode's first frame without contact: what an untouched sensor shows",
    SHUFFLED: 'a frame of another episode in the same phase: contact for contact, free for free; any frame '
    'where no other episode has that phase',
    SENSOR_STOPPED: 'the last frame before the present contact or free stretch began: a sensor that stopped',
    DELAYED: 'a frame of some time before',
}
"""How each is read on the page."""

type ContactByEpisode = Mapping[int, Bool[np.ndarray, ' frames']]
"""Whether each frame is in contact, by episode."""


def substitutes(
    frames: ChosenFrames, contact: ContactByEpisode, delay: int, seed: int
) -> dict[str, Int[np.ndarray, 'n 2']]:
    """Return the place (episode, frame) whose tactile image is shown, by substitution and frame.

    Args:
        frames: those that are evaluated.
        contact: of all their episodes.
        delay: of 'delayed', in frames.
        seed: of 'shuffled'.

    Raises:
        TrainingError: an episode is in contact from end to end.
    """
    delayed = frames.places.copy()
    delayed[:, 1] = np.maximum(delayed[:, 1] - delay, 0)
    return {
        REFERENCE: np.array([(e, _first_free(contact, e)) for e in frames.episodes.tolist()]),
        SHUFFLED: strangers(frames, contact, seed),
        SENSOR_STOPPED: np.array([(e, _before_stretch(contact[e], f)) for e, f in frames.places.tolist()]),
        DELAYED: delayed,
    }


def strangers(frames: ChosenFrames, contact: ContactByEpisode, seed: int) -> Int[np.ndarray, 'n 2']:
    """Return for each frame a frame of another episode, in the same phase where there is one."""
    rng = np.random.default_rng(seed)
    numbers = np.unique(frames.episodes).tolist()
    found = []
    for episode, frame in frames.places.tolist():
        same = {e: np.flatnonzero(contact[e] == contact[episode][frame]) for e in numbers if e != episode}
        candidates = {e: rows for e, rows in same.items() if rows.size} or {
            e: np.arange(len(contact[e])) for e in same
        }
        other = list(candidates)[int(rng.integers(len(candidates)))]
        found.append((other, int(rng.choice(candidates[other]))))
    return np.array(found)


def _first_free(contact: ContactByEpisode, episode: int) -> int:
    free = np.flatnonzero(~contact[episode])
    if not free.size:
        raise TrainingError(
            f'episode {episode}: found contact in every frame, expected some free ones as the reference: '
            'leave it out, or give a column that labels contact'
        )
    return int(free[0])


def _before_stretch(contact: Bool[np.ndarray, ' frames'], frame: int) -> int:
    """The frame before the stretch of equal contact that holds `frame`; in the first stretch the first."""
    changes = np.flatnonzero(contact[1 : frame + 1] != contact[:frame])
    return int(changes[-1]) if changes.size else 0

"""Reference images of tactile sensors: what each shows of the grasp without contact, stored per episode.

A driver or simulator that knows it publishes it latched on `<topic of the sensor>/reference`; the journal
keeps it, and the conversion stores it as PNG in the episode's notes.
"""

import base64
from pathlib import Path

import cv2
import numpy as np

from restac_ros.contract.schema import Contract
from restac_ros.dataset.bag.bag_reader import Bag
from restac_ros.dataset.episode_notes import damaged_notes, episode_notes
from restac_ros.dataset.errors import DatasetError
from restac_ros.framing.errors import DecodeError
from restac_ros.framing.values import decode_value

REFERENCES = 'references'  # of an episode's notes: PNG in base64, by stream


def reference_topic(topic: str) -> str:
    """Return the topic of the reference image of the sensor on `topic`."""
    return f'{topic}/reference'


def recorded_references(
    bag: Bag, contract: Contract, start_ns: int, end_ns: int
) -> tuple[dict[str, str], list[str]]:
    """Return the reference in force of each tactile stream as a note, and what is wrong with others.

    In force in an episode from `start_ns` to `end_ns` is the last one received by its start, else the first
    one in it.
    """
    notes, faults = {}, []
    for stream, spec in contract.by_role('tactile').items():
        newest = None
        for message in bag.messages({reference_topic(spec.topic)}, stop_ns=end_ns):
            if newest is None or message.log_time_ns <= start_ns:
                newest = message
        if newest is None:
            continue
        try:
            notes[stream] = _as_text(decode_value(contract, stream, newest.cdr))
        except DecodeError as error:
            faults.append(f'{stream}: its reference image is left out: {error}')
    return notes, faults


def episode_references(root: Path, index: int) -> dict[str, np.ndarray]:
    """Return the reference image of each tactile stream of an episode, uint8 [128, 160, 3] RGB.

    Empty where none was recorded.

    Raises:
        DatasetError: the notes are damaged.
    """
    stored = episode_notes(root, index).get(REFERENCES, {})
    try:
        return {stream: _as_image(text) for stream, text in stored.items()}
    except (ValueError, TypeError, AttributeError, cv2.error) as error:
        raise damaged_notes(root, index, error) from error


def _as_text(image: np.ndarray) -> str:
    encoded, png = cv2.imencode('.png', cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    if not encoded:
        raise DatasetError(f'an image of shape {image.shape} could not be encoded as PNG')
    return base64.b64encode(png.tobytes()).decode('ascii')


def _as_image(text: str) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(base64.b64decode(text, validate=True), np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError('a reference image is no PNG')
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)

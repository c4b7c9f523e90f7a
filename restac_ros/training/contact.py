"""Which frames of an episode are in contact: by the change of the tactile image, or by a labelled column."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from restac_ros.dataset.quality.contact import ContactMeter, in_contact, looks_pressed
from restac_ros.training.data.episodes import Episodes
from restac_ros.training.data.tables import read_tables
from restac_ros.training.errors import TrainingError

_MOST_NAMED = 10  # episodes in a message


@dataclass(frozen=True)
class ContactLabels:
    """Contact in the frames of one episode.

    Attributes:
        in_contact: whether the sensor touches something, by frame.
        levels: change of the tactile image against the reference, grey levels of 255; None where a column
            gave the labels.
        threshold: level at which a contact begins; None likewise.
    """

    in_contact: Bool[np.ndarray, ' frames']
    levels: Float[np.ndarray, ' frames'] | None = None
    threshold: float | None = None


def contact_labels(
    episodes: Episodes, numbers: Sequence[int], column: str | None = None
) -> dict[int, ContactLabels]:
    """Label every frame of the given episodes.

    The reference of an episode is the median of its first steady frames (`ContactMeter`). An episode that
    begins in a steady contact would be read inside out: it needs a labelled column.

    Args:
        episodes: the data set.
        numbers: which episodes.
        column: numbers of the data set, 1 or true in contact and 0 or false in free space; None: measure the
            tactile images.

    Returns:
        By episode number.

    Raises:
        TrainingError: no tactile images, episodes without steady frames or whose first ones look pressed, or
            a column with other values.
    """
    if column is not None:
        return _labelled(episodes, numbers, column)
    measured = {number: _measured(episodes, number) for number in numbers}
    if pressed := [number for number, label in measured.items() if label is None]:
        shown = ', '.join(map(str, pressed[:_MOST_NAMED])) + (', ...' if len(pressed) > _MOST_NAMED else '')
        raise TrainingError(
            f'{episodes.name}: found {len(pressed)} of {len(measured)} episodes that begin in contact '
            f'({shown}), expected an untouched sensor first, as the reference: contact and its absence would '
            'be confused; name a column that labels contact with --contact-column, or leave these episodes '
            'out (evaluate: --episodes; else `restac-ros delete`)'
        )
    return {number: label for number, label in measured.items() if label is not None}


def _labelled(episodes: Episodes, numbers: Sequence[int], column: str) -> dict[int, ContactLabels]:
    if column not in (columns := episodes.tables.info['features']):
        raise TrainingError(
            f'{episodes.name}: found no column {column}, expected one of {", ".join(sorted(columns))}'
        )
    tables = read_tables(episodes.tables.root, {column: 1})
    values = tables.numbers[column][:, 0]
    if other := sorted({float(value) for value in values} - {0.0, 1.0}):
        raise TrainingError(
            f'{episodes.name}: column {column}: found {other[0]:g}, expected 0 or 1 (free, contact) in every '
            'frame'
        )
    spans = [tables.spans[number] for number in numbers]
    return {span.index: ContactLabels(values[span.first : span.first + span.length] == 1.0) for span in spans}


def _measured(episodes: Episodes, number: int) -> ContactLabels | None:
    """Return the labels of an episode; None where its reference looks pressed, as `quality` judges it."""
    meter = ContactMeter()
    length = episodes.tables.spans[number].length
    levels = np.full(length, np.nan)
    for frame in range(length):
        levels[frame] = _level(meter, episodes, number, frame)
    if meter.reference is None:
        raise TrainingError(
            f'{episodes.name}: episode {number}: found no steady tactile frames in a row among {length}, '
            'expected some before the first contact, as the reference; leave the episode out, or name a '
            'column that labels contact'
        )
    strongest = int(np.argmax(np.nan_to_num(levels)))
    if levels[strongest] >= meter.threshold and looks_pressed(
        meter.reference, episodes.tactile_image(number, strongest)
    ):
        return None
    for frame in np.flatnonzero(np.isnan(levels)).tolist():  # those before there was a reference
        levels[frame] = _level(meter, episodes, number, frame)
    return ContactLabels(in_contact(levels, meter.threshold), levels, meter.threshold)


def _level(meter: ContactMeter, episodes: Episodes, number: int, frame: int) -> float:
    level = meter.level(episodes.tactile_image(number, frame))
    return np.nan if level is None else level

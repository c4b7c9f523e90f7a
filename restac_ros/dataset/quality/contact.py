"""Measures contact of a GelSight: the change of its image against one without contact."""

from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np

REFERENCE_FRAMES = 5
_STRONGEST_SHARE = 0.01  # of the pixels: a small contact is not averaged away, single noisy pixels are
MIN_LEVEL = 10.0  # grey levels of 255; lamps and sensor noise stay below
NOISE_FACTOR = 3.0  # a noisier sensor needs more change than that
RELEASE_SHARE = 0.6  # of the threshold, at which a contact is over: no flicker at the edge
_SMOOTHED_PX = 2.0  # below it slopes are noise and the dots printed on a gel, above it imprints
_STEEPER = 2.0  # times the slopes of the other image: an imprint is in this one


@dataclass(frozen=True)
class Contact:
    """One contact: times in s from the first frame on; `peak` is its largest change in grey levels of 255."""

    stream: str
    start_s: float
    end_s: float
    peak: float
    peak_s: float


class ContactMeter:
    """Turns tactile images, in order, into contact levels.

    The reference is the median, per pixel and channel, of the first images in a row that agree with each
    other. They are assumed to be without contact: in an episode that begins in a steady contact, its end is
    reported as contact (see `looks_pressed`). Memory is bounded by `reference_frames`.
    """

    def __init__(self, reference_frames: int = REFERENCE_FRAMES) -> None:
        self.needed = reference_frames
        self.reference: np.ndarray | None = None  # uint8 [H, W, 3]
        self.noise = 0.0
        self._first: deque[np.ndarray] = deque(maxlen=reference_frames)

    @property
    def collected(self) -> int:
        """Number of images that the reference is made of, or is to be; all, and no reference: they differ."""
        return len(self._first) if self.reference is None else self.needed

    def restart(self) -> None:
        """Start anew: the next images are assumed to be without contact."""
        self.reference, self.noise = None, 0.0
        self._first.clear()

    def change(self, image: np.ndarray) -> np.ndarray | None:
        """Return the `pixel_change` of an image uint8 [H, W, 3]; None before there is a reference."""
        if self.reference is None:
            self._first.append(image)
            if len(self._first) == self.needed:
                self._try_reference()
            return None
        return pixel_change(image, self.reference)

    def level(self, image: np.ndarray) -> float | None:
        """Return the `contact_level` of an image uint8 [H, W, 3]; None before there is a reference."""
        change = self.change(image)
        return None if change is None else contact_level(change)

    def _try_reference(self) -> None:
        reference = np.median(np.stack(self._first), axis=0).astype(np.uint8)
        noise = max(contact_level(pixel_change(frame, reference)) for frame in self._first)
        if noise < MIN_LEVEL:
            self.reference, self.noise = reference, noise
            self._first.clear()

    @property
    def threshold(self) -> float:
        """Return the level from which on there is contact."""
        return max(MIN_LEVEL, NOISE_FACTOR * self.noise)


def looks_pressed(reference: np.ndarray, image: np.ndarray) -> bool:
    """Whether of two images [H, W, 3] that differ the reference, not the image, shows an imprint.

    An imprint has slopes, which a gel without contact has not: where the two differ by more than half of the
    largest difference, and around it, the mean square of the slopes is compared.
    """
    first, second = (
        cv2.GaussianBlur(each.astype(np.float32), (0, 0), _SMOOTHED_PX) for each in (reference, image)
    )
    change = np.abs(second - first).max(axis=-1)
    side_px = 2 * round(3 * _SMOOTHED_PX) + 1
    differs = cv2.dilate(
        (change > 0.5 * change.max()).astype(np.uint8), np.ones((side_px, side_px), np.uint8)
    )
    return _steepness(first, differs > 0) > _STEEPER * _steepness(second, differs > 0)


def _steepness(image: np.ndarray, where: np.ndarray) -> float:
    """Mean square of the slopes of an image [H, W, 3] where `where` [H, W] is true."""
    return float(sum((slope[where] ** 2).mean() for slope in np.gradient(image, axis=(0, 1))))


def pixel_change(image: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """|image - reference| of two uint8 [H, W, 3], in grey levels uint8 [H, W]: the channel that changed most.

    Channels are not averaged: three lamps of three colours light a GelSight from three sides, so that a
    slope shows in one channel and is lost in their mean.
    """
    red, green, blue = cv2.split(cv2.absdiff(image, reference))
    return cv2.max(cv2.max(red, green), blue)


def contact_level(change: np.ndarray) -> float:
    """Return the mean of a `pixel_change` over the 1 % of the gel that changed most, in grey levels."""
    count = max(1, round(_STRONGEST_SHARE * change.size))
    return float(np.partition(change, change.size - count, axis=None)[-count:].mean())


def is_contact(level: float, threshold: float, was_contact: bool) -> bool:
    """Whether a level belongs to a contact, which ends where the level falls below 60 % of `threshold`."""
    return level >= (RELEASE_SHARE * threshold if was_contact else threshold)


def in_contact(levels: np.ndarray, threshold: float) -> np.ndarray:
    """Whether each of the levels [N], in order, belongs to a contact; bool [N]. NaN (unknown) ends one.

    A contact begins where the level reaches `threshold` and ends where it falls below 60 % of it.
    """
    marks = np.zeros(len(levels), bool)
    touching = False
    for index, level in enumerate(levels.tolist()):
        touching = is_contact(level, threshold, touching)
        marks[index] = touching
    return marks


def contact_phases(stream: str, times_s: np.ndarray, levels: np.ndarray, threshold: float) -> list[Contact]:
    """Contacts in levels [N] (NaN: unknown, which ends a contact) at `times_s` [N]; see `in_contact`."""
    marks = np.concatenate([[False], in_contact(levels, threshold), [False]])
    edges = np.flatnonzero(marks[1:] != marks[:-1])
    phases: list[Contact] = []
    for begun, ended in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        peak = begun + int(np.argmax(levels[begun:ended]))
        start_s, end_s, peak_s = (round(float(times_s[row]), 4) for row in (begun, ended - 1, peak))
        phases.append(Contact(stream, start_s, end_s, round(float(levels[peak]), 2), peak_s))
    return phases

"""Closes short gaps in images by a declared rule: the last valid image is repeated, marked as not valid."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

from restac_ros.dataset.plan import EpisodePlan
from restac_ros.framing.frame import Frame


class UnusableFrameError(Exception):
    """A planned frame proved unusable when it was decoded."""


def checked_frames(made: Iterable[Frame], plan: EpisodePlan, streams: Collection[str]) -> Iterator[Frame]:
    """Yield the frames of a plan; those in its bridged gaps hold the last valid images.

    Raises:
        UnusableFrameError: another frame is not usable.
    """
    bridged = {gap.first - plan.first + tick for gap in plan.bridged for tick in range(gap.length)}
    before: Frame | None = None
    for index, frame in enumerate(made):
        invalid = [name for name in streams if not frame.streams[name].valid]
        if before is not None and index in bridged:
            frame = _with_images_of(before, frame, invalid)
        elif reasons := [*frame.reasons, *(f'{name}: {frame.streams[name].reason}' for name in invalid)]:
            raise UnusableFrameError(reasons[0])
        before = frame
        yield frame


def _with_images_of(before: Frame, frame: Frame, streams: Collection[str]) -> Frame:
    """Return a frame with these streams' images and capture times of the frame before."""
    statuses = dict(frame.streams)
    for name in streams:
        stamp_ns = before.streams[name].stamp_ns
        age_ns = None if stamp_ns is None else frame.time_ns - stamp_ns
        statuses[name] = replace(statuses[name], stamp_ns=stamp_ns, age_ns=age_ns)
    images = {name: image for name, image in before.images.items() if name in streams}
    tactile = {name: image for name, image in before.tactile.items() if name in streams}
    return replace(
        frame, images={**images, **frame.images}, tactile={**tactile, **frame.tactile}, streams=statuses
    )

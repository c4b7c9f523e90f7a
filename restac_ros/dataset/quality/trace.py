"""An episode as curves over time, from a recording or from a data set.

The quality report judges a Trace, its page draws it; neither knows where it came from.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from restac_ros.contract.schema import Contract
from restac_ros.dataset.freezes import Freeze
from restac_ros.dataset.quality.contact import Contact, ContactMeter, contact_phases, looks_pressed
from restac_ros.dataset.survey import Survey

STILLS = 8  # times in an episode of which images are kept


class Still(NamedTuple):
    """An image of a stream at a time from the first frame on, uint8 [H, W, 3] RGB."""

    stream: str
    time_s: float
    image: np.ndarray


class Silence(NamedTuple):
    """Nothing at all was received between these two times."""

    start_ns: int
    end_ns: int


@dataclass(frozen=True, eq=False)
class StreamMessages:
    """Messages of one stream.

    stamps_ns:   int64 [M], times of capture
    receives_ns: int64 [M], times of receipt; empty unless `complete`
    complete:    all messages; from a data set only the samples that frames used are known
    layouts:     messages by 'encoding WxH', or by format where compressed
    refusals:    messages by the decoder's reason
    freezes:     runs of identical images; None where images could not be examined
    """

    stamps_ns: np.ndarray
    receives_ns: np.ndarray
    complete: bool
    layouts: Mapping[str, int] = field(default_factory=dict)
    refusals: Mapping[str, int] = field(default_factory=dict)
    freezes: tuple[Freeze, ...] | None = ()


class TouchTrace(NamedTuple):
    """One tactile stream over the frames: change against its reference [N] in grey levels (NaN: unknown)."""

    levels: np.ndarray
    threshold: float
    reference: np.ndarray | None
    strongest: Still | None

    @property
    def is_inside_out(self) -> bool:
        """Whether the reference looks pressed: contact and its absence are then confused."""
        if self.reference is None or self.strongest is None:
            return False
        pressed = np.nanmax(self.levels, initial=0.0) >= self.threshold
        return bool(pressed) and looks_pressed(self.reference, self.strongest.image)


class TouchWatch:
    """Follows one tactile stream over the frames of an episode."""

    def __init__(self, stream: str) -> None:
        self._stream = stream
        self._meter = ContactMeter()
        self._levels: list[float] = []
        self._strongest: tuple[int, np.ndarray] | None = None  # row and image

    def add(self, image: np.ndarray | None) -> None:
        """Add the next frame's image uint8 [H, W, 3]; None where it has no valid one."""
        level = None if image is None else self._meter.level(image)
        self._levels.append(np.nan if level is None else level)
        if (
            image is not None
            and level
            and (self._strongest is None or level > self._levels[self._strongest[0]])
        ):
            self._strongest = len(self._levels) - 1, image

    def trace(self, time_ns: np.ndarray) -> TouchTrace:
        """Return the curve over the frames at `time_ns` int64 [N]."""
        strongest = None
        if self._strongest:
            row, image = self._strongest
            strongest = Still(self._stream, float(time_ns[row] - time_ns[0]) * 1e-9, image)
        reference = self._meter.reference
        shown = None if reference is None else reference.astype(np.uint8)
        return TouchTrace(np.array(self._levels), self._meter.threshold, shown, strongest)


@dataclass(frozen=True, eq=False)
class Trace:
    """An episode over its N frames.

    time_ns:  int64 [N]
    survey:   status of every stream in every frame, why frames are unusable, rates
    state:    float64 [N, 7], NaN where unknown
    action:   float64 [N, 7] of a data set, None for a recording
    damage:   what of the files could not be read
    silences: when nothing was received on any stream for so long that no frames were made
    clock_set_back_ns: how far the recorder's clock jumped back
    """

    contract: Contract
    source: str
    task: str
    time_ns: np.ndarray
    survey: Survey
    messages: Mapping[str, StreamMessages]
    state: np.ndarray
    action: np.ndarray | None
    touch: Mapping[str, TouchTrace]
    stills: tuple[Still, ...] = ()
    damage: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    silences: tuple[Silence, ...] = ()
    clock_set_back_ns: int = 0

    @property
    def start_ns(self) -> int:
        """Time of the first frame; 0 without any."""
        return int(self.time_ns[0]) if self.time_ns.size else 0

    @property
    def last_stamp_ns(self) -> int:
        """Newest capture time of any stream; 0 without a message."""
        stamps_ns = [seen.stamps_ns.max() for seen in self.messages.values() if seen.stamps_ns.size]
        return int(max(stamps_ns, default=0))

    @property
    def time_s(self) -> np.ndarray:
        """float64 [N] from the first frame on."""
        return (self.time_ns - self.start_ns) * 1e-9

    def seconds(self, time_ns: int) -> float:
        """A time from the first frame on."""
        return round(float(time_ns - self.start_ns) * 1e-9, 4)

    def ages_ms(self, stream: str) -> np.ndarray:
        """float64 [N]; NaN where nothing had been received."""
        ages_ns = (status[stream].age_ns for status in self.survey.statuses)
        return np.array([np.nan if age_ns is None else age_ns * 1e-6 for age_ns in ages_ns])

    def valid(self, stream: str) -> np.ndarray:
        """bool [N]."""
        return np.array([status[stream].valid for status in self.survey.statuses], bool)

    def contacts(self) -> list[Contact]:
        """Contact phases of all tactile streams."""
        return [
            phase
            for name, touch in self.touch.items()
            for phase in contact_phases(name, self.time_s, touch.levels, touch.threshold)
        ]

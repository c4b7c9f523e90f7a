"""An episode as curves: what its frames and its messages say over time, from a recording or from a data set.

The quality report judges a Trace, its page draws it; neither knows where it came from.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from restac_ros.contract.schema import Contract
from restac_ros.dataset.freezes import Freeze
from restac_ros.dataset.quality.contact import Contact, contact_phases, looks_pressed
from restac_ros.dataset.stream_watch import ImageLayout
from restac_ros.dataset.survey import Survey


class Still(NamedTuple):
    """A picture of a moment, uint8 [H, W, 3] RGB."""

    stream: str
    time_s: float
    image: np.ndarray


class Silence(NamedTuple):
    """Nothing at all was received between these two times."""

    start_ns: int
    end_ns: int


@dataclass(frozen=True, eq=False)
class StreamMessages:
    """Every message of one stream: capture and receive times int64 [M] in ns, and what was wrong with some.

    From a data set only the samples that frames used are known: then `complete` is False and `receives_ns` is
    empty. `refusals` are the decoder's reasons, `future` counts messages stamped after their receipt.
    `freezes` are runs of identical images; None where images could not be examined.
    """

    stamps_ns: np.ndarray
    receives_ns: np.ndarray
    complete: bool
    zero_stamps: int = 0
    unreadable: int = 0
    duplicates: int = 0
    out_of_order: int = 0
    future: int = 0
    layouts: Mapping[ImageLayout, int] = field(default_factory=dict)
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
        """Whether the reference looks pressed: contact and its absence are then taken for each other."""
        if self.reference is None or self.strongest is None:
            return False
        pressed = np.nanmax(self.levels, initial=0.0) >= self.threshold
        return bool(pressed) and looks_pressed(self.reference, self.strongest.image)


@dataclass(frozen=True, eq=False)
class Trace:
    """An episode over its N frames.

    time_ns:  int64 [N]
    survey:   status of every stream in every frame, why frames are unusable, rates
    state:    float64 [N, 7], NaN where unknown
    action:   float64 [N, 7] of a data set, None for a recording
    damage:   what of the files could not be read
    silences: when nothing came on any stream for so long that no frames were made
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

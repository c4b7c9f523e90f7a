"""Checks the frames of an episode while it is recorded, by the converter's rule."""

from collections.abc import Collection
from typing import NamedTuple

from restac_ros.contract.schema import Contract
from restac_ros.dataset.survey import Judge
from restac_ros.framing.grid import Grid
from restac_ros.framing.sample import Sample


class LostFrame(NamedTuple):
    """The first unusable frame of an episode: its time, s from the stretch's start, and the reason."""

    time_s: float
    reason: str


class TakeWatch:
    """Counts unusable frames after the first usable one; the converter cuts off those before it.

    `add` needs every sample, in the journal's order. `needed` are optional streams that the data set has.
    `first` is the first lost frame, `lost` counts all.
    """

    def __init__(self, contract: Contract, start_ns: int, needed: Collection[str] = ()) -> None:
        self.first: LostFrame | None = None
        self.lost = 0
        self._contract, self._needed = contract, needed
        self.begin(start_ns)

    def begin(self, start_ns: int) -> None:
        """Begin a stretch, which becomes an episode of its own."""
        self._judge, self._grid = Judge(self._contract, start_ns), Grid(start_ns, self._contract.fps)
        self._index = 0
        self._begun = False

    def add(self, sample: Sample) -> None:
        """Check the frames before a sample's receipt, then add the sample."""
        while (tick_ns := self._grid.tick_ns(self._index)) < sample.receive_ns:
            self._frame(tick_ns)
            self._index += 1
        self._judge.push(sample._replace(cdr=b''))

    def _frame(self, tick_ns: int) -> None:
        frame = self._judge.frame_at(tick_ns)
        statuses = ((name, frame.streams[name]) for name in self._needed)
        reasons = [
            *frame.reasons,
            *(f'{name}: {found.reason}' for name, found in statuses if not found.valid),
        ]
        if not reasons:
            self._begun = True
        elif self._begun:
            self.lost += 1
            self.first = self.first or LostFrame((tick_ns - self._grid.start_ns) * 1e-9, reasons[0])

"""Runs the cell in simulated time, and yields what its drivers publish when they publish it."""

import heapq
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from restac_ros.contract.schema import Contract
from restac_ros.geometry.pose import Pose
from restac_ros.sim.cell.cell import Cell
from restac_ros.sim.cell.cell_sensors import CellSensors
from restac_ros.sim.cell.parameters import CellError
from restac_ros.sim.driver_timing import DriverTimes, driver_times

TICK_NS = 5_000_000
TOUCH_N = 0.5  # a contact force above this counts as contact
_QUATERNION_TOLERANCE = 0.01
HOLD_NS = 1_000_000_000  # an insertion is over when the plug has been in for so long


class DriverReading(NamedTuple):
    """A message of a stream, or a tick of the clock where `stream` is None; times are after the start, ns."""

    publish_ns: int
    stream: str | None
    stamp_ns: int
    value: np.ndarray | Pose | None


@dataclass
class CellOutcome:
    """What happened so far; times are after the beginning in s, None where it did not happen.

    Attributes:
        inserted_s: from when on the plug has been in the hole; None while it is not.
        inserted: whether it has been in for `HOLD_NS`.
    """

    touched_s: float | None = None
    inserted_s: float | None = None
    inserted: bool = False
    peak_n: float = 0.0
    refused: int = 0


class CellLoop:
    """Commands may come from any thread; everything else belongs to the thread that iterates `readings`.

    Attributes:
        outcome: of the present insertion.
        refused: called with the text of a command that the cell refuses.
    """

    def __init__(
        self,
        contract: Contract,
        cell: Cell,
        sensors: CellSensors,
        seed: int,
        is_needed: Callable[[str, int, int], bool] = lambda name, publish_ns, next_ns: True,
    ) -> None:
        """`is_needed` decides whether a message of a stream is made.

        It gets the stream, when the message is published and when the next one is, ns after the start.
        """
        self._is_needed = is_needed
        self.cell, self.sensors = cell, sensors
        self.outcome = CellOutcome()
        self.refused: Callable[[str], object] = lambda text: None
        self._contract, self._seed = contract, seed
        self._commands: deque[Callable[[], None]] = deque()
        self._step_ns = round(cell.parameters.step_s * 1e9)
        self._now_ns = 0
        self._begun_ns = 0
        self._inserted_ns: int | None = None

    def post(self, command: Callable[[], None]) -> None:
        """Have a command executed before the next step of the physics; it may raise CellError."""
        self._commands.append(command)

    def follow(self, tool: Pose) -> None:
        """Have the tool follow a target in the base frame."""
        self.post(lambda: self._follow(tool))

    def grip(self, opening_m: float) -> None:
        """Have the gripper move to an opening in m."""
        self.post(lambda: self.cell.grip(opening_m))

    @property
    def complete(self) -> bool:
        """Whether the plug has been in the hole for `HOLD_NS`."""
        return self.outcome.inserted

    def begin_anew(self) -> None:
        """Forget the outcome, as after `Cell.reset`."""
        self.outcome = CellOutcome()
        self._begun_ns, self._inserted_ns = self._now_ns, None

    def readings(self) -> Generator[DriverReading]:
        """Yield messages and ticks in order of publication, without end; each is simulated when asked for.

        Closes the sensors when it is closed.
        """
        try:
            yield from self._readings()
        finally:
            self.sensors.close()

    def _readings(self) -> Iterator[DriverReading]:
        times = {
            name: driver_times(name, self._contract.streams[name], self._seed)
            for name in self.sensors.streams
        }
        captures: list[tuple[int, str, DriverTimes]] = []
        for name, each in times.items():
            first = next(each)
            heapq.heappush(captures, (first.capture_ns, name, first))
        waiting: list[tuple[int, int, DriverReading]] = []
        count, tick_ns = 0, 0
        while True:
            capture_ns, name, due = captures[0]
            while waiting and waiting[0][0] <= min(capture_ns, tick_ns):
                yield heapq.heappop(waiting)[2]
            if tick_ns <= capture_ns:
                self._advance(tick_ns)
                self._observe()
                yield DriverReading(tick_ns, None, tick_ns, None)
                tick_ns += TICK_NS
                continue
            self._advance(capture_ns)
            following = next(times[name])
            if self._is_needed(name, due.publish_ns, following.publish_ns):
                reading = DriverReading(due.publish_ns, name, due.stamp_ns, self.sensors.read(name))
                count += 1
                heapq.heappush(waiting, (due.publish_ns, count, reading))
            else:
                self.sensors.skip(name)
            heapq.heapreplace(captures, (following.capture_ns, name, following))

    def _follow(self, tool: Pose) -> None:
        norm = float(np.linalg.norm(tool.quaternion_xyzw))
        if not tool.finite or abs(norm - 1.0) > _QUATERNION_TOLERANCE:
            raise CellError(
                f'the target is {tool}; expected finite numbers and a unit quaternion, norm {norm:.3g}'
            )
        self.cell.follow(self.sensors.hand_of_tool(tool))

    def _advance(self, until_ns: int) -> None:
        while self._now_ns + self._step_ns <= until_ns:
            while self._commands:
                try:
                    self._commands.popleft()()
                except CellError as error:
                    self.outcome.refused += 1
                    self.refused(str(error))
            self.cell.step(1)
            self._now_ns += self._step_ns

    def _observe(self) -> None:
        state, outcome = self.cell.state(), self.outcome
        time_s = (self._now_ns - self._begun_ns) * 1e-9
        outcome.peak_n = self.cell.peak_n
        if outcome.touched_s is None and self.cell.peak_n > TOUCH_N:
            outcome.touched_s = time_s
        if not state.inserted:
            self._inserted_ns = outcome.inserted_s = None
        elif self._inserted_ns is None:
            self._inserted_ns = self._now_ns
            outcome.inserted_s = time_s
        held_ns = 0 if self._inserted_ns is None else self._now_ns - self._inserted_ns
        outcome.inserted = held_ns >= HOLD_NS

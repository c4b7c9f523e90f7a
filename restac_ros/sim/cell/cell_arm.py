"""The cell behind a virtual arm's interface: simulated up to the time of each call."""

import numpy as np

from restac_ros.contract.schema import Contract
from restac_ros.geometry.pose import Pose
from restac_ros.sim.cell.cell import Cell
from restac_ros.sim.cell.cell_sensors import CellSensors, SensorSizes
from restac_ros.sim.cell.parameters import CellError, CellScene

AWAY_M = (0.5, 0.0, 0.4)  # where the tool starts: far from what it could touch


class CellArm:
    """A cell that starts with its tool at `AWAY_M`. Cameras are to be read by one thread.

    Commands that the cell refuses are ignored, as by a controller; set-points of a streamer never are any.
    """

    def __init__(self, contract: Contract, now_ns: int, seed: int, cameras: bool, sizes: SensorSizes) -> None:
        """Open the cell; raises what `CellSensors` raises."""
        self._scene = CellScene(start_m=AWAY_M)
        self._cell = Cell(self._scene, limits=contract.limits)
        self._sensors = CellSensors(contract, self._cell, self._scene, seed, sizes, cameras)
        self._step_ns = round(self._cell.parameters.step_s * 1e9)
        self._now_ns = now_ns
        self.refusal = ''

    def pose(self, now_ns: int) -> Pose:
        """Return the tool's pose in the base frame."""
        self._advance(now_ns)
        return self._sensors.tool_of_hand(self._cell.state().pose)

    def follow(self, set_point: Pose, now_ns: int) -> None:
        """Set the target of the tool, in mode move."""
        self._advance(now_ns)
        try:
            self._cell.follow(self._sensors.hand_of_tool(set_point))
        except CellError as error:
            self.refusal = str(error)

    def grip(self, opening_m: float, now_ns: int) -> None:
        """Move the gripper to an opening, m; the plug stays held: a drill tests the arm."""
        self._advance(now_ns)
        self._cell.grip(min(max(opening_m, 0.0), self._cell.parameters.plug.body_m[1]))

    def set_mode(self, mode: int, now_ns: int) -> None:
        """Change the mode, as in FrankaRobotState."""
        self._advance(now_ns)
        self._cell.set_mode(mode)

    def home(self, now_ns: int) -> None:
        """Stand where it started, at once; the mode stays."""
        self._advance(now_ns)
        mode = self._cell.mode
        self._cell.reset(self._scene)
        self._cell.set_mode(mode)

    def push(self, hand_n: np.ndarray, now_ns: int) -> None:
        """Apply the force of a hand to the tool, [3] in N in the base frame; zero releases it."""
        self._advance(now_ns)
        self._cell.push(hand_n)

    def reading(self, stream: str, now_ns: int) -> np.ndarray | Pose | None:
        """Return a stream's value, as `CellSensors.read`; None of a stream that the cell does not measure."""
        self._advance(now_ns)
        return self._sensors.read(stream) if stream in self._sensors.streams else None

    def _advance(self, now_ns: int) -> None:
        steps = max(0, now_ns - self._now_ns) // self._step_ns
        self._cell.step(steps)
        self._now_ns += steps * self._step_ns

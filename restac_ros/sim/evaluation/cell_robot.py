"""The simulated robot as the streamer knows it: what it measures, and what it is commanded."""

from restac_ros.contract.schema import Contract
from restac_ros.control.gripper import GripperRequest, OpeningCommands
from restac_ros.control.streaming import Measured, SetPoint
from restac_ros.control.supervisor import ROBOT_STATE, Health
from restac_ros.framing.sample import Sample
from restac_ros.framing.values import decode_value
from restac_ros.geometry import quaternion as quat
from restac_ros.geometry.pose import Pose
from restac_ros.sim.cell.cell_loop import CellLoop


class CellRobot:
    """Inputs and outputs of a `SetPointLoop` beside a `CellLoop`."""

    def __init__(self, contract: Contract, loop: CellLoop, gripper_deadband_m: float) -> None:
        self._contract, self._loop, self._commands = contract, loop, OpeningCommands(gripper_deadband_m)
        self._newest: dict[str, Sample] = {}

    def note(self, sample: Sample) -> None:
        """Keep the newest sample of each measured stream."""
        if sample.stream in (self._contract.pose_stream, self._contract.gripper_stream):
            self._newest[sample.stream] = sample

    def health(self, now_ns: int) -> Health:
        """Return the robot's mode, which is always known."""
        return Health(now_ns, ages_ns={ROBOT_STATE: 0}, robot_mode=self._loop.cell.mode)

    def measured(self, now_ns: int) -> Measured | None:
        """Return the newest pose of the tool; None before the first."""
        sample = self._newest.get(self._contract.pose_stream)
        if sample is None:
            return None
        matrix = decode_value(self._contract, sample.stream, sample.cdr)
        pose = Pose(matrix[:3, 3], quat.from_matrix(matrix[:3, :3]))
        return Measured(sample.stamp_ns, pose, self._measured_opening_m(now_ns))

    def publish(self, point: SetPoint, now_ns: int) -> None:
        """Have the arm follow a set-point."""
        del now_ns
        self._loop.follow(point.pose)

    def grip(self, request: GripperRequest | None, now_ns: int) -> None:
        """Command the requested opening when the streamer would; None: it must not be commanded."""
        if request is None:
            self._commands.forget()
        elif self._commands.is_due(request.opening_m, now_ns):
            self._loop.grip(request.opening_m)

    def _measured_opening_m(self, now_ns: int) -> float | None:
        name = self._contract.gripper_stream
        sample = self._newest.get(name) if name else None
        if sample is None or now_ns - sample.stamp_ns > self._contract.streams[sample.stream].max_age_ns:
            return None
        return float(decode_value(self._contract, sample.stream, sample.cdr))

"""The drill's arm, thread-safe: receives set-points, produces a driver's messages, can be pushed."""

import threading
from collections.abc import Callable
from typing import Protocol

import numpy as np

from restac_ros.contract.schema import Contract
from restac_ros.framing.encode import driver_message
from restac_ros.geometry.pose import Offset, Pose
from restac_ros.sim.virtual_arm import VirtualArm

_ASTRAY_M, _ASTRAY_RAD = 0.25, 0.8


class SteppedArm(Protocol):
    """An arm that is simulated up to the time of each call: `VirtualArm`, or a whole cell."""

    def pose(self, now_ns: int) -> Pose: ...

    def follow(self, set_point: Pose, now_ns: int) -> None: ...

    def grip(self, opening_m: float, now_ns: int) -> None: ...

    def set_mode(self, mode: int, now_ns: int) -> None: ...

    def home(self, now_ns: int) -> None: ...

    def push(self, hand_n: np.ndarray, now_ns: int) -> None: ...

    def reading(self, stream: str, now_ns: int) -> np.ndarray | Pose | None: ...


class StageArm:
    """An arm behind a lock, on the node's clock."""

    def __init__(self, contract: Contract, now_ns: Callable[[], int], arm: SteppedArm | None = None) -> None:
        """Without `arm` it is a `VirtualArm`."""
        self._contract, self._now_ns = contract, now_ns
        self._arm: SteppedArm = arm or VirtualArm(contract, now_ns())
        self._lock = threading.Lock()
        self._changed_ns = 0  # when its mode was changed last, or it was put elsewhere
        self._start = self.pose()

    @property
    def oldest_pose_s(self) -> float:
        """Age up to which a measured pose is taken for the present one, s."""
        return self._contract.streams[self._contract.pose_stream].max_age_ns * 1e-9

    def pose(self) -> Pose:
        """Pose of the tool in the base frame."""
        with self._lock:
            return self._arm.pose(self._now_ns())

    def follow(self, set_point: Pose, stamp_ns: int) -> Offset:
        """Move towards a set-point of that time; return the arm's offset from it before the motion.

        One that a busy machine delivers after the mode was changed, but that is older, is not followed: a
        robot would have received it before.
        """
        with self._lock:
            now_ns = self._now_ns()
            gap = Offset.between(set_point, self._arm.pose(now_ns))
            if stamp_ns >= self._changed_ns:
                self._arm.follow(set_point, now_ns)
            return gap

    def grip(self, opening_m: float) -> None:
        """Set the gripper's opening."""
        with self._lock:
            self._arm.grip(opening_m, self._now_ns())

    def set_mode(self, mode: int) -> None:
        """Set the robot mode, as in FrankaRobotState."""
        with self._lock:
            self._changed_ns = self._now_ns()
            self._arm.set_mode(mode, self._changed_ns)

    def push(self, force_n: float) -> None:
        """Push the tool sideways towards the middle of the workspace; 0 releases it."""
        with self._lock:
            now_ns, box = self._now_ns(), self._contract.limits.workspace_m
            side_m = self._arm.pose(now_ns).position_m[1] - (box.min[1] + box.max[1]) / 2
            self._arm.push(np.array([0.0, -force_n if side_m > 0 else force_n, 0.0]), now_ns)

    def astray(self) -> bool:
        """Whether the tool is outside of the workspace, or far from its start, where the reach may end."""
        pose, box = self.pose(), self._contract.limits.workspace_m
        gap = Offset.between(pose, self._start)
        outside = bool(np.any(pose.position_m < box.min) or np.any(pose.position_m > box.max))
        return outside or gap.distance_m > _ASTRAY_M or gap.angle_rad > _ASTRAY_RAD

    def home(self) -> None:
        """Put the arm where it started, at once."""
        with self._lock:
            self._changed_ns = self._now_ns()
            self._arm.home(self._changed_ns)

    def cdr(self, stream: str) -> bytes | None:
        """The message of `stream` for the present state, stamp unset; None without such a sensor."""
        with self._lock:
            value = self._arm.reading(stream, self._now_ns())
        return None if value is None else driver_message(self._contract, stream, value)

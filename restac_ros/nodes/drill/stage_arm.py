"""The drill's virtual arm, thread-safe: receives set-points, produces a driver's messages, can be pushed."""

import threading
from collections.abc import Callable
from typing import assert_never

import numpy as np
from rclpy.serialization import deserialize_message, serialize_message

from restac_ros.contract.schema import (
    ArmJointsStream,
    CameraStream,
    Contract,
    GripperStream,
    PoseStream,
    TactileStream,
)
from restac_ros.framing.values import gripper_positions
from restac_ros.geometry.pose import Offset, Pose
from restac_ros.nodes.source.patterns import joint_state, tool_pose
from restac_ros.nodes.subscriptions import message_class
from restac_ros.sim.virtual_arm import VirtualArm

OTHER_ENCODING = '16UC1'  # a depth image on a colour topic


class StageArm:
    """A `VirtualArm` behind a lock, on the node's clock."""

    def __init__(self, contract: Contract, now_ns: Callable[[], int]) -> None:
        self._contract, self._now_ns = contract, now_ns
        self._arm = VirtualArm(contract, now_ns())
        self._lock = threading.Lock()

    def pose(self) -> Pose:
        """Pose of the tool in the base frame."""
        with self._lock:
            return self._arm.pose(self._now_ns())

    def follow(self, set_point: Pose) -> Offset:
        """Move towards a set-point; return the arm's offset from it before the motion."""
        with self._lock:
            now_ns = self._now_ns()
            gap = Offset.between(set_point, self._arm.pose(now_ns))
            self._arm.follow(set_point, now_ns)
            return gap

    def grip(self, opening_m: float) -> None:
        """Set the gripper's opening."""
        with self._lock:
            self._arm.opening_m = opening_m

    def set_mode(self, mode: int) -> None:
        """Set the robot mode, as in FrankaRobotState."""
        with self._lock:
            self._arm.set_mode(mode, self._now_ns())

    def push(self, force_n: float) -> None:
        """Push the tool sideways towards the middle of the workspace; 0 releases it."""
        with self._lock:
            now_ns, box = self._now_ns(), self._contract.limits.workspace_m
            side_m = self._arm.pose(now_ns).position_m[1] - (box.min[1] + box.max[1]) / 2
            self._arm.push(np.array([0.0, -force_n if side_m > 0 else force_n, 0.0]), now_ns)

    def cdr(self, stream: str) -> bytes | None:
        """The message of `stream` for the arm's present state, stamp unset; None where it isn't the arm's."""
        spec = self._contract.streams[stream]
        with self._lock:
            now_ns = self._now_ns()
            match spec:
                case ArmJointsStream():
                    return joint_state(spec, self._arm.joints_rad(now_ns))
                case GripperStream():
                    return joint_state(spec, gripper_positions(self._contract, spec, self._arm.opening_m))
                case PoseStream():
                    frame_id = spec.frame_id or self._contract.robot.base_frame
                    return tool_pose(frame_id, self._arm.noisy_pose(now_ns))
                case CameraStream() | TactileStream():
                    return None
        assert_never(spec)


def re_encoded(contract: Contract, stream: str, cdr: bytes) -> bytes:
    """Change a message's content so that it contradicts the contract, as after a driver's reconfiguration."""
    message = deserialize_message(cdr, message_class(contract.streams[stream].type))
    if hasattr(message, 'encoding'):
        message.encoding = OTHER_ENCODING
    elif hasattr(message, 'format'):
        message.format, message.data = 'none', b''
    elif hasattr(message, 'name'):
        message.name = [f'other_{name}' for name in message.name]
    else:
        message.header.frame_id = 'elsewhere'
    return serialize_message(message)

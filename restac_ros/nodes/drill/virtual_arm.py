"""An arm that follows its set-points at once, for rehearsals: targets in, joint states or tool poses out."""

import threading

import numpy as np
from geometry_msgs.msg import PoseStamped
from rclpy.serialization import serialize_message
from sensor_msgs.msg import JointState

from restac_ros.contract.schema import ArmJointsStream, Contract, GripperStream, PoseStream
from restac_ros.framing.kinematics import fk_hand_tcp, transform
from restac_ros.geometry import quaternion as quat
from restac_ros.nodes.source.patterns import READY_RAD

DAMPING = 1e-3  # of the least squares: near a singular posture it gives way instead of racing
EPSILON_RAD = 1e-6
MAX_STEP_RAD = 0.2
APPROACH_STEPS = 100
NOISE_RAD = 1e-6  # no real encoder repeats itself exactly


class VirtualArm:
    """Starts in the middle of the workspace, with the tool as in Franka's ready posture.

    Its measured state is the set-point of before, with an encoder's noise. All methods may be called from any
    thread.
    """

    def __init__(self, contract: Contract, seed: int = 0) -> None:
        self._contract = contract
        offset = contract.robot.pose_tool_in_hand
        self._tool_in_hand = transform(offset.xyz_m, offset.rpy_rad)
        self._lock = threading.Lock()
        self._noise = np.random.default_rng(seed)
        self._joints_rad = READY_RAD.copy()
        self._opening_m = contract.gripper.opening_m[1]
        box = contract.limits.workspace_m
        goal = self._pose_of(self._joints_rad)
        goal[:3, 3] = (np.array(box.min) + np.array(box.max)) / 2
        for _ in range(APPROACH_STEPS):
            self._joints_rad = self._stepped(goal)
        self._tool = self._pose_of(self._joints_rad)

    @property
    def pose_tool_in_base(self) -> np.ndarray:
        """Homogeneous matrix [4, 4]."""
        with self._lock:
            return self._tool.copy()

    def follow(self, position_m: np.ndarray, quaternion_xyzw: np.ndarray) -> None:
        """Go to a set-point [3], [4]: two Newton steps of inverse kinematics, from where the arm is."""
        goal = np.eye(4)
        goal[:3, :3], goal[:3, 3] = quat.to_matrix(quaternion_xyzw), position_m
        with self._lock:
            for _ in range(2):
                self._joints_rad = self._stepped(goal)
            self._tool = goal

    def grip(self, opening_m: float) -> None:
        """Open the gripper so far."""
        with self._lock:
            self._opening_m = opening_m

    def cdr(self, stream: str) -> bytes | None:
        """What a driver of `stream` publishes now, its stamp unset; None where it isn't the arm's."""
        spec = self._contract.streams[stream]
        with self._lock:
            match spec:
                case ArmJointsStream():
                    joints_rad = self._joints_rad + NOISE_RAD * self._noise.standard_normal(7)
                    return _joint_state(spec, joints_rad)
                case GripperStream():
                    return _joint_state(spec, np.full(len(spec.joints), self._opening_m / 2))
                case PoseStream():
                    return self._tool_pose(spec)
        return None

    def _stepped(self, goal: np.ndarray) -> np.ndarray:
        """One step of damped least squares towards a tool pose [4, 4], on a numerical Jacobian."""
        here = self._pose_of(self._joints_rad)
        near = self._pose_of(self._joints_rad + EPSILON_RAD * np.eye(7))
        jacobian = _difference(near, here).T / EPSILON_RAD
        normal = jacobian @ jacobian.T + DAMPING**2 * np.eye(6)
        step = jacobian.T @ np.linalg.solve(normal, _difference(goal, here))
        return self._joints_rad + np.clip(step, -MAX_STEP_RAD, MAX_STEP_RAD)

    def _pose_of(self, joints_rad: np.ndarray) -> np.ndarray:
        return fk_hand_tcp(joints_rad) @ self._tool_in_hand

    def _tool_pose(self, spec: PoseStream) -> bytes:
        message = PoseStamped()
        message.header.frame_id = spec.frame_id or self._contract.robot.base_frame
        position, orientation = message.pose.position, message.pose.orientation
        noisy = self._tool[:3, 3] + NOISE_RAD * self._noise.standard_normal(3)
        position.x, position.y, position.z = noisy.tolist()
        xyzw = quat.from_matrix(self._tool[:3, :3])
        orientation.x, orientation.y, orientation.z, orientation.w = xyzw.tolist()
        return serialize_message(message)


def _difference(new: np.ndarray, old: np.ndarray) -> np.ndarray:
    """Poses [..., 4, 4] and [4, 4] -> translation and rotation vector [..., 6] in the base frame."""
    turn = quat.to_rotvec(quat.from_matrix(new[..., :3, :3] @ old[:3, :3].T))
    return np.concatenate([new[..., :3, 3] - old[:3, 3], turn], axis=-1)


def _joint_state(spec: ArmJointsStream | GripperStream, positions: np.ndarray) -> bytes:
    zeros = [0.0] * len(positions)
    message = JointState(name=list(spec.joints), position=positions.tolist(), velocity=zeros, effort=zeros)
    return serialize_message(message)

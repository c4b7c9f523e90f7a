"""Inverse kinematics of the arm: damped least squares on a numerical Jacobian."""

import numpy as np

from restac_ros.framing.kinematics import fk_hand_tcp
from restac_ros.geometry import quaternion as quat

READY_RAD = np.array([0.0, -0.785, 0.0, -2.356, 0.0, 1.571, 0.785])  # Franka's usual ready posture
_DAMPING = 1e-3  # of the least squares: bounds the speed near singular postures
_EPSILON_RAD = 1e-6
_MAX_STEP_RAD = 0.2


def step_joints_towards(
    pose_tool_in_base: np.ndarray, joints_rad: np.ndarray, pose_tool_in_hand: np.ndarray | None = None
) -> np.ndarray:
    """Return joint positions [7] one step closer to a tool pose [4, 4], from `joints_rad` [7]."""
    tool = np.eye(4) if pose_tool_in_hand is None else pose_tool_in_hand
    here = fk_hand_tcp(joints_rad) @ tool
    near = fk_hand_tcp(joints_rad + _EPSILON_RAD * np.eye(7)) @ tool
    jacobian = _difference(near, here).T / _EPSILON_RAD
    normal = jacobian @ jacobian.T + _DAMPING**2 * np.eye(6)
    step = jacobian.T @ np.linalg.solve(normal, _difference(pose_tool_in_base, here))
    return joints_rad + np.clip(step, -_MAX_STEP_RAD, _MAX_STEP_RAD)


def _difference(new: np.ndarray, old: np.ndarray) -> np.ndarray:
    """Poses [..., 4, 4] and [4, 4] -> translation and rotation vector [..., 6] in the base frame."""
    turn = quat.to_rotvec(quat.from_matrix(new[..., :3, :3] @ old[:3, :3].T))
    return np.concatenate([new[..., :3, 3] - old[:3, 3], turn], axis=-1)

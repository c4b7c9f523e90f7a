"""Rotations as the state vector holds them: roll-pitch-yaw or rotation vector, kept on one branch.

All functions take any leading axes. `rpy` is roll, pitch, yaw about the *fixed* x, y, z axes: R = Rz Ry Rx.
A Franka tool points down, where roll is near +-pi and changes sign with the least motion: angles are
therefore unwrapped around a declared branch centre, and differences always wrapped.
"""

import numpy as np

from restac_ros.geometry import quaternion as quat
from restac_ros.geometry.conventions import Convention

TURN = 2 * np.pi
_GIMBAL_COSINE = 1e-7  # cos(pitch) below which roll and yaw are one freedom, given to roll


def wrap_to_pi(angle_rad: np.ndarray) -> np.ndarray:
    """Return the same angles [...], rad, in (-pi, pi]."""
    wrapped = np.pi - np.mod(np.pi - np.asarray(angle_rad, dtype=np.float64), TURN)
    # Rounding can turn a remainder just below a full turn into a full turn.
    return np.where(wrapped <= -np.pi, np.pi, wrapped)


def matrix_from_rpy(rpy_rad: np.ndarray) -> np.ndarray:
    """Roll, pitch, yaw [..., 3] -> rotation matrices [..., 3, 3]."""
    rpy_rad = np.asarray(rpy_rad, dtype=np.float64)
    (sr, sp, sy), (cr, cp, cy) = (np.moveaxis(f(rpy_rad), -1, 0) for f in (np.sin, np.cos))
    rows = [
        [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
        [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
        [-sp, cp * sr, cp * cr],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def rpy_from_matrix(matrix: np.ndarray) -> np.ndarray:
    """Rotation matrices [..., 3, 3] -> roll, pitch, yaw [..., 3], pitch in [-pi/2, pi/2].

    With the tool horizontal (pitch = +-pi/2) only the sum of roll and yaw is defined: yaw is then 0.
    """
    matrix = np.asarray(matrix, dtype=np.float64)
    cosine = np.hypot(matrix[..., 0, 0], matrix[..., 1, 0])
    locked = cosine < _GIMBAL_COSINE
    free_roll = np.arctan2(matrix[..., 2, 1], matrix[..., 2, 2])
    locked_roll = np.arctan2(-matrix[..., 1, 2], matrix[..., 1, 1])
    roll = np.where(locked, locked_roll, free_roll)
    pitch = np.arctan2(-matrix[..., 2, 0], cosine)
    yaw = np.where(locked, 0.0, np.arctan2(matrix[..., 1, 0], matrix[..., 0, 0]))
    return np.stack([roll, pitch, yaw], axis=-1)


def unwrap(convention: Convention, rotation_rad: np.ndarray, centre_rad: np.ndarray) -> np.ndarray:
    """The same rotation [..., 3], in the representation nearest to `centre_rad`."""
    rotation_rad = np.asarray(rotation_rad, dtype=np.float64)
    if convention == 'rpy':
        return centre_rad + wrap_to_pi(rotation_rad - centre_rad)
    angle = np.linalg.norm(rotation_rad, axis=-1, keepdims=True)
    axis = rotation_rad / np.where(angle > 0, angle, 1.0)
    along = np.sum(axis * centre_rad, axis=-1, keepdims=True)
    return rotation_rad + axis * TURN * np.round((along - angle) / TURN)


def rotation_from_matrix(convention: Convention, matrix: np.ndarray, centre_rad: np.ndarray) -> np.ndarray:
    """Rotation matrices [..., 3, 3] -> the three state entries [..., 3], on the branch of `centre_rad`."""
    if convention == 'rpy':
        return unwrap('rpy', rpy_from_matrix(matrix), centre_rad)
    return unwrap('rotvec', quat.to_rotvec(quat.from_matrix(matrix)), centre_rad)


def quaternion_from_rotation(convention: Convention, rotation_rad: np.ndarray) -> np.ndarray:
    """The three state entries [..., 3], on any branch -> unit quaternions [..., 4] in the order x y z w."""
    return (quat.from_rpy if convention == 'rpy' else quat.from_rotvec)(rotation_rad)


def rotation_difference(convention: Convention, new_rad: np.ndarray, old_rad: np.ndarray) -> np.ndarray:
    """new - old, elementwise [..., 3], never a whole turn off: what the data set calls a rotation delta."""
    if convention == 'rpy':
        return wrap_to_pi(np.asarray(new_rad, dtype=np.float64) - old_rad)
    return unwrap('rotvec', new_rad, old_rad) - old_rad

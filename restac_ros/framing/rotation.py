"""Rotations as the state vector holds them: roll-pitch-yaw or rotation vector, kept on one branch.

All functions take any leading axes. `rpy` is roll, pitch, yaw about the *fixed* x, y, z axes: R = Rz Ry Rx.
A Franka tool points down, where roll is near +-pi and changes sign with the least motion: angles are
therefore unwrapped around a declared branch centre, and differences always wrapped.
"""

from typing import Literal

import numpy as np

Convention = Literal['rpy', 'rotvec']
TURN = 2 * np.pi
_GIMBAL_COSINE = 1e-7  # cos(pitch) below which roll and yaw are one freedom, given to roll


def wrap_to_pi(angle_rad: np.ndarray) -> np.ndarray:
    """The same angles in (-pi, pi]."""
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


def matrix_from_rotvec(rotvec_rad: np.ndarray) -> np.ndarray:
    """Axis times angle [..., 3] -> rotation matrices [..., 3, 3] (Rodrigues; exact at angle 0)."""
    x, y, z = np.moveaxis(np.asarray(rotvec_rad, dtype=np.float64), -1, 0)
    angle = np.sqrt(x * x + y * y + z * z)
    zero = np.zeros_like(x)
    rows = [[zero, -z, y], [z, zero, -x], [-y, x, zero]]
    cross = np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)
    linear = np.sinc(angle / np.pi)[..., None, None]  # sin(a) / a
    square = 0.5 * np.sinc(angle / TURN)[..., None, None] ** 2  # (1 - cos(a)) / a^2
    return np.eye(3) + linear * cross + square * (cross @ cross)


def rotvec_from_matrix(matrix: np.ndarray) -> np.ndarray:
    """Rotation matrices [..., 3, 3] -> axis times angle [..., 3], angle in [0, pi]."""
    quaternion = quaternion_from_matrix(matrix)
    quaternion = np.where(quaternion[..., 3:] < 0, -quaternion, quaternion)
    sine = np.linalg.norm(quaternion[..., :3], axis=-1, keepdims=True)  # of half the angle
    angle = 2 * np.arctan2(sine, quaternion[..., 3:])
    return quaternion[..., :3] * np.where(sine > 1e-12, angle / np.maximum(sine, 1e-12), 2.0)


def matrix_from_quaternion(quaternion_xyzw: np.ndarray) -> np.ndarray:
    """Unit quaternions [..., 4] in ROS's order x y z w -> rotation matrices [..., 3, 3]."""
    x, y, z, w = np.moveaxis(np.asarray(quaternion_xyzw, dtype=np.float64), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def quaternion_from_matrix(matrix: np.ndarray) -> np.ndarray:
    """Rotation matrices [..., 3, 3] -> unit quaternions [..., 4], order x y z w, sign arbitrary.

    Of the four equivalent formulas the one with the largest divisor is used (Shepperd 1978).
    """
    m = np.moveaxis(np.asarray(matrix, dtype=np.float64), (-2, -1), (0, 1))
    xx, yy, zz = m[0, 0], m[1, 1], m[2, 2]
    xy, xz, yz = m[1, 0] + m[0, 1], m[0, 2] + m[2, 0], m[2, 1] + m[1, 2]
    xw, yw, zw = m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]
    rows = [
        [1 + xx - yy - zz, xy, xz, xw],
        [xy, 1 - xx + yy - zz, yz, yw],
        [xz, yz, 1 - xx - yy + zz, zw],
        [xw, yw, zw, 1 + xx + yy + zz],
    ]
    outer = np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)  # 4 q q^T
    largest = np.argmax(np.diagonal(outer, axis1=-2, axis2=-1), axis=-1)
    row = np.take_along_axis(outer, largest[..., None, None], axis=-2)[..., 0, :]
    return row / np.linalg.norm(row, axis=-1, keepdims=True)


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
    convert = rpy_from_matrix if convention == 'rpy' else rotvec_from_matrix
    return unwrap(convention, convert(matrix), centre_rad)


def matrix_from_rotation(convention: Convention, rotation_rad: np.ndarray) -> np.ndarray:
    """The inverse of `rotation_from_matrix`, for any branch."""
    return (matrix_from_rpy if convention == 'rpy' else matrix_from_rotvec)(rotation_rad)


def rotation_difference(convention: Convention, new_rad: np.ndarray, old_rad: np.ndarray) -> np.ndarray:
    """new - old, elementwise [..., 3], never a whole turn off: what the data set calls a rotation delta."""
    if convention == 'rpy':
        return wrap_to_pi(np.asarray(new_rad, dtype=np.float64) - old_rad)
    return unwrap('rotvec', new_rad, old_rad) - old_rad

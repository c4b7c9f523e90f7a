"""Forward kinematics of the Franka arm (FR3 and Panda share their geometry), and its hand."""

import numpy as np
from numpy.typing import ArrayLike

from restac_ros.geometry.rotation import matrix_from_rpy

# Modified Denavit-Hartenberg parameters (Craig), from the Franka Control Interface documentation: joint i's
# frame is placed by Rx(alpha) Tx(a) Rz(q) Tz(d).
_A_M = (0.0, 0.0, 0.0, 0.0825, -0.0825, 0.0, 0.088)
_ALPHA_RAD = np.array([0.0, -1.0, 1.0, 1.0, -1.0, 1.0, 1.0]) * np.pi / 2
_D_M = (0.333, 0.0, 0.316, 0.0, 0.384, 0.0, 0.0)
_FLANGE_M = 0.107  # fr3_link8 from joint 7, along z
_HAND_RAD = -np.pi / 4  # the hand is mounted turned about the flange's z
_HAND_TCP_M = 0.1034  # between the fingertips, along the hand's z


def transform(xyz_m: ArrayLike, rpy_rad: ArrayLike) -> np.ndarray:
    """Translation [3] m and roll, pitch, yaw [3] rad -> homogeneous matrix [4, 4]."""
    matrix = np.eye(4)
    matrix[:3, :3] = matrix_from_rpy(np.asarray(rpy_rad))
    matrix[:3, 3] = xyz_m
    return matrix


_LINKS = [transform((a, 0.0, 0.0), (alpha, 0.0, 0.0)) for a, alpha in zip(_A_M, _ALPHA_RAD, strict=True)]
_FLANGE = transform((0.0, 0.0, _FLANGE_M), (0.0, 0.0, 0.0))
_HAND_TCP = transform((0.0, 0.0, _HAND_TCP_M), (0.0, 0.0, _HAND_RAD))


def fk_flange(q_rad: np.ndarray) -> np.ndarray:
    """Joint positions [..., 7] rad -> pose of the flange (fr3_link8) in the base (fr3_link0) [..., 4, 4]."""
    return _fk_chain(q_rad)[-1]


def joint_origins_in_base_m(q_rad: np.ndarray) -> np.ndarray:
    """Joint positions [7] rad -> origins of base, joints, flange and hand TCP in the base, m [10, 3]."""
    chain = _fk_chain(q_rad)
    poses = [np.eye(4), *chain, chain[-1] @ _HAND_TCP]
    return np.stack([pose[:3, 3] for pose in poses])


def _fk_chain(q_rad: np.ndarray) -> list[np.ndarray]:
    """Joint positions [..., 7] rad -> poses of joints and flange in the base, 8 x [..., 4, 4]."""
    q_rad = np.asarray(q_rad, dtype=np.float64)
    if q_rad.shape[-1:] != (7,):
        raise ValueError(f'found joint positions of shape {q_rad.shape}; expected [..., 7]')
    joints = np.zeros((*q_rad.shape, 4, 4))
    cosine, sine = np.cos(q_rad), np.sin(q_rad)
    joints[..., 0, 0], joints[..., 0, 1] = cosine, -sine
    joints[..., 1, 0], joints[..., 1, 1] = sine, cosine
    joints[..., 2, 2] = joints[..., 3, 3] = 1.0
    joints[..., 2, 3] = _D_M
    pose, chain = np.eye(4), []
    for i, link in enumerate(_LINKS):
        pose = pose @ link @ joints[..., i, :, :]
        chain.append(pose)
    return [*chain, pose @ _FLANGE]


def fk_hand_tcp(q_rad: np.ndarray) -> np.ndarray:
    """Joint positions [..., 7] rad -> pose of Franka's hand TCP (fr3_hand_tcp) in the base [..., 4, 4]."""
    return fk_flange(q_rad) @ _HAND_TCP


def gripper_opening_m(finger_positions_m: np.ndarray) -> np.ndarray:
    """Finger joint positions [..., 2] (or one of two that move alike, [..., 1]) -> opening [...] in m."""
    positions = np.asarray(finger_positions_m, dtype=np.float64)
    if positions.shape[-1:] not in ((1,), (2,)):
        raise ValueError(f'found finger positions of shape {positions.shape}; expected [..., 1] or [..., 2]')
    return positions.sum(axis=-1) * (2 / positions.shape[-1])

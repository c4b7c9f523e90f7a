"""How three numbers stand for a rotation, and how an action delta is applied: the names used everywhere."""

from typing import Literal

Convention = Literal['rpy', 'rotvec']
"""'rpy': roll, pitch, yaw about the fixed x, y, z axes, R = Rz Ry Rx; 'rotvec': axis times angle."""

Composition = Literal['elementwise', 'so3']
"""'elementwise': target = anchor + delta, number by number; 'so3': R_target = exp(delta) R_anchor."""

POSE_DIM = 6
"""A pose as a vector: x y z [m], rotation [3] [rad]."""

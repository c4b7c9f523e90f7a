"""Tool poses in the base frame, and the paths between them."""

from typing import NamedTuple, Self

import numpy as np

from restac_ros.geometry import quaternion as quat


class Pose(NamedTuple):
    """A tool pose in the base frame: position [3] in m, unit quaternion [4] in the order x, y, z, w."""

    position_m: np.ndarray
    quaternion_xyzw: np.ndarray

    @property
    def finite(self) -> bool:
        return bool(np.isfinite(self.position_m).all() and np.isfinite(self.quaternion_xyzw).all())

    def towards(self, other: Self, fraction: float) -> Self:
        """Straight in position, constant angular velocity in rotation; fraction 0 is here, 1 is `other`."""
        position = self.position_m + fraction * (other.position_m - self.position_m)
        return type(self)(position, quat.slerp(self.quaternion_xyzw, other.quaternion_xyzw, fraction))


class Offset(NamedTuple):
    """From one pose to another in the base frame: translation [3] in m, rotation vector [3] in rad."""

    translation_m: np.ndarray
    rotation_rad: np.ndarray

    @classmethod
    def between(cls, start: Pose, end: Pose) -> Self:
        """The offset with `offset.apply(start) == end`."""
        turn = quat.difference(end.quaternion_xyzw, start.quaternion_xyzw)
        return cls(end.position_m - start.position_m, turn)

    @property
    def distance_m(self) -> float:
        return float(np.linalg.norm(self.translation_m))

    @property
    def angle_rad(self) -> float:
        return float(np.linalg.norm(self.rotation_rad))

    def apply(self, pose: Pose, share: float = 1.0) -> Pose:
        """`pose` moved by `share` of this offset."""
        turned = quat.multiply(quat.from_rotvec(share * self.rotation_rad), pose.quaternion_xyzw)
        return Pose(pose.position_m + share * self.translation_m, quat.normalise(turned))

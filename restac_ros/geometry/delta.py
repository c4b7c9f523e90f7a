"""The one rule by which a target pose becomes a delta from an anchor pose, and its inverse.

Poses are vectors as in the state: x y z [m], rotation [3] [rad] in one convention, and whatever follows (the
gripper's opening), which stays absolute. Data, training, inference and the streamer all use this rule.
"""

from dataclasses import dataclass

import numpy as np

from restac_ros.geometry import quaternion as quat
from restac_ros.geometry.conventions import Composition, Convention
from restac_ros.geometry.rotation import quaternion_from_rotation, rotation_difference


@dataclass(frozen=True)
class DeltaRule:
    """How rotations are written, and how deltas are composed with the anchor.

    With 'elementwise', rotations are subtracted, never a whole turn off. With 'so3', the delta is the turn,
    a rotation vector in the base frame of at most pi, from the anchor to the target.
    """

    convention: Convention
    composition: Composition

    def deltas(self, targets: np.ndarray, anchor: np.ndarray) -> np.ndarray:
        """Return the deltas [..., D] of targets [..., D] from anchors [..., 6 or more], or from one."""
        targets, anchor = np.asarray(targets, np.float64), np.asarray(anchor, np.float64)
        if self.composition == 'so3':
            rotation = self.turns(quaternion_from_rotation(self.convention, targets[..., 3:6]), anchor)
        else:
            rotation = rotation_difference(self.convention, targets[..., 3:6], anchor[..., 3:6])
        return np.concatenate([targets[..., :3] - anchor[..., :3], rotation, targets[..., 6:]], axis=-1)

    def turns(self, quaternions_xyzw: np.ndarray, anchor: np.ndarray) -> np.ndarray:
        """Return the rotation vectors [..., 3] that turn the anchors into orientations [..., 4]."""
        return quat.difference(quaternions_xyzw, quaternion_from_rotation(self.convention, anchor[..., 3:6]))

    def orientations(self, deltas: np.ndarray, anchor: np.ndarray) -> np.ndarray:
        """Return the target orientations [..., 4] (x y z w) of deltas [..., 6 or more] from one anchor."""
        if self.composition == 'so3':
            turns = quat.from_rotvec(deltas[..., 3:6])
            return quat.multiply(turns, quaternion_from_rotation(self.convention, anchor[3:6]))
        return quaternion_from_rotation(self.convention, anchor[3:6] + deltas[..., 3:6])

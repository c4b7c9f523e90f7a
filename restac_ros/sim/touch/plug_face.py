"""Height map of the plug's side face in the gel, from how the plug is displaced in the hand."""

from dataclasses import dataclass

import numpy as np

from restac_ros.sim.touch.gel import Gel


@dataclass(frozen=True)
class PlugFace:
    """The face that the left pad holds, in the plug's frame, which is the hand's TCP when nothing displaces it.

    x runs along the pad, y towards it, z to the plug's tip. Edges and grooves lie inside the gel's window:
    a face that fills it would show nothing when it slides.

    Attributes:
        half_width_m: along x.
        top_m, bottom_m: ends of the body along z.
        half_thickness_m: distance of the face from the plug's axis.
        grooves_m: positions of the grooves across the face, along z.
        groove_width_m, groove_depth_m: of each.
        bevel_m: width of the slanted edges of outline and grooves.
        squeeze_m: how deep the face stands in the gel when nothing displaces the plug.
    """

    half_width_m: float = 0.006
    top_m: float = -0.005
    bottom_m: float = 0.010
    half_thickness_m: float = 0.0055
    grooves_m: tuple[float, ...] = (-0.0025, 0.0, 0.0025)
    groove_width_m: float = 0.001
    groove_depth_m: float = 0.0006
    bevel_m: float = 0.0004
    squeeze_m: float = 0.0006

    def depth_m(self, gel: Gel, mount: np.ndarray) -> np.ndarray:
        """Return how deep the face stands in the gel, float32 [H, W] in m.

        Args:
            gel: looked at along -y, u along x and v along z of the hand.
            mount: displacement [6] of the plug in the hand: px py pz in m, rx ry rz in rad, turned about x,
                then about the new y, then about the new z.
        """
        turn, shift = _rotation(mount[3:]), mount[:3]
        v_m, u_m = gel.positions_m()
        # A ray along y through (u, v) meets the face's plane where turn @ (a, half_thickness, b) + shift has
        # these x and z: a and b are affine in u and v. The profile's depth bends no ray: it is below 1 mm.
        plane = turn[np.ix_([0, 2], [0, 2])]
        offset = shift[[0, 2]] + turn[[0, 2], 1] * self.half_thickness_m
        inverse = np.linalg.inv(plane).astype(np.float32)
        u_m, v_m = u_m - np.float32(offset[0]), v_m - np.float32(offset[1])
        along_x = inverse[0, 0] * u_m + inverse[0, 1] * v_m
        along_z = inverse[1, 0] * u_m + inverse[1, 1] * v_m
        lift = shift[1] + (turn[1, 1] - 1) * self.half_thickness_m + self.squeeze_m
        tilt_x, tilt_z = np.float32(turn[1, 0]), np.float32(turn[1, 2])
        return tilt_x * along_x + tilt_z * along_z + np.float32(lift) - self._recess_m(along_x, along_z)

    def _recess_m(self, along_x: np.ndarray, along_z: np.ndarray) -> np.ndarray:
        """How far the face lies below its plane, at positions in m: 0, in the grooves, and beyond the outline."""
        middle, half = (self.top_m + self.bottom_m) / 2, (self.bottom_m - self.top_m) / 2
        outside = np.maximum(np.abs(along_x) - self.half_width_m, np.abs(along_z - middle) - half)
        recess = np.maximum(outside + np.float32(self.bevel_m), 0)  # slanted by 45 degrees
        for centre in self.grooves_m:
            inside = self.groove_width_m / 2 + self.bevel_m / 2 - np.abs(along_z - centre)
            slanted = inside * np.float32(self.groove_depth_m / self.bevel_m)
            recess = np.maximum(recess, np.clip(slanted, 0, np.float32(self.groove_depth_m)))
        return recess


def _rotation(angles_rad: np.ndarray) -> np.ndarray:
    """Rotation [3, 3] about x, then the new y, then the new z, as of three hinges in this order."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles_rad), np.sin(angles_rad)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_x @ about_y @ about_z

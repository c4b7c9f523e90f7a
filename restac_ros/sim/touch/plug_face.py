"""Height map of the plug's side face in the gel, from how the plug is displaced in the hand."""

from dataclasses import dataclass, field

import numpy as np

from restac_ros.sim.cell.parameters import PlugParameters
from restac_ros.sim.touch.gel import Gel


@dataclass(frozen=True)
class PlugFace:
    """The face of the plug's body that the left pad holds.

    Its edges and grooves lie inside the gel's window: a face that fills it would show nothing when it slides.

    Attributes:
        plug: dimensions of the body.
        grasp_m: [3] and grasp_rad: about the hand's y, how the plug sits between the pads. Along y the
            fingers centre it, so that this component has no effect here.
        grooves_m: positions of the grooves across the face, along the plug's z from the TCP.
        groove_width_m, groove_depth_m: of each.
        bevel_m: width of the slanted edges of outline and grooves.
        squeeze_m: how deep the face stands in the gel when nothing displaces the plug.
    """

    plug: PlugParameters = field(default_factory=PlugParameters)
    grasp_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    grasp_rad: float = 0.0
    grooves_m: tuple[float, ...] = (-0.0025, 0.0, 0.0025)
    groove_width_m: float = 0.001
    groove_depth_m: float = 0.0006
    bevel_m: float = 0.0004
    squeeze_m: float = 0.0006

    def depth_m(self, gel: Gel, mount: np.ndarray) -> np.ndarray:
        """Return how deep the face stands in the gel, float32 [H, W] in m.

        Args:
            gel: its u runs along x and its v along z of the hand.
            mount: displacement [6] of the plug in its grasp along and about x, y, z of the hand, m and rad:
                turned about x, then about the new y, then about the new z.
        """
        grasp = _rotation(np.array([0.0, self.grasp_rad, 0.0]))
        turn = grasp @ _rotation(mount[3:])
        shift = grasp @ mount[:3] + (self.grasp_m[0], 0.0, self.grasp_m[2])
        half_thickness_m = self.plug.body_m[1] / 2
        v_m, u_m = gel.positions_m()
        # A ray along y through (u, v) meets the face's plane where turn @ (a, half_thickness, b) + shift has
        # these x and z: a and b are affine in u and v. The profile's depth bends no ray: it is below 1 mm.
        plane = turn[np.ix_([0, 2], [0, 2])]
        offset = shift[[0, 2]] + turn[[0, 2], 1] * half_thickness_m
        inverse = np.linalg.inv(plane).astype(np.float32)
        u_m, v_m = u_m - np.float32(offset[0]), v_m - np.float32(offset[1])
        along_x = inverse[0, 0] * u_m + inverse[0, 1] * v_m
        along_z = inverse[1, 0] * u_m + inverse[1, 1] * v_m
        lift = shift[1] + (turn[1, 1] - 1) * half_thickness_m + self.squeeze_m
        tilt_x, tilt_z = np.float32(turn[1, 0]), np.float32(turn[1, 2])
        return tilt_x * along_x + tilt_z * along_z + np.float32(lift) - self._recess_m(along_x, along_z)

    def _recess_m(self, along_x: np.ndarray, along_z: np.ndarray) -> np.ndarray:
        """Depth of the face below its plane, m: 0 on the face, more in the grooves and beyond the outline."""
        top, bottom = -self.plug.body_top_m, self.plug.tip_m - self.plug.length_m
        across = np.abs(along_x) - self.plug.body_m[0] / 2
        outside = np.maximum(across, np.abs(along_z - (top + bottom) / 2) - (bottom - top) / 2)
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

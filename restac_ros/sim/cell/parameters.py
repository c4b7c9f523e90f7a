"""Dimensions, stiffnesses and places of the simulated cell, and what varies from episode to episode."""

import math
from dataclasses import dataclass, field
from importlib.util import find_spec

import numpy as np

MOUNT = ('mount_x', 'mount_y', 'mount_z', 'mount_roll', 'mount_pitch', 'mount_yaw')
"""The mount's six joints, in the order of its displacements: along and about the hand's x, y, z."""


SIMULATED_START_NS = 1_760_000_000_000_000_000
"""Stamp of the first simulated instant where no clock is read."""


class CellError(ValueError):
    """A cell, scene or command that the simulation refuses."""


def check_libraries() -> None:
    """Check that what the cell is made with is installed, before anything of it is imported.

    Raises:
        CellError: a library is missing.
    """
    missing = [name for name in ('mujoco', 'franky_sim') if find_spec(name) is None]
    if missing:
        raise CellError(
            f'the simulated cell needs {" and ".join(missing)}, not installed here: '
            "`pip install -e '.[sim]'` in the clone of restac_ros"
        )


@dataclass(frozen=True)
class PlugParameters:
    """A round peg below a rectangular body, held between two gel pads; lengths in m.

    The body is what the tactile sensor is pressed by: its top edge and grooves lie inside the sensor's
    window. It is centred on the TCP, z down, as the peg is.

    Attributes:
        tip_m: from the TCP down to the peg's tip.
        body_m: width (hand's x), thickness (hand's y, between the pads).
        body_top_m: from the TCP up to the body's top edge.
        shear_n_m, normal_n_m: stiffness of the gel along its surface (x, z) and across it (y).
        turning_nm_rad: stiffness of the gel about each axis.
    """

    radius_m: float = 0.006
    length_m: float = 0.012
    chamfer_m: float = 0.0005
    tip_m: float = 0.022
    body_m: tuple[float, float] = (0.012, 0.011)
    body_top_m: float = 0.005
    mass_kg: float = 0.04
    shear_n_m: float = 8000.0
    normal_n_m: float = 12000.0
    turning_nm_rad: float = 0.8
    damping_ratio: float = 0.7

    @property
    def stiffness(self) -> np.ndarray:
        """Of the mount's six joints, [6] in N/m and Nm/rad."""
        shear, normal, turning = self.shear_n_m, self.normal_n_m, self.turning_nm_rad
        return np.array([shear, normal, shear, turning, turning, turning])


@dataclass(frozen=True)
class SocketParameters:
    """A hole in a shallow funnel, hidden in a housing under a dust seal that can be seen but not felt.

    Attributes:
        slope_rad: of the funnel, whose far edge the peg touches first, so that touch gives a direction.
        funnel_m: outer radius of the funnel; flat beyond.
        rim_m: height of the hole's rim above the table.
        housing_m: edge length of the visible housing, [x, y].
    """

    hole_radius_m: float = 0.0063
    depth_m: float = 0.02
    slope_rad: float = math.radians(5.0)
    funnel_m: float = 0.016
    outer_m: float = 0.03
    wedges: int = 12
    friction: float = 0.6
    rim_m: float = 0.04
    housing_m: tuple[float, float] = (0.06, 0.06)
    seal_m: float = 0.024

    @property
    def lip_m(self) -> float:
        """Height of the funnel's outer edge above the hole's rim."""
        return (self.funnel_m - self.hole_radius_m) * math.tan(self.slope_rad)


@dataclass(frozen=True)
class CellParameters:
    """The whole cell.

    Attributes:
        step_s: of the physics and the controller.
        friction_share: of the joints' dry friction that is left; the real arm's torque loop compensates it.
    """

    plug: PlugParameters = field(default_factory=PlugParameters)
    socket: SocketParameters = field(default_factory=SocketParameters)
    step_s: float = 0.001
    friction_share: float = 0.1


@dataclass(frozen=True)
class CellScene:
    """What differs between episodes: places of housing, hole, plug in the grasp, and arm; m and rad.

    Attributes:
        housing_m: [2] centre of the housing on the table, in the base frame: what can be seen.
        hole_m: [2] from the housing's centre to the hole: what cannot.
        grasp_m: [3] and grasp_rad: about the hand's y, how the plug sits between the pads, which centre it
            along y.
        start_m: [3] where the TCP starts, in the base frame.
    """

    housing_m: tuple[float, float] = (0.5, 0.0)
    hole_m: tuple[float, float] = (0.0, 0.0)
    grasp_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    grasp_rad: float = 0.0
    start_m: tuple[float, float, float] = (0.46, 0.0, 0.16)

    def __post_init__(self) -> None:
        """Refuse a plug that stands in a pad; raises CellError."""
        if self.grasp_m[1]:
            raise CellError(
                f'grasp_m: found {self.grasp_m[1]} m along y, expected 0: the pads centre the plug'
            )


@dataclass(frozen=True)
class SceneRanges:
    """Half widths of the uniform distributions that `draw_scene` draws from, m and rad."""

    housing_m: float = 0.03
    hole_m: float = 0.005
    grasp_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    grasp_rad: float = 0.0
    start_m: tuple[float, float, float] = (0.02, 0.02, 0.02)


DEMONSTRATED = SceneRanges(hole_m=0.007, start_m=(0.02, 0.02, 0.06))
"""Of demonstrations: wider, so that a policy that errs has learnt how to go on from there."""


def draw_scene(seed: int, ranges: SceneRanges | None = None) -> CellScene:
    """Return the scene of a seed; the same seed gives the same scene, whatever else is drawn."""
    ranges, middle = ranges or SceneRanges(), CellScene()
    random = np.random.default_rng([seed, 0])  # not by purpose: what is known of a seed's scene stays true
    housing, hole = random.uniform(-1, 1, 2), random.uniform(-1, 1, 2)
    grasp, turn, start = random.uniform(-1, 1, 3), random.uniform(-1, 1), random.uniform(-1, 1, 3)
    return CellScene(
        housing_m=_moved(middle.housing_m, ranges.housing_m * housing),
        hole_m=_moved(middle.hole_m, ranges.hole_m * hole),
        grasp_m=_moved(middle.grasp_m, np.array(ranges.grasp_m) * grasp),
        grasp_rad=float(ranges.grasp_rad * turn),
        start_m=_moved(middle.start_m, np.array(ranges.start_m) * start),
    )


def _moved[Values: tuple[float, ...]](middle: Values, offset: np.ndarray) -> Values:
    return type(middle)(float(value) for value in np.add(middle, offset))

"""Builds the MuJoCo model of the whole cell: arm, gel pads, plug in its mount, socket, table, cameras.

The grasp is a compliant mount, not friction: the plug hangs from the hand at the TCP by three slides and
three hinges, each with stiffness and damping. Their six displacements are the gel's deformation.

Groups of geoms: 0 table and housing, 1 plug, 2 arm, hand and pads are drawn by default; 3 is what collides in
the socket and is never drawn, so that no camera sees where the hole is.
"""

import math

import mujoco
import numpy as np
from numpy.typing import ArrayLike

from restac_ros.sim.cell.arm_model import FINGERS, HAND, load_arm
from restac_ros.sim.cell.parameters import MOUNT, CellParameters, PlugParameters, SocketParameters

TCP_IN_HAND_M = np.array([0.0, 0.0, 0.1034])
TCP_IN_FINGER_M = 0.045  # along the finger's z
PLUG, HOUSING, SOCKET = 'plug', 'housing', 'socket'
SCENERY_GROUP, PLUG_GROUP, SOCKET_GROUP = 0, 1, 3
_SIZE_PX = (640, 480)
FOV_DEG = 42.0  # vertical, of a RealSense D435's colour camera
_FRICTION = (0.002, 0.0001)  # torsional, rolling
_SOLREF, _SOLIMP = (0.004, 1.0), (0.95, 0.99, 0.0005, 0.5, 2.0)
_BLUE, _BLACK, _WOOD = (0.20, 0.42, 0.66, 1.0), (0.06, 0.06, 0.07, 1.0), (0.80, 0.70, 0.56, 1.0)
_METAL, _GEL, _CASE = (0.75, 0.72, 0.60, 1.0), (0.85, 0.85, 0.82, 1.0), (0.15, 0.16, 0.18, 1.0)
_SIDES = 32  # of the polygon that stands for the round peg


def build_model(parameters: CellParameters | None = None) -> mujoco.MjModel:
    """Return the compiled model, with socket and plug in the middle of their ranges."""
    parameters = parameters or CellParameters()
    spec = load_arm(parameters.friction_share)
    spec.option.timestep = parameters.step_s
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    spec.visual.global_.offwidth, spec.visual.global_.offheight = _SIZE_PX
    _add_table(spec)
    _add_housing(spec, parameters.socket)
    _add_socket(spec, parameters.socket)
    _add_pads(spec)
    _add_plug(spec, parameters.plug, parameters.socket.friction)
    _add_cameras(spec)
    model = spec.compile()
    _set_damping(model, parameters.plug)
    return model


def turn_towards(eye_m: ArrayLike, at_m: ArrayLike, up: ArrayLike) -> np.ndarray:
    """Return the quaternion wxyz of a camera at `eye_m` that looks at `at_m` with `up` upwards, [4]."""
    back = np.subtract(eye_m, at_m)
    back /= np.linalg.norm(back)
    right = np.cross(np.asarray(up, dtype=float), back)
    right /= np.linalg.norm(right)
    quaternion = np.zeros(4)
    mujoco.mju_mat2Quat(quaternion, np.column_stack([right, np.cross(back, right), back]).ravel())
    return quaternion


def _collide(geom: mujoco.MjsGeom, friction: float) -> mujoco.MjsGeom:
    geom.contype, geom.conaffinity, geom.condim = 1, 1, 4
    geom.friction = (friction, *_FRICTION)
    geom.solref, geom.solimp = _SOLREF, _SOLIMP
    return geom


def _box(
    body: mujoco.MjsBody, low_m: ArrayLike, high_m: ArrayLike, rgba: tuple[float, ...], group: int
) -> mujoco.MjsGeom:
    """A visual box between two corners; massless."""
    low, high = np.asarray(low_m, dtype=float), np.asarray(high_m, dtype=float)
    geom = body.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, pos=(low + high) / 2, size=(high - low) / 2)
    geom.rgba, geom.group, geom.mass, geom.contype, geom.conaffinity = rgba, group, 0.0, 0, 0
    return geom


def _add_table(spec: mujoco.MjSpec) -> None:
    world = spec.worldbody
    _collide(_box(world, (0.1, -0.6, -0.03), (1.0, 0.6, 0.0), _WOOD, SCENERY_GROUP), 0.6)
    floor = world.add_geom(type=mujoco.mjtGeom.mjGEOM_PLANE, size=(3.0, 3.0, 0.1), pos=(0.0, 0.0, -0.75))
    floor.rgba, floor.contype, floor.conaffinity = (0.66, 0.69, 0.72, 1.0), 0, 0
    spec.add_texture(
        name='sky',
        type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=(0.93, 0.94, 0.96),
        rgb2=(0.55, 0.60, 0.66),
        width=64,
        height=384,
    )
    spec.visual.headlight.ambient, spec.visual.headlight.diffuse = (0.35, 0.35, 0.35), (0.15, 0.15, 0.15)
    for place, towards, level in (
        ((0.2, -1.0, 1.8), (0.15, 0.5, -0.85), 0.45),
        ((1.2, 0.9, 1.5), (-0.4, -0.5, -0.75), 0.25),
    ):
        world.add_light(pos=place, dir=towards, castshadow=False, diffuse=(level, level, level))


def _add_housing(spec: mujoco.MjSpec, socket: SocketParameters) -> None:
    """The visible part of the socket, which does not show the hole's place under the seal."""
    body = spec.worldbody.add_body(name=HOUSING, pos=(0.5, 0.0, socket.rim_m))
    half_x, half_y = socket.housing_m[0] / 2, socket.housing_m[1] / 2
    top = socket.lip_m
    _box(body, (-half_x, -half_y, -socket.rim_m), (half_x, half_y, top), _BLUE, SCENERY_GROUP)
    seal = body.add_geom(
        type=mujoco.mjtGeom.mjGEOM_CYLINDER, pos=(0.0, 0.0, top), size=(socket.seal_m, 0.0003, 0.0), mass=0.0
    )
    seal.rgba, seal.group, seal.contype, seal.conaffinity = _BLACK, SCENERY_GROUP, 0, 0


def _add_socket(spec: mujoco.MjSpec, socket: SocketParameters) -> None:
    """Convex wedges around the hole: a ring with the funnel on top, a flat ring around it, a floor."""
    body = spec.body(HOUSING).add_body(name=SOCKET)
    rings = {
        'funnel': (socket.hole_radius_m, socket.funnel_m, 0.0, socket.lip_m),
        'flat': (socket.funnel_m, socket.outer_m, socket.lip_m, socket.lip_m),
    }
    for ring, (inner_m, outer_m, inner_top_m, outer_top_m) in rings.items():
        for i in range(socket.wedges):
            mesh = spec.add_mesh(name=f'{ring}_{i}')
            vertices = _wedge(socket, i, (inner_m, outer_m), (inner_top_m, outer_top_m))
            mesh.uservert = vertices.ravel()
            geom = body.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname=mesh.name, mass=0.0)
            geom.group = SOCKET_GROUP
            _collide(geom, socket.friction)
    corner = (socket.outer_m, socket.outer_m)
    low, high = (-corner[0], -corner[1], -socket.rim_m), (*corner, -socket.depth_m)
    _collide(_box(body, low, high, _BLUE, SOCKET_GROUP), socket.friction)


def _wedge(
    socket: SocketParameters, i: int, radii_m: tuple[float, float], tops_m: tuple[float, float]
) -> np.ndarray:
    """Corners [8, 3] of wedge `i`, whose flat inner side is tangent to the hole."""
    half = math.pi / socket.wedges
    corners = []
    for radius_m, top_m in zip(radii_m, tops_m, strict=True):
        for angle in ((2 * i - 1) * half, (2 * i + 1) * half):
            corner_m = radius_m / math.cos(half)
            xy = (corner_m * math.cos(angle), corner_m * math.sin(angle))
            corners += [(*xy, top_m), (*xy, -socket.depth_m)]
    return np.array(corners)


def _add_pads(spec: mujoco.MjSpec) -> None:
    """Fingers and tactile sensors as boxes; a pad's face lies at the finger's y = 0."""
    for name in FINGERS:
        body, z = spec.body(name), TCP_IN_FINGER_M
        _box(body, (-0.010, 0.004, 0.0), (0.010, 0.018, z - 0.020), _CASE, 2)
        _box(body, (-0.014, 0.003, z - 0.022), (0.014, 0.019, z + 0.010), _CASE, 2)
        _box(body, (-0.0105, 0.0, z - 0.0085), (0.0105, 0.003, z + 0.0085), _GEL, 2)
    # The left sensor's light shield, which also keeps the plug's tilt out of the hand-eye camera's view.
    left, z = spec.body(FINGERS[0]), TCP_IN_FINGER_M
    _box(left, (0.014, -0.016, z - 0.024), (0.016, 0.019, z + 0.010), _CASE, 2)
    _box(left, (-0.014, -0.0145, z - 0.024), (0.014, 0.003, z - 0.022), _CASE, 2)


def _add_plug(spec: mujoco.MjSpec, plug: PlugParameters, friction: float) -> None:
    body = spec.body(HAND).add_body(name=PLUG, pos=TCP_IN_HAND_M)
    for i, (name, stiffness) in enumerate(zip(MOUNT, plug.stiffness, strict=True)):
        kind = mujoco.mjtJoint.mjJNT_SLIDE if i < 3 else mujoco.mjtJoint.mjJNT_HINGE
        joint = body.add_joint(name=name, type=kind, axis=np.eye(3)[i % 3])
        joint.armature, joint.frictionloss = 0.0, 0.0  # not those of the arm's joints, which are the default
        joint.stiffness = [stiffness] + [0.0] * (np.size(joint.stiffness) - 1)
    base_m = plug.tip_m - plug.length_m
    half_x, half_y = plug.body_m[0] / 2, plug.body_m[1] / 2
    grip = _box(body, (-half_x, -half_y, -plug.body_top_m), (half_x, half_y, base_m), _METAL, PLUG_GROUP)
    grip.mass = 0.6 * plug.mass_kg
    _collide(grip, friction)
    peg = spec.add_mesh(name='peg')
    peg.uservert = _peg(plug).ravel()
    geom = body.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname='peg', mass=0.4 * plug.mass_kg)
    geom.rgba, geom.group = _METAL, PLUG_GROUP
    _collide(geom, friction)


def _peg(plug: PlugParameters) -> np.ndarray:
    """Corners [3 _SIDES, 3] of the peg, its edge chamfered."""
    angles = np.arange(_SIDES) * 2 * math.pi / _SIDES
    circle = np.column_stack([np.cos(angles), np.sin(angles), np.zeros(_SIDES)])
    rings = (
        (plug.radius_m, plug.tip_m - plug.length_m),
        (plug.radius_m, plug.tip_m - plug.chamfer_m),
        (plug.radius_m - plug.chamfer_m, plug.tip_m),
    )
    return np.concatenate([radius_m * circle + (0.0, 0.0, z_m) for radius_m, z_m in rings])


def _add_cameras(spec: mujoco.MjSpec) -> None:
    for name, eye_m in (('main', (1.05, 0.30, 0.42)), ('side', (0.62, -0.58, 0.30))):
        quaternion = turn_towards(eye_m, (0.48, 0.0, 0.12), (0.0, 0.0, 1.0))
        spec.worldbody.add_camera(name=name, pos=eye_m, quat=quaternion, fovy=FOV_DEG)
    bracket_m = (0.075, 0.0, 0.02)  # in front of the hand, looking at the plug's tip
    quaternion = turn_towards(bracket_m, (0.0, 0.0, 0.135), (1.0, 0.0, 0.0))
    spec.body(HAND).add_camera(name='handeye', pos=bracket_m, quat=quaternion, fovy=FOV_DEG)


def _set_damping(model: mujoco.MjModel, plug: PlugParameters) -> None:
    """Damp the mount's joints by the ratio given, for the plug's mass and inertia about the TCP."""
    body = model.body(PLUG)
    offset_m = body.ipos
    rotation = np.zeros(9)
    mujoco.mju_quat2Mat(rotation, body.iquat)
    turn = rotation.reshape(3, 3)
    inertia = turn @ np.diag(body.inertia) @ turn.T
    inertia += plug.mass_kg * (offset_m @ offset_m * np.eye(3) - np.outer(offset_m, offset_m))
    masses = np.concatenate([np.full(3, plug.mass_kg), np.diag(inertia)])
    for name, mass, stiffness in zip(MOUNT, masses, plug.stiffness, strict=True):
        model.dof_damping[model.joint(name).dofadr] = 2 * plug.damping_ratio * math.sqrt(mass * stiffness)

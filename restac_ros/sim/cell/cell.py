"""The cell in motion: steps of 1 ms of arm, controller, gripper, plug and socket; deterministic."""

import logging
import math
from dataclasses import dataclass

import mujoco
import numpy as np

from restac_ros.contract.schema import Limits
from restac_ros.control.supervisor import ROBOT_MODE_MOVE
from restac_ros.geometry import quaternion as quat
from restac_ros.geometry.pose import Pose
from restac_ros.sim.cell.arm_model import FINGERS, HAND
from restac_ros.sim.cell.cell_model import HOUSING, PLUG, SOCKET, TCP_IN_HAND_M, build_model
from restac_ros.sim.cell.impedance import TORQUE_LIMITS_NM, ImpedanceGains, impedance_torque
from restac_ros.sim.cell.parameters import MOUNT, CellError, CellParameters, CellScene
from restac_ros.sim.inverse_kinematics import READY_RAD, step_joints_towards
from restac_ros.sim.virtual_arm import ROBOT_MODE_GUIDING, ROBOT_MODE_REFLEX

DOWN_XYZW = np.array([1.0, 0.0, 0.0, 0.0])  # the tool points straight down
INSERTED_M = 0.008  # depth from which a plug counts as inserted
OPEN_M = 0.08
REFLEX_N = 60.0  # contact and push together, in mode move
_XYZW, _WXYZ = [1, 2, 3, 0], [3, 0, 1, 2]  # to our order of a quaternion, and to MuJoCo's
_GRIPPER_M_S = 0.05
_UNSTABLE = [
    int(mujoco.mjtWarning.mjWARN_BADQPOS),
    int(mujoco.mjtWarning.mjWARN_BADQVEL),
    int(mujoco.mjtWarning.mjWARN_BADQACC),
]
_RELEASE_M = 0.0005  # farther open than the plug is thick, the plug is free
_DROPPED_NMS_RAD = (1.0, 1.0, 1.0)
_SETTLE_STEPS = 300
_IK_STEPS = 50
_HOLD_NM_RAD = np.array([600.0, 600.0, 600.0, 600.0, 250.0, 150.0, 50.0])
_GUIDED_NMS_RAD = np.array([25.0, 25.0, 25.0, 25.0, 4.0, 4.0, 4.0])  # 20 N lead the tool at some 0.2 m/s


@dataclass(frozen=True)
class CellState:
    """State of the cell at one instant, in the base frame: m, N and rad.

    Attributes:
        pose: of the TCP.
        tip_m: [3] of the peg's tip.
        mount: [6] displacement of the plug in the grasp, along and about the hand's x, y, z: the gel's
            deformation, exact.
        force_n: [3] of all contacts on the plug.
        depth_m: of the peg's tip below the hole's rim, 0 unless it is in the hole.
        opening_m: between the pads.
        held: whether the plug is in the grasp.
        torques_nm: [7] commanded last.
        mode: of the robot, as in FrankaRobotState.
    """

    time_s: float
    joints_rad: np.ndarray
    joint_speeds_rad_s: np.ndarray
    pose: Pose
    tip_m: np.ndarray
    mount: np.ndarray
    force_n: np.ndarray
    depth_m: float
    opening_m: float
    held: bool
    torques_nm: np.ndarray
    mode: int

    @property
    def inserted(self) -> bool:
        return self.depth_m >= INSERTED_M

    @property
    def felt_force_n(self) -> np.ndarray:
        """Force [3] of all contacts on the plug; 0 once it has been dropped."""
        return self.force_n if self.held else np.zeros(3)


class Cell:
    """A robot with a plug in its hand above a socket.

    In mode move the arm follows targets with the stiffness of `ImpedanceGains`. In any other mode it ignores
    them: it stands, or, in guiding mode, yields to a hand. Back in move it stays until the next target. A
    force above REFLEX_N stops it, as Franka's collision reflex does. Not thread-safe.

    Attributes:
        model, data: MuJoCo's, for cameras.
        peak_n: largest contact force since the start.
    """

    def __init__(self, scene: CellScene, limits: Limits | None = None) -> None:
        self.parameters, self.gains, self._limits = CellParameters(), ImpedanceGains(), limits
        self.model = build_model(self.parameters)
        mujoco.set_mju_user_warning(logging.getLogger(__name__).warning)  # else MUJOCO_LOG.TXT here
        self.data = mujoco.MjData(self.model)
        self._hand = self.model.body(HAND).id
        self._plug, self._socket = self.model.body(PLUG).id, self.model.body(SOCKET).id
        self._mount = np.array([self.model.joint(name).dofadr.item() for name in MOUNT])
        self._springs = self.model.jnt_stiffness.copy(), self.model.dof_damping.copy()
        self._jacobian = np.zeros((6, self.model.nv))
        self.reset(scene)

    def reset(self, scene: CellScene) -> None:
        """Put everything where `scene` has it, at rest, the plug held, mode move, time 0."""
        model = self.model
        mujoco.mj_resetData(model, self.data)
        model.jnt_stiffness[:], model.dof_damping[:] = self._springs
        model.body_pos[model.body(HOUSING).id, :2] = scene.housing_m
        model.body_pos[self._socket, :2] = scene.hole_m
        model.body_pos[self._plug] = TCP_IN_HAND_M + scene.grasp_m
        half = scene.grasp_rad / 2
        model.body_quat[self._plug] = (math.cos(half), 0.0, math.sin(half), 0.0)
        self.opening_m = self._opening_goal_m = self.parameters.plug.body_m[1]
        self._held, self._mode = True, ROBOT_MODE_MOVE
        self._push_n: np.ndarray = np.zeros(3)
        self._torques_nm, self.peak_n = np.zeros(7), 0.0
        self._posture_rad: np.ndarray = _posture(scene)
        self.data.qpos[:7] = self._posture_rad
        self._place_fingers()
        mujoco.mj_forward(model, self.data)
        self._aim(Pose(np.array(scene.start_m), DOWN_XYZW), at_once=True)
        self.step(_SETTLE_STEPS)
        self.data.time = 0.0

    @property
    def mode(self) -> int:
        """The robot's mode, as in FrankaRobotState."""
        return self._mode

    @property
    def target(self) -> Pose:
        """The last target of the TCP, in the base frame."""
        return Pose(self._target_m.copy(), self._target_wxyz[_XYZW])

    def follow(self, target: Pose) -> None:
        """Set the target of the TCP, in the base frame; ignored outside of mode move.

        Raises:
            CellError: it is not finite or outside of the workspace of `limits`.
        """
        if not target.finite:
            raise CellError(f'the target pose is {target}, expected finite numbers')
        if self._limits is not None:
            box = self._limits.workspace_m
            if np.any(target.position_m < box.min) or np.any(target.position_m > box.max):
                place = np.round(target.position_m, 4).tolist()
                raise CellError(f'the target {place} m is outside the workspace {box.min} .. {box.max} m')
        if self._mode == ROBOT_MODE_MOVE:
            self._aim(target)

    def grip(self, opening_m: float) -> None:
        """Move the pads to an opening in m, as near as gripper and plug allow; opening releases the plug."""
        if not 0.0 <= opening_m <= OPEN_M:
            raise CellError(f'the opening is {opening_m} m, expected 0 to {OPEN_M} m')
        self._opening_goal_m = opening_m

    def set_mode(self, mode: int) -> None:
        """Change the robot's mode, as in FrankaRobotState; the arm stops where it is."""
        self._mode = mode
        self._hold_rad = self.data.qpos[:7].copy()
        self._posture_rad = self._hold_rad
        self._aim(self._pose(), at_once=True)

    def push(self, force_n: np.ndarray) -> None:
        """Apply a hand's force [3] in N to the TCP, in the base frame, until the next call."""
        self._push_n = np.asarray(force_n, dtype=float)

    def move_housing(self, housing_m: tuple[float, float]) -> None:
        """Move the housing, and the hole in it, on the table: [2] of its centre in the base frame, m."""
        self.model.body_pos[self.model.body(HOUSING).id, :2] = housing_m

    def step(self, steps: int) -> None:
        """Advance by `steps` of the physics' step, 1 ms each.

        Raises:
            CellError: the simulation became unstable, upon which MuJoCo has put everything back to its start.
        """
        for _ in range(steps):
            mujoco.mj_step1(self.model, self.data)
            self._check_stable()
            self._torques_nm = self._control()
            self.data.qfrc_applied[:7] = self._torques_nm + self._pushed()
            mujoco.mj_step2(self.model, self.data)
            self._watch_force()
            if self.opening_m != self._opening_goal_m:
                self._move_gripper()

    def state(self) -> CellState:
        """Return the state after the last step."""
        mujoco.mj_kinematics(self.model, self.data)
        turn = self.data.xmat[self._hand].reshape(3, 3)
        return CellState(
            time_s=float(self.data.time),
            joints_rad=self.data.qpos[:7].copy(),
            joint_speeds_rad_s=self.data.qvel[:7].copy(),
            pose=self._pose(),
            tip_m=self._tip_m(),
            mount=self.data.qpos[self._mount].copy(),
            force_n=turn @ self.data.qfrc_constraint[self._mount[:3]],
            depth_m=self._depth_m(),
            opening_m=self.opening_m,
            held=self._held,
            torques_nm=self._torques_nm.copy(),
            mode=self._mode,
        )

    def _pose(self) -> Pose:
        data, hand = self.data, self._hand
        turn = data.xmat[hand].reshape(3, 3)
        quaternion = data.xquat[hand][_XYZW]
        return Pose(data.xpos[hand] + turn @ TCP_IN_HAND_M, quaternion)

    def _aim(self, target: Pose, at_once: bool = False) -> None:
        self._target_m = np.array(target.position_m, dtype=float)
        self._target_wxyz = quat.normalise(np.asarray(target.quaternion_xyzw, dtype=float))[_WXYZ]
        if at_once:
            self._aim_m, self._aim_wxyz = self._target_m.copy(), self._target_wxyz.copy()

    def _control(self) -> np.ndarray:
        """Torques of the mode, gravity and Coriolis forces compensated, within the joints' limits, [7] Nm."""
        data = self.data
        joints, speeds = data.qpos[:7], data.qvel[:7]
        turn = data.xmat[self._hand].reshape(3, 3)
        tcp_m = data.xpos[self._hand] + turn @ TCP_IN_HAND_M
        mujoco.mj_jac(self.model, data, self._jacobian[:3], self._jacobian[3:], tcp_m, self._hand)
        if self._mode == ROBOT_MODE_MOVE:
            self._smooth_target()
            error, turned = np.empty(6), np.empty(3)
            error[:3] = self._aim_m - tcp_m
            mujoco.mju_subQuat(turned, self._aim_wxyz, data.xquat[self._hand])
            error[3:] = turn @ turned
            jacobian = self._jacobian[:, :7]
            torque = impedance_torque(self.gains, jacobian, error, speeds, self._posture_rad - joints)
        elif self._mode == ROBOT_MODE_GUIDING:
            torque = -_GUIDED_NMS_RAD * speeds
        else:
            torque = _HOLD_NM_RAD * (self._hold_rad - joints) - 2 * np.sqrt(_HOLD_NM_RAD) * speeds
        torque += data.qfrc_bias[:7]
        return np.minimum(np.maximum(torque, -TORQUE_LIMITS_NM), TORQUE_LIMITS_NM)

    def _smooth_target(self) -> None:
        share = 1.0 - math.exp(-self.parameters.step_s / self.gains.smoothing_s)
        self._aim_m += share * (self._target_m - self._aim_m)
        turn = np.empty(3)
        mujoco.mju_subQuat(turn, self._target_wxyz, self._aim_wxyz)
        mujoco.mju_quatIntegrate(self._aim_wxyz, turn, share)

    def _check_stable(self) -> None:
        if self.data.warning.number[_UNSTABLE].any():
            raise CellError(
                'the simulation became unstable: a position, speed or acceleration is not finite or far too '
                'large. Expected parameters, gains and pushes near the defaults; `reset` begins again'
            )

    def _pushed(self) -> np.ndarray:
        return self._jacobian[:3, :7].T @ self._push_n

    def _watch_force(self) -> None:
        if not self._held:
            return
        contact = self.data.qfrc_constraint[self._mount[:3]]
        force_n = math.sqrt(contact @ contact)
        self.peak_n = max(self.peak_n, force_n)
        if self._mode == ROBOT_MODE_MOVE and force_n + math.sqrt(self._push_n @ self._push_n) > REFLEX_N:
            self.set_mode(ROBOT_MODE_REFLEX)

    def _move_gripper(self) -> None:
        way_m = _GRIPPER_M_S * self.parameters.step_s
        thickness_m = self.parameters.plug.body_m[1]
        goal_m = max(self._opening_goal_m, thickness_m) if self._held else self._opening_goal_m
        self.opening_m += min(max(goal_m - self.opening_m, -way_m), way_m)
        self._place_fingers()
        if self._held and self.opening_m > thickness_m + _RELEASE_M:
            self._held = False
            self.model.jnt_stiffness[-len(MOUNT) :] = 0.0
            # It falls freely, but turns with the hand: the three hinges would lose a degree of freedom.
            self.model.dof_damping[self._mount] = (0.0, 0.0, 0.0, *_DROPPED_NMS_RAD)

    def _place_fingers(self) -> None:
        for name, side in zip(FINGERS, (1, -1), strict=True):
            self.model.body_pos[self.model.body(name).id, 1] = side * self.opening_m / 2

    def _tip_m(self) -> np.ndarray:
        turn = self.data.xmat[self._plug].reshape(3, 3)
        return self.data.xpos[self._plug] + self.parameters.plug.tip_m * turn[:, 2]

    def _depth_m(self) -> float:
        """How far the tip is below the rim, where it is above the hole or in it."""
        aside_m = self._tip_m() - self.data.xpos[self._socket]
        inside = math.hypot(aside_m[0], aside_m[1]) < self.parameters.socket.hole_radius_m
        return max(0.0, -float(aside_m[2])) if inside else 0.0


def _posture(scene: CellScene) -> np.ndarray:
    """Joint positions [7] of the arm at the scene's start, by inverse kinematics from the ready posture."""
    goal = np.eye(4)
    goal[:3, :3], goal[:3, 3] = quat.to_matrix(DOWN_XYZW), scene.start_m
    joints_rad = READY_RAD
    for _ in range(_IK_STEPS):
        joints_rad = step_joints_towards(goal, joints_rad)
    return joints_rad

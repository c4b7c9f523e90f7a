"""A compliant virtual arm that follows set-points, can be pushed, and stops outside of mode move."""

from dataclasses import dataclass

import numpy as np

from restac_ros.contract.schema import Contract
from restac_ros.control.supervisor import ROBOT_MODE_MOVE
from restac_ros.framing.kinematics import fk_hand_tcp, transform
from restac_ros.geometry import quaternion as quat
from restac_ros.geometry.pose import Offset, Pose
from restac_ros.sim.inverse_kinematics import READY_RAD, step_joints_towards

ROBOT_MODE_GUIDING, ROBOT_MODE_REFLEX = 3, 4
APPROACH_STEPS = 100
IK_PERIOD_NS = 5_000_000
IK_STEPS = 10  # at most, per period: enough after a stall of the process
REACHED = 1e-4  # m and rad
NOISE_RAD = 1e-6  # no real encoder repeats itself exactly


@dataclass(frozen=True)
class Impedance:
    """Parameters of a critically damped Cartesian impedance controller.

    Attributes:
        rate_rad_s: its natural frequency; a moving set-point is followed 2 / rate_rad_s later.
        stiffness_n_m: a hand displaces the arm by 1 / stiffness_n_m per N.
        guided_n_s_m: damping that a hand feels in guiding mode.
    """

    rate_rad_s: float = 25.0
    stiffness_n_m: float = 400.0
    guided_n_s_m: float = 100.0


class VirtualArm:
    """Starts in the middle of the workspace, at rest, with the tool as in Franka's ready posture.

    In mode move it follows set-points with lag, and springs back when a hand releases it. In any other mode
    it ignores them: it stands, or, in guiding mode, follows the hand. Back in move it stays where it is until
    the next set-point, as controllers do when they are activated. Not thread-safe.
    """

    def __init__(self, contract: Contract, now_ns: int) -> None:
        self.impedance = Impedance()
        self._hand_n = np.zeros(3)
        self._contract, self._opening_m = contract, contract.gripper.opening_m[1]
        offset = contract.robot.pose_tool_in_hand
        self._tool_in_hand = transform(np.array(offset.xyz_m), np.array(offset.rpy_rad))
        self._noise = np.random.default_rng(0)
        self._mode = ROBOT_MODE_MOVE
        self._now_ns = now_ns
        self._joints_rad, self._joints_ns = READY_RAD.copy(), now_ns
        box = contract.limits.workspace_m
        turn = quat.from_matrix(self._pose_of(READY_RAD)[:3, :3])
        self._pose = self._target = Pose((np.array(box.min) + np.array(box.max)) / 2, turn)
        self._speed = np.zeros(6)  # m/s and rad/s
        for _ in range(APPROACH_STEPS):
            self._joints_rad = self._nearer(self._joints_rad)
        self._stop_at_the_reach()
        self._home = self._pose, self._joints_rad

    def set_mode(self, mode: int, now_ns: int) -> None:
        """Change the mode, as in FrankaRobotState; the arm stops, or follows again, from its present pose."""
        self.advance(now_ns)
        self._mode, self._target, self._speed = mode, self._pose, np.zeros(6)

    def home(self, now_ns: int) -> None:
        """Stand where it started, at once; the mode stays."""
        self.advance(now_ns)
        self._pose, self._joints_rad = self._home
        self._target, self._speed = self._pose, np.zeros(6)

    def push(self, hand_n: np.ndarray, now_ns: int) -> None:
        """Apply the force of a hand to the tool, [3] in N in the base frame; zero releases it."""
        self.advance(now_ns)
        self._hand_n = hand_n

    def follow(self, set_point: Pose, now_ns: int) -> None:
        """Set the target, in mode move."""
        self.advance(now_ns)
        if self._mode == ROBOT_MODE_MOVE:
            self._target = set_point

    def pose(self, now_ns: int) -> Pose:
        """Return the tool's pose in the base frame."""
        self.advance(now_ns)
        return self._pose

    def joints_rad(self, now_ns: int) -> np.ndarray:
        """Return joint positions [7], with an encoder's noise."""
        self.advance(now_ns)
        if now_ns - self._joints_ns >= IK_PERIOD_NS:
            self._joints_ns = now_ns
            self._move_joints()
        return self._joints_rad + NOISE_RAD * self._noise.standard_normal(7)

    def grip(self, opening_m: float, now_ns: int) -> None:
        """Set the gripper's opening, at once."""
        self._opening_m = opening_m

    def reading(self, stream: str, now_ns: int) -> np.ndarray | Pose | None:
        """Return what a stream measures, with an encoder's noise; None of cameras and tactile sensors.

        arm_joints: positions and speeds [2, 7] in rad and rad/s, the speeds 0; gripper: opening [] in m;
        poses: of the tool in the base.
        """
        match self._contract.stream(stream).role:
            case 'arm_joints':
                return np.stack([self.joints_rad(now_ns), np.zeros(7)])
            case 'gripper':
                return np.array(self._opening_m)
            case 'tool_pose' | 'target_pose':
                pose = self.pose(now_ns)
                return Pose(
                    pose.position_m + NOISE_RAD * self._noise.standard_normal(3), pose.quaternion_xyzw
                )
        return None

    def advance(self, now_ns: int) -> None:
        """Advance to `now_ns`, exactly: the equations of motion are linear between two calls."""
        elapsed_s = max(0, now_ns - self._now_ns) * 1e-9
        self._now_ns = max(now_ns, self._now_ns)
        if self._mode == ROBOT_MODE_MOVE:
            self._spring(elapsed_s)
        elif self._mode == ROBOT_MODE_GUIDING:
            moved_m = self._hand_n / self.impedance.guided_n_s_m * elapsed_s
            self._pose = Pose(self._pose.position_m + moved_m, self._pose.quaternion_xyzw)

    def _spring(self, elapsed_s: float) -> None:
        """x'' = w^2 (rest - x) - 2 w x': the arm goes to where spring and hand are in balance."""
        rate = self.impedance.rate_rad_s
        rest = Pose(
            self._target.position_m + self._hand_n / self.impedance.stiffness_n_m,
            self._target.quaternion_xyzw,
        )
        gap = np.concatenate(Offset.between(rest, self._pose))
        fall = np.exp(-rate * elapsed_s)
        slope = self._speed + rate * gap
        left = (gap + slope * elapsed_s) * fall
        self._speed = (slope - rate * (gap + slope * elapsed_s)) * fall
        self._pose = Offset(left[:3], left[3:]).apply(rest)

    def _move_joints(self) -> None:
        for _ in range(IK_STEPS):
            self._joints_rad = self._nearer(self._joints_rad)
            if self._short() < REACHED:
                return
        self._stop_at_the_reach()

    def _short(self) -> float:
        """Distance of the joints' tool pose from the arm's, m or rad, the larger."""
        gap = Offset.between(self._pose, self._joints_pose())
        return max(gap.distance_m, gap.angle_rad)

    def _stop_at_the_reach(self) -> None:
        """Stand where the joints are, if they cannot reach the pose: it is measured through them."""
        if self._short() >= REACHED:
            self._pose, self._speed = self._joints_pose(), np.zeros(6)

    def _joints_pose(self) -> Pose:
        matrix = self._pose_of(self._joints_rad)
        return Pose(matrix[:3, 3], quat.from_matrix(matrix[:3, :3]))

    def _nearer(self, joints_rad: np.ndarray) -> np.ndarray:
        """One step of inverse kinematics towards the tool's pose."""
        goal = np.eye(4)
        goal[:3, :3], goal[:3, 3] = quat.to_matrix(self._pose.quaternion_xyzw), self._pose.position_m
        return step_joints_towards(goal, joints_rad, self._tool_in_hand)

    def _pose_of(self, joints_rad: np.ndarray) -> np.ndarray:
        return fk_hand_tcp(joints_rad) @ self._tool_in_hand

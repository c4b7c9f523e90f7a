"""Set-points that stay inside the workspace and below limits of speed, acceleration and jerk, whatever is
asked.

Two stages, both in continuous time, so that late or irregular calls change nothing about the bounds:

1. The *reference* moves towards what is asked, at most at the speed limits, inside the workspace.
2. The *set-point* is the reference averaged over the recent past with a trapezoid, a moving average of width
   T1 followed by one of width T2.

Averages of points of a convex box lie in the box, and cannot overshoot. With speed at most v, the
acceleration is at most 2 v / T1 and the jerk at most 4 v / (T1 T2) (total variations of the trapezoid and of
its slope); the two widths are chosen from the limits accordingly. A frozen reference is reached within T1 +
T2: the ramp to hold. The price is a delay of (T1 + T2) / 2, the centre of the average: a caller who knows the
future, as a chunk does, asks for the pose of that much later (`lead_ns`).

Rotations use the cumulative form of the same average, a product of powers of the reference's turns, as
cumulative B-splines on SO(3) do (Kim, Kim and Shin 1995). Angular velocity then is a sum of rotated terms and
obeys the same bound w; since turns about different axes do not commute, w^2 / 2 adds to the acceleration, 4
w^2 / T1 + w^3 / 2 to the jerk.
"""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np

from restac_ros.contract.schema import Contract
from restac_ros.geometry import quaternion as quat
from restac_ros.geometry.pose import Offset, Pose


class LimitError(ValueError):
    """Limits that contradict each other, or a pose from which no motion may start."""


@dataclass(frozen=True)
class MotionLimits:
    """Bounds on commanded tool poses, in the base frame. Norms, not per axis.

    Attributes:
        workspace_min_m, workspace_max_m: opposite corners of the box.
        step_m, step_rad: most that one set-point may differ from the one before, however late it comes.
        opening_m: gripper openings, closed and open.
    """

    workspace_min_m: tuple[float, float, float]
    workspace_max_m: tuple[float, float, float]
    speed_m_s: float
    speed_rad_s: float
    acceleration_m_s2: float = 5.0
    acceleration_rad_s2: float = 25.0
    jerk_m_s3: float = 250.0
    jerk_rad_s3: float = 1250.0
    step_m: float = 0.01
    step_rad: float = 0.05
    opening_m: tuple[float, float] = (0.0, 0.08)

    @classmethod
    def from_contract(cls, contract: Contract, **more: float) -> Self:
        """The contract's limits; `more` sets what the contract does not hold."""
        return cls(
            workspace_min_m=contract.limits.workspace_m.min,
            workspace_max_m=contract.limits.workspace_m.max,
            speed_m_s=contract.limits.speed_m_s,
            speed_rad_s=contract.limits.speed_rad_s,
            opening_m=contract.gripper.opening_m,
            **more,
        )

    def __post_init__(self) -> None:
        for name in (
            'speed_m_s', 'speed_rad_s', 'acceleration_m_s2', 'acceleration_rad_s2',
            'jerk_m_s3', 'jerk_rad_s3', 'step_m', 'step_rad',
        ):  # fmt: skip
            if not 0 < getattr(self, name) < math.inf:
                raise LimitError(f'{name} is {getattr(self, name)}, expected a number above 0')
        for axis, low, high in zip('xyz', self.workspace_min_m, self.workspace_max_m, strict=True):
            if not low < high:
                raise LimitError(f'the workspace goes from {low} to {high} m in {axis}, expected min < max')
        w = self.speed_rad_s
        if self.acceleration_rad_s2 <= w**2 / 2 or self.jerk_rad_s3 <= w**3 / 2:
            raise LimitError(
                f'at {w} rad/s, turning alone takes {w**2 / 2:.4g} rad/s^2 and {w**3 / 2:.4g} rad/s^3, the '
                f'limits are {self.acceleration_rad_s2} and {self.jerk_rad_s3}; lower speed_rad_s or raise '
                'them'
            )

    @cached_property
    def windows_s(self) -> tuple[float, float]:
        """T1 >= T2, the shortest that keep acceleration and jerk within the limits."""
        v, w = self.speed_m_s, self.speed_rad_s
        jerk_rad = self.jerk_rad_s3 - w**3 / 2
        first = max(
            2 * v / self.acceleration_m_s2,
            2 * w / (self.acceleration_rad_s2 - w**2 / 2),
            # Below these T2 would be longer than T1.
            math.sqrt(4 * v / self.jerk_m_s3),
            2 * (w**2 + math.sqrt(w**4 + jerk_rad * w)) / jerk_rad,
        )
        second = max(4 * v / (self.jerk_m_s3 * first), 4 * w / (jerk_rad * first - 4 * w**2))
        return first, min(first, second)

    @property
    def stop_ns(self) -> int:
        """Longest time from a frozen reference to standing still."""
        return math.ceil(sum(self.windows_s) * 1e9)

    @property
    def lead_ns(self) -> int:
        """Delay of the set-point behind the reference: ask for the pose of so much later."""
        return round(sum(self.windows_s) * 0.5e9)

    @property
    def max_gap_s(self) -> float:
        """Time that one call may catch up, by the limits of one step."""
        return min(self.step_m / self.speed_m_s, self.step_rad / self.speed_rad_s)

    def inside(self, position_m: np.ndarray) -> bool:
        """Return whether a position [3], m in the base frame, lies in the workspace."""
        return bool(np.all(position_m >= self.workspace_min_m) and np.all(position_m <= self.workspace_max_m))

    def nearest_inside(self, position_m: np.ndarray) -> np.ndarray:
        """Return the position [3] in the workspace that is nearest to another, m in the base frame."""
        return np.clip(position_m, self.workspace_min_m, self.workspace_max_m)

    def clip_opening(self, opening_m: float) -> float:
        """The nearest opening that the gripper has."""
        return min(max(opening_m, self.opening_m[0]), self.opening_m[1])


@dataclass(frozen=True, eq=False)
class Motion:
    """State of the limiter: the recent reference, and the set-point made of it.

    `time_s` are times of a clock of its own, which runs with the caller's but never jumps: a call that comes
    late by more than one step allows takes the motion up where it was, later.

    Attributes:
        now_ns: caller's time of the last call.
        time_s: [n] of the reference's knots, rising; it stood still before the first.
        positions_m, quaternions: [n, 3], [n, 4] the reference at the knots.
        turns_rad: [n - 1, 3] rotation vectors from each knot to the next.
        set_point: what to command.
        clipped: what was asked last lay outside the workspace.
        slowed: what was asked last was too far away to be reached at once.
    """

    now_ns: int
    time_s: np.ndarray
    positions_m: np.ndarray
    quaternions: np.ndarray
    turns_rad: np.ndarray
    set_point: Pose
    clipped: bool = False
    slowed: bool = False

    @property
    def reference(self) -> Pose:
        """Where the set-point goes if nothing more is asked."""
        return Pose(self.positions_m[-1], self.quaternions[-1])

    @property
    def standing(self) -> bool:
        """Whether the set-point has reached the reference."""
        gap = Offset.between(self.set_point, self.reference)
        return gap.distance_m < 1e-9 and gap.angle_rad < 1e-9


def start_motion(limits: MotionLimits, pose: Pose, now_ns: int) -> Motion:
    """Stand at the measured pose, or at the nearest one inside the workspace, less than `step_m` away.

    An arm rests some mm beside its set-point, and so outside of a box at whose edge it is held.

    Raises:
        LimitError: the pose is not finite, or farther outside the workspace.
    """
    if not pose.finite:
        raise LimitError(
            f'the tool pose is {pose.position_m} {pose.quaternion_xyzw}, expected finite numbers'
        )
    inside = limits.nearest_inside(pose.position_m)
    if np.linalg.norm(inside - pose.position_m) >= limits.step_m:
        raise LimitError(
            f'the tool is at {np.round(pose.position_m, 4).tolist()} m, outside the workspace '
            f'{list(limits.workspace_min_m)} .. {list(limits.workspace_max_m)}; '
            'move it inside by hand, or widen limits.workspace_m in the contract'
        )
    turn = quat.normalise(pose.quaternion_xyzw)
    stand = Pose(inside, turn)
    return Motion(now_ns, np.zeros(1), inside[None], turn[None], np.zeros((0, 3)), stand)


def advance(limits: MotionLimits, motion: Motion, target: Pose | None, now_ns: int) -> Motion:
    """Go on to `now_ns`, the reference towards `target`, or standing still for None (a ramp to hold).

    Raises:
        LimitError: the target is not finite; nothing has changed.
    """
    if target is not None and not target.finite:
        raise LimitError(
            f'the target is {target.position_m} {target.quaternion_xyzw}, expected finite numbers'
        )
    elapsed_s = min(max((now_ns - motion.now_ns) * 1e-9, 0.0), limits.max_gap_s)
    if elapsed_s == 0.0:
        return replace(motion, now_ns=now_ns, clipped=False, slowed=False)
    reference, turn_rad, clipped, slowed = motion.reference, np.zeros(3), False, False
    if target is not None:
        inside = limits.nearest_inside(target.position_m)
        clipped = bool(np.any(inside != target.position_m))
        goal = Pose(inside, target.quaternion_xyzw)
        reference, turn_rad, slowed = _approach(limits, reference, goal, elapsed_s)
    time_s = np.append(motion.time_s, motion.time_s[-1] + elapsed_s)
    positions = np.concatenate([motion.positions_m, reference.position_m[None]])
    quaternions = np.concatenate([motion.quaternions, reference.quaternion_xyzw[None]])
    turns_rad = np.concatenate([motion.turns_rad, turn_rad[None]])
    # Only the newest knot beyond the average's reach is still needed.
    first = max(int(np.searchsorted(time_s, time_s[-1] - sum(limits.windows_s), side='right')) - 1, 0)
    knots = time_s[first:], positions[first:], quaternions[first:], turns_rad[first:]
    return Motion(now_ns, *knots, _average(limits, *knots), clipped, slowed)


def _approach(
    limits: MotionLimits, start: Pose, target: Pose, elapsed_s: float
) -> tuple[Pose, np.ndarray, bool]:
    """Where the speed limits let the reference get in the time, by which turn, and whether it falls short."""
    way = Offset.between(start, target)
    share_m = min(1.0, limits.speed_m_s * elapsed_s / max(way.distance_m, 1e-12))
    share_rad = min(1.0, limits.speed_rad_s * elapsed_s / max(way.angle_rad, 1e-12))
    covered = Offset(share_m * way.translation_m, share_rad * way.rotation_rad)
    reached = covered.apply(start)
    position = limits.nearest_inside(reached.position_m)  # rounding only
    return Pose(position, reached.quaternion_xyzw), covered.rotation_rad, min(share_m, share_rad) < 1.0


def _average(
    limits: MotionLimits,
    time_s: np.ndarray,
    positions: np.ndarray,
    quaternions: np.ndarray,
    turns_rad: np.ndarray,
) -> Pose:
    """The trapezoid's average of the reference at the newest knot, from its moves between knots."""
    reach = _reach(limits.windows_s, time_s[-1] - time_s)
    share = np.clip((reach[:-1] - reach[1:]) / (time_s[1:] - time_s[:-1]), 0.0, 1.0)
    position = positions[0] + share @ (positions[1:] - positions[:-1])
    turns = quat.from_rotvec(share[::-1, None] * turns_rad[::-1])
    turned = quat.product(np.concatenate([turns, quaternions[:1]]))  # the newest turn is applied last
    return Pose(limits.nearest_inside(position), turned)


def _reach(windows_s: tuple[float, float], age_s: np.ndarray) -> np.ndarray:
    """The trapezoid integrated twice, from 0 to `age_s`: a unit step's answer, summed over time."""
    first, second = windows_s
    edges = ((0.0, 1.0), (second, -1.0), (first, -1.0), (first + second, 1.0))
    cubes = [sign * np.maximum(age_s - edge, 0.0) ** 3 for edge, sign in edges]
    return np.sum(cubes, axis=0) / (6 * first * second)

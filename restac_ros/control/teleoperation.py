"""Set-points from a person's steps and speeds: a goal that leads the arm by little, followed within limits.

Who teleoperates moves the *goal*: by steps (keys) or at a speed (a stick). The set-point follows it within
the limits of `restac_ros.control.limits`. The goal never leads the measured tool by more than `lead_m` and
`lead_rad`, so that the arm stops soon after the last key, and presses on what it meets with no more than the
controller's stiffness times the lead.
"""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from restac_ros.control.limits import Motion, MotionLimits, advance, start_motion
from restac_ros.geometry.pose import Offset, Pose

_LONGEST_TICK_S = 0.1  # a stick moves the goal for so long at most, however late the next tick comes
_STILL_M, _STILL_RAD = 1e-9, 1e-9


@dataclass(frozen=True)
class TeleoperationLimits:
    """Bounds of a teleoperated motion.

    Attributes:
        motion: of the set-points; its speeds are those of a stick at its stop, too.
        lead_m, lead_rad: farthest that the goal may be from the measured tool.
        jump_m, jump_rad: a tool measured farther than this from its set-point was moved otherwise (led by
            hand, reset); the motion then begins anew where it is.
        leap_m, leap_rad: so it was, too, where it has come this much farther since the last call than its
            speed allows.
    """

    motion: MotionLimits
    lead_m: float = 0.02
    lead_rad: float = 0.2
    jump_m: float = 0.05
    jump_rad: float = 0.5
    leap_m: float = 0.01
    leap_rad: float = 0.1

    def slowed(self, speed_m_s: float, speed_rad_s: float) -> Self:
        """These limits with speeds of at most the given ones."""
        motion = replace(
            self.motion,
            speed_m_s=min(self.motion.speed_m_s, speed_m_s),
            speed_rad_s=min(self.motion.speed_rad_s, speed_rad_s),
        )
        return replace(self, motion=motion)


class Teleoperation:
    """Follows steps and speeds; `advance` is to be called regularly, with a time that never goes back."""

    def __init__(self, limits: TeleoperationLimits) -> None:
        self._limits = limits
        self._steps: list[Offset] = []  # since the last `advance`
        self._deflection = np.zeros(6)
        self._motion: Motion | None = None
        self._goal: Pose | None = None
        self._measured: tuple[Pose, int] | None = None  # at the last `advance`, and its time

    def step(self, offset: Offset) -> None:
        """Move the goal by an offset in the base frame."""
        self._steps.append(offset)

    def drop_steps(self) -> None:
        """Forget the steps that nothing has followed: an arm that could not move does not do so later."""
        self._steps.clear()

    def deflect(self, shares: np.ndarray) -> None:
        """Move the goal from now on at shares [6] of the limits' speeds, -1 to 1: along and about x, y, z."""
        self._deflection = np.clip(np.nan_to_num(np.asarray(shares, dtype=float)), -1.0, 1.0)

    def advance(self, measured: Pose, now_ns: int) -> Pose | None:
        """Return the set-point at `now_ns`; None while nothing is asked for and the last one stands.

        Raises:
            LimitError: the tool is outside the workspace, or its measured pose is not finite.
        """
        limits = self._limits.motion
        asked = bool(self._steps) or bool(self._deflection.any())
        motion, goal = self._motion, self._goal
        moved_otherwise = motion is not None and self._was_moved(motion, measured, now_ns)
        self._measured = measured, now_ns
        if motion is None or goal is None or moved_otherwise:
            if not asked:
                self._motion = None
                return None
            motion = start_motion(limits, measured, now_ns)
            goal = motion.set_point
        elapsed_s = min(max(now_ns - motion.now_ns, 0) * 1e-9, _LONGEST_TICK_S)
        if asked:
            goal = self._led(goal, elapsed_s, measured)
        moved = advance(limits, motion, goal, now_ns)
        arrived = moved.standing and _is_at(moved.set_point, motion.set_point)
        self._motion, self._goal = moved, goal
        return None if arrived and not asked else moved.set_point

    def _was_moved(self, motion: Motion, measured: Pose, now_ns: int) -> bool:
        limits = self._limits
        gap = Offset.between(motion.set_point, measured)
        if gap.distance_m > limits.jump_m or gap.angle_rad > limits.jump_rad:
            return True
        if self._measured is None:
            return False
        before, before_ns = self._measured
        way, elapsed_s = Offset.between(before, measured), (now_ns - before_ns) * 1e-9
        return (
            way.distance_m > limits.leap_m + elapsed_s * limits.motion.speed_m_s
            or way.angle_rad > limits.leap_rad + elapsed_s * limits.motion.speed_rad_s
        )

    def _led(self, goal: Pose, elapsed_s: float, measured: Pose) -> Pose:
        """The goal after all that was asked for, inside the workspace, at most the lead from the tool."""
        limits = self._limits.motion
        speeds = np.repeat([limits.speed_m_s, limits.speed_rad_s], 3)
        way = elapsed_s * speeds * self._deflection
        for offset in (*self._steps, Offset(way[:3], way[3:])):
            goal = offset.apply(goal)
        self._steps.clear()
        lead = Offset.between(measured, goal)
        near = Offset(
            lead.translation_m * min(1.0, self._limits.lead_m / max(lead.distance_m, 1e-12)),
            lead.rotation_rad * min(1.0, self._limits.lead_rad / max(lead.angle_rad, 1e-12)),
        )
        led = near.apply(measured)
        return led._replace(position_m=limits.nearest_inside(led.position_m))


def _is_at(one: Pose, other: Pose) -> bool:
    gap = Offset.between(one, other)
    return gap.distance_m < _STILL_M and gap.angle_rad < _STILL_RAD

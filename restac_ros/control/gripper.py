"""Requested openings of the gripper, and the sequence of goals for an action server. No ROS, no clock."""

from typing import Literal, NamedTuple

from restac_ros.control.continuity import Plan
from restac_ros.control.limits import MotionLimits

# Openings that change by less in a step are noise of the policy, not a motion of the fingers.
STEP_TOLERANCE_M = 0.0005
REPEAT_NS = 1_000_000_000  # a driver that was restarted learns the opening from the next repetition
FIRST_RETRY_NS, LAST_RETRY_NS = 500_000_000, 8_000_000_000


class GripperRequest(NamedTuple):
    """The opening due now, and the final opening of the present motion of the fingers; both in m."""

    opening_m: float
    final_m: float


def gripper_request(plan: Plan, limits: MotionLimits, now_ns: int) -> GripperRequest:
    """Return the opening that a plan requests at `now_ns`, within the gripper's range.

    The final opening is the end of the present monotone run in the newest chunk: a gripper that needs a
    second per goal gets a whole close as one goal.
    """
    opening_m = final_m = plan.opening_at(now_ns)
    openings_m = plan.newest.openings_m
    index, _ = plan.newest.place(now_ns)
    change_m = openings_m[index + 1] - openings_m[index]
    if abs(change_m) > STEP_TOLERANCE_M and now_ns < plan.end_ns:
        sign = 1 if change_m > 0 else -1
        end = index + 1
        while end + 1 < len(openings_m) and sign * (openings_m[end + 1] - openings_m[end]) > STEP_TOLERANCE_M:
            end += 1
        final_m = float(openings_m[end])
    return GripperRequest(limits.clip_opening(opening_m), limits.clip_opening(final_m))


class OpeningCommands:
    """Chooses when an opening is sent to a gripper that takes numbers: on a change, and once a second."""

    def __init__(self, deadband_m: float) -> None:
        self._deadband_m = deadband_m
        self._last: tuple[float, int] | None = None  # opening in m and time of the last command

    def is_due(self, opening_m: float, now_ns: int) -> bool:
        """Whether to send the opening now, which then counts as sent."""
        if self._last is not None:
            last_m, last_ns = self._last
            if abs(opening_m - last_m) < self._deadband_m and now_ns - last_ns < REPEAT_NS:
                return False
        self._last = opening_m, now_ns
        return True

    def forget(self) -> None:
        """Forget what was sent, as the fingers may have moved."""
        self._last = None


class Goal(NamedTuple):
    """One goal: an opening in m; `grasp`: close with force and hold the object."""

    number: int
    opening_m: float
    grasp: bool = False


# refused: not accepted. failed: aborted, or unsuccessful by its result. blocked: stopped at an object.
GoalOutcome = Literal['done', 'blocked', 'refused', 'failed']


class GoalSequence:
    """Sends one goal at a time, always for the newest opening; repeats a failed goal with growing delays.

    A gripper needs about a second per goal and queues further ones, so none is sent before the last one
    has ended. A goal without an answer for `timeout_ns` counts as failed. With `grasps`, a close to
    `closed_m` is a grasp, and so is a close that failed because the fingers met an object.

    Attributes:
        problem: what is wrong, '' when nothing is.
    """

    def __init__(
        self, deadband_m: float, timeout_ns: int, closed_m: float = 0.0, grasps: bool = False
    ) -> None:
        self.sent = 0
        self.problem = ''
        self._deadband_m = deadband_m
        self._timeout_ns = timeout_ns
        self._closed_m = closed_m
        self._grasps = grasps
        self._running: Goal | None = None
        self._give_up_ns = 0
        self._reached_m: float | None = None
        self._failed: Goal | None = None
        self._retry_ns = 0
        self._pause_ns = FIRST_RETRY_NS

    def next(self, final_m: float, measured_m: float | None, now_ns: int) -> Goal | None:
        """Return the goal to send now, which then counts as sent; None for none."""
        if self._running:
            if now_ns < self._give_up_ns:
                return None
            self.ended(self._running, 'failed', f'no answer for {self._timeout_ns * 1e-9:g} s', now_ns)
        if self._reached_m is None and measured_m is not None and self._near(final_m, measured_m):
            self._reached_m = final_m
        if self._near(final_m, self._reached_m):
            return None
        again = self._failed is not None and self._near(final_m, self._failed.opening_m)
        if again and now_ns < self._retry_ns:
            return None
        if not again:
            self._failed, self._pause_ns = None, FIRST_RETRY_NS
        self.sent += 1
        self._running = Goal(self.sent, final_m, self._grasps and self._is_grasp(final_m, measured_m))
        self._give_up_ns, self._reached_m = now_ns + self._timeout_ns, None
        return self._running

    def ended(self, goal: Goal, outcome: GoalOutcome, detail: str, now_ns: int) -> None:
        """Process the result of a goal; results of abandoned goals are ignored."""
        if self._running is None or goal.number != self._running.number:
            return
        self._running = None
        if outcome in ('done', 'blocked'):
            self.problem, self._reached_m, self._failed = '', goal.opening_m, None
            return
        first = self._failed is None
        self._failed = goal
        kind = 'grasp' if goal.grasp else 'goal'
        words = 'refuses' if outcome == 'refused' else 'fails in'
        self.problem = f'the gripper {words} a {kind} of {goal.opening_m:.3f} m'
        self.problem += f': {detail}' if detail else ''
        may_grasp = self._grasps and not goal.grasp and outcome == 'failed' and first
        self._retry_ns = now_ns + (0 if may_grasp else self._pause_ns)
        self._pause_ns = min(self._pause_ns if may_grasp else 2 * self._pause_ns, LAST_RETRY_NS)

    def forget(self) -> None:
        """Forget the last goal, as the fingers may have moved."""
        self._reached_m = self._failed = None

    def _is_grasp(self, final_m: float, measured_m: float | None) -> bool:
        if self._failed is not None and not self._failed.grasp:
            return measured_m is None or final_m < measured_m
        return final_m <= self._closed_m + self._deadband_m

    def _near(self, opening_m: float, other_m: float | None) -> bool:
        return other_m is not None and abs(opening_m - other_m) < self._deadband_m

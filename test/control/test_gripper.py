"""What the gripper is asked for, and its goals: one at a time, a close as a whole, sent again when failed."""

import numpy as np
import pytest

from restac_ros.control.continuity import ContinuityConfig, Plan
from restac_ros.control.gripper import Goal, GoalSequence, gripper_request
from restac_ros.control.limits import MotionLimits

SECOND = 10**9
STEP = 66_666_666
LIMITS = MotionLimits((0.2, -0.5, 0.0), (0.8, 0.5, 0.8), speed_m_s=0.25, speed_rad_s=1.0)


def requested(make_chunk, openings_m, steps: float, anchor_m: float = 0.08):
    chunk = make_chunk(
        horizon=16, delta_pose=np.zeros((16, 6)), opening_m=list(openings_m), anchor_opening_m=anchor_m
    )
    plan = Plan.start(ContinuityConfig(), chunk, chunk.stamp_ns, chunk.anchor)
    return gripper_request(plan, LIMITS, chunk.stamp_ns + round(steps * STEP))


def test_a_close_is_asked_for_as_a_whole_from_its_first_step(make_chunk) -> None:
    request = requested(make_chunk, np.linspace(0.075, 0.0, 16), 0.6)
    assert request.opening_m == pytest.approx(0.077)
    assert request.final_m == 0.0


def test_a_close_that_comes_later_is_not_asked_for_yet(make_chunk) -> None:
    openings_m = [0.08] * 10 + [0.06, 0.04, 0.02, 0.0, 0.0, 0.0]
    assert requested(make_chunk, openings_m, 5.0) == (0.08, 0.08)
    assert requested(make_chunk, openings_m, 10.5).final_m == 0.0


def test_a_run_ends_where_it_turns_or_rests(make_chunk) -> None:
    openings_m = [0.06, 0.04, 0.04, 0.04, 0.02, 0.0, 0.02, 0.04] + [0.04] * 8
    assert requested(make_chunk, openings_m, 0.5).final_m == 0.04
    assert requested(make_chunk, openings_m, 4.5).final_m == 0.0
    assert requested(make_chunk, openings_m, 6.5).final_m == 0.04


def test_noise_of_the_policy_is_no_run(make_chunk) -> None:
    openings_m = 0.04 + 0.0002 * np.sin(np.arange(16))
    assert requested(make_chunk, openings_m, 3.5, 0.04).final_m == pytest.approx(0.04, abs=0.0003)


def test_openings_beyond_the_gripper_are_not_asked_for(make_chunk) -> None:
    assert requested(make_chunk, np.linspace(0.06, -0.2, 16), 0.5).final_m == 0.0


@pytest.fixture
def goals() -> GoalSequence:
    return GoalSequence(0.002, 5 * SECOND)


def test_one_goal_at_a_time_and_then_the_newest(goals: GoalSequence) -> None:
    first = goals.next(0.08, None, 0)
    assert first == Goal(1, 0.08)
    assert goals.next(0.04, None, SECOND) is None
    goals.ended(first, 'done', '', SECOND)
    assert goals.next(0.02, None, SECOND) == Goal(2, 0.02)


def test_small_changes_and_what_is_reached_are_not_sent(goals: GoalSequence) -> None:
    assert goals.next(0.041, 0.04, 0) is None, 'the fingers are there'
    first = goals.next(0.08, 0.04, 0)
    goals.ended(first, 'done', '', SECOND)
    assert goals.next(0.0785, 0.08, SECOND) is None
    assert goals.next(0.077, 0.08, SECOND) == Goal(2, 0.077)


def test_a_held_object_is_no_reason_to_close_again(goals: GoalSequence) -> None:
    first = goals.next(0.0, 0.08, 0)
    goals.ended(first, 'blocked', '', SECOND)
    assert goals.next(0.0, 0.035, 2 * SECOND) is None
    assert goals.problem == ''


@pytest.mark.parametrize('outcome', ['refused', 'failed'])
def test_a_goal_that_fails_is_sent_again_later_and_later(goals: GoalSequence, outcome) -> None:
    sent_s, seconds = [], np.arange(0, 20, 0.1)
    for second in seconds:
        goal = goals.next(0.0, 0.08, round(second * SECOND))
        if goal:
            sent_s.append(second)
            goals.ended(goal, outcome, 'not homed', round(second * SECOND))
    assert np.diff(sent_s) == pytest.approx([0.5, 1, 2, 4, 8], abs=0.11)
    assert 'of 0.000 m: not homed' in goals.problem
    other = goals.next(0.05, 0.08, 20 * SECOND)
    assert other, 'another opening is sent at once'
    goals.ended(other, 'done', '', 21 * SECOND)
    assert goals.problem == ''


def test_a_silent_gripper_is_given_up_and_its_late_answer_is_not_the_next_goals(goals: GoalSequence) -> None:
    first = goals.next(0.08, None, 0)
    assert goals.next(0.0, None, 5 * SECOND - 1) is None
    second = goals.next(0.0, None, 5 * SECOND)
    assert second == Goal(2, 0.0)
    assert 'no answer for 5 s' in goals.problem
    goals.ended(first, 'done', '', 6 * SECOND)
    assert goals.next(0.05, None, 6 * SECOND) is None, 'the second is still under way'


def test_after_a_silence_the_fingers_count_and_not_the_last_goal(goals: GoalSequence) -> None:
    goals.ended(goals.next(0.0, 0.08, 0), 'done', '', SECOND)
    goals.forget()
    assert goals.next(0.0, 0.08, 2 * SECOND) == Goal(2, 0.0), 'somebody opened them by hand'


def test_a_close_to_the_end_is_a_grasp_where_the_gripper_can(goals: GoalSequence) -> None:
    grasping = GoalSequence(0.002, 5 * SECOND, closed_m=0.0, grasps=True)
    assert grasping.next(0.001, 0.08, 0) == Goal(1, 0.001, grasp=True)
    assert goals.next(0.001, 0.08, 0) == Goal(1, 0.001, grasp=False)


def test_a_close_that_meets_an_object_half_way_becomes_a_grasp_at_once() -> None:
    goals = GoalSequence(0.002, 5 * SECOND, grasps=True)
    first = goals.next(0.03, 0.08, 0)
    assert not first.grasp
    goals.ended(first, 'failed', '', SECOND)
    second = goals.next(0.03, 0.045, SECOND)
    assert second == Goal(2, 0.03, grasp=True)
    goals.ended(second, 'blocked', '', 2 * SECOND)
    assert goals.next(0.03, 0.045, 3 * SECOND) is None
    assert goals.next(0.08, 0.045, 3 * SECOND) == Goal(3, 0.08), 'an opening is a move'

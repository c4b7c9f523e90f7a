"""The limiter: no target, however wild, and no lateness moves the set-point beyond the limits."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restac_ros.control.limits import LimitError, Motion, MotionLimits, advance, start_motion
from restac_ros.geometry import quaternion as quat
from restac_ros.geometry.pose import Offset, Pose

LIMITS = MotionLimits(
    workspace_min_m=(0.2, -0.5, 0.0), workspace_max_m=(0.8, 0.5, 0.8), speed_m_s=0.25, speed_rad_s=1.0
)
START = Pose(np.array([0.5, 0.0, 0.3]), quat.from_rpy([3.1, 0.0, 0.5]))
TICK = 10_000_000
ROUNDING = 1 + 1e-6


def norm(rows: np.ndarray) -> float:
    return float(np.linalg.norm(rows, axis=-1).max(initial=0.0))


def check_bounds(limits: MotionLimits, times_ns: list[int], poses: list[Pose]) -> None:
    """Divided differences of up to third order, which are averages of the derivatives, at any times.

    Needs gaps that the limiter doesn't shorten.
    """
    gap = np.diff(np.array(times_ns) * 1e-9)[:, None]
    positions = np.array([pose.position_m for pose in poses])
    turns = np.array([pose.quaternion_xyzw for pose in poses])
    assert np.all(positions >= limits.workspace_min_m)
    assert np.all(positions <= limits.workspace_max_m)
    velocity = np.diff(positions, axis=0) / gap
    check_derivatives(velocity, gap, limits.speed_m_s, limits.acceleration_m_s2, limits.jerk_m_s3)
    angular = quat.difference(turns[1:], turns[:-1]) / gap
    # Differences of turns are averages only up to the square of the gap.
    check_derivatives(
        angular, gap, limits.speed_rad_s, limits.acceleration_rad_s2, limits.jerk_rad_s3, slack=1.02
    )


def check_derivatives(
    rate: np.ndarray, gap: np.ndarray, speed: float, acceleration: float, jerk: float, slack: float = ROUNDING
) -> None:
    assert norm(rate) <= speed * ROUNDING
    bend = np.diff(rate, axis=0) / (gap[1:] / 2 + gap[:-1] / 2)
    assert norm(bend) <= acceleration * slack
    third = np.diff(bend, axis=0) * 3 / (gap[:-2] + gap[1:-1] + gap[2:])
    assert norm(third) <= jerk * slack


def poses(reach_m: float = 2.0) -> st.SearchStrategy[Pose]:
    numbers = st.floats(-reach_m, reach_m)
    turn = st.tuples(*[st.floats(-4, 4)] * 3).map(quat.from_rotvec)
    return st.builds(Pose, st.tuples(numbers, numbers, numbers).map(np.array), turn)


def run(limits: MotionLimits, moves: list[tuple[Pose | None, int]]) -> tuple[list[int], list[Pose], Motion]:
    motion = start_motion(limits, START, 0)
    times, found = [0], [motion.set_point]
    for target, gap_ns in moves:
        motion = advance(limits, motion, target, times[-1] + gap_ns)
        times.append(times[-1] + gap_ns)
        found.append(motion.set_point)
    return times, found, motion


segments = st.lists(
    st.tuples(poses() | st.none(), st.lists(st.integers(1_000_000, 40_000_000), min_size=1, max_size=12)),
    min_size=1,
    max_size=8,
)


@settings(max_examples=150, deadline=None)
@given(segments)
def test_bounds_hold_for_any_targets_at_any_times(plan: list[tuple[Pose | None, list[int]]]):
    times, found, _ = run(LIMITS, [(target, gap) for target, gaps in plan for gap in gaps])
    check_bounds(LIMITS, times, found)


some_limits = st.builds(
    MotionLimits,
    workspace_min_m=st.just(LIMITS.workspace_min_m),
    workspace_max_m=st.just(LIMITS.workspace_max_m),
    speed_m_s=st.floats(0.05, 1.0),
    speed_rad_s=st.floats(0.2, 3.0),
    acceleration_m_s2=st.floats(0.5, 13.0),
    acceleration_rad_s2=st.floats(8.0, 25.0),
    jerk_m_s3=st.floats(20.0, 6500.0),
    jerk_rad_s3=st.floats(200.0, 12500.0),
    step_m=st.just(1.0),
    step_rad=st.just(3.0),
)


@settings(max_examples=60, deadline=None)
@given(some_limits, segments)
def test_bounds_hold_for_any_limits(limits: MotionLimits, plan: list[tuple[Pose | None, list[int]]]):
    times, found, _ = run(limits, [(target, gap) for target, gaps in plan for gap in gaps])
    check_bounds(limits, times, found)


@pytest.mark.parametrize('seed', range(3))
def test_bounds_hold_over_a_long_random_run(seed: int):
    rng = np.random.default_rng(seed)
    moves = []
    for _ in range(60):
        target = Pose(rng.uniform(-0.2, 1.0, 3), quat.normalise(rng.normal(size=4)))
        moves += [(target, TICK)] * int(rng.integers(1, 40))
    times, found, _ = run(LIMITS, moves)
    check_bounds(LIMITS, times, found)
    travelled = np.linalg.norm(np.diff([pose.position_m for pose in found], axis=0), axis=-1).sum()
    assert travelled > 0.5, 'bounded by moving, not by standing still'


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(poses(), st.integers(-(10**9), 10**10)), min_size=1, max_size=30))
def test_one_step_is_bounded_however_late_it_comes(moves: list[tuple[Pose, int]]):
    _, found, _ = run(LIMITS, moves)
    for before, after in itertools.pairwise(found):
        step = Offset.between(before, after)
        assert step.distance_m <= LIMITS.step_m * ROUNDING
        assert step.angle_rad <= LIMITS.step_rad * ROUNDING


@settings(max_examples=60, deadline=None)
@given(poses(), st.integers(1, 200))
def test_ramp_to_hold_takes_the_stated_time_and_stays(target: Pose, ticks: int):
    _, _, motion = run(LIMITS, [(target, TICK)] * ticks)
    end = motion.now_ns
    goal = motion.reference
    held = advance(LIMITS, motion, None, end + TICK)
    while held.now_ns < end + LIMITS.stop_ns + TICK:
        held = advance(LIMITS, held, None, held.now_ns + TICK)
    assert held.standing
    np.testing.assert_allclose(held.set_point.position_m, goal.position_m, atol=1e-12)
    later = advance(LIMITS, held, None, held.now_ns + 10**10)
    np.testing.assert_allclose(later.set_point.position_m, goal.position_m, atol=1e-12)


def test_arrives_without_overshoot():
    target = Pose(np.array([0.6, 0.0, 0.3]), quat.from_rpy([3.1, 0.0, 0.9]))
    _, found, motion = run(LIMITS, [(target, TICK)] * 80)
    x = np.array([pose.position_m[0] for pose in found])
    assert np.all(np.diff(x) >= -1e-15)
    assert x[-1] == pytest.approx(0.6, abs=1e-12)
    angle = [Offset.between(START, pose).angle_rad for pose in found]
    assert np.all(np.diff(angle) >= -1e-12)
    assert angle[-1] == pytest.approx(0.4, abs=1e-12)
    assert motion.standing


def test_a_steady_motion_is_followed_with_the_stated_lead():
    """What is asked one lead ahead is commanded on time."""
    speed = np.array([0.1, -0.05, 0.02])
    turn = np.array([0.2, 0.1, -0.3])

    def asked(time_ns: int) -> Pose:
        s = time_ns * 1e-9
        return Pose(
            START.position_m + s * speed, quat.multiply(quat.from_rotvec(s * turn), START.quaternion_xyzw)
        )

    motion = start_motion(LIMITS, START, 0)
    for time_ns in range(TICK, 1_000_000_000, TICK):
        motion = advance(LIMITS, motion, asked(time_ns + LIMITS.lead_ns), time_ns)
        if time_ns > 500_000_000:
            gap = Offset.between(asked(time_ns), motion.set_point)
            assert gap.distance_m < 1e-9
            assert gap.angle_rad < 1e-9
            assert not motion.slowed


def test_set_points_depend_on_time_not_on_how_often_they_are_asked_for():
    """The average is exact in continuous time: sampled twice as often, the same curve comes out."""
    target = Pose(np.array([0.9, 0.2, 0.1]), quat.from_rpy([2.0, 0.5, 0.5]))
    _, coarse, _ = run(LIMITS, [(target, 2 * TICK)] * 50)
    _, fine, _ = run(LIMITS, [(target, TICK)] * 100)
    np.testing.assert_allclose(
        [pose.position_m for pose in coarse], [pose.position_m for pose in fine[::2]], atol=1e-9
    )


def test_flags_say_what_was_asked_too_much():
    motion = start_motion(LIMITS, START, 0)
    outside = advance(LIMITS, motion, Pose(np.array([0.5, 0.0, -0.1]), START.quaternion_xyzw), TICK)
    assert (outside.clipped, outside.slowed) == (True, True)
    near = advance(LIMITS, motion, Pose(START.position_m + 0.001, START.quaternion_xyzw), TICK)
    assert (near.clipped, near.slowed) == (False, False)


@pytest.mark.parametrize('bad', [np.nan, np.inf])
def test_targets_that_are_not_finite_are_refused(bad: float):
    motion = start_motion(LIMITS, START, 0)
    with pytest.raises(LimitError, match='expected finite numbers'):
        advance(LIMITS, motion, Pose(np.array([bad, 0, 0.3]), START.quaternion_xyzw), TICK)
    with pytest.raises(LimitError, match='expected finite numbers'):
        start_motion(LIMITS, Pose(START.position_m, np.array([bad, 0, 0, 1])), 0)


def test_no_start_outside_the_workspace():
    with pytest.raises(LimitError, match=r'\[0\.5, 0\.0, -0\.01\] m, outside the workspace .* widen'):
        start_motion(LIMITS, Pose(np.array([0.5, 0.0, -0.01]), START.quaternion_xyzw), 0)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'speed_m_s': 0.0}, 'speed_m_s is 0.0'),
        ({'jerk_rad_s3': float('nan')}, 'jerk_rad_s3 is nan'),
        ({'workspace_max_m': (0.8, -0.5, 0.8)}, 'in y, expected min < max'),
        ({'speed_rad_s': 8.0}, 'lower speed_rad_s'),
    ],
)
def test_impossible_limits_are_refused(change: dict, message: str):
    with pytest.raises(LimitError, match=message):
        dataclasses.replace(LIMITS, **change)


def test_default_windows():
    assert LIMITS.windows_s == pytest.approx((0.1, 0.04))
    assert LIMITS.stop_ns == 140_000_000
    assert LIMITS.lead_ns == 70_000_000
    assert LIMITS.max_gap_s == pytest.approx(0.04)


def test_the_nearest_position_inside_is_the_position_itself_or_on_the_boxs_side() -> None:
    inside = np.array(START.position_m)
    np.testing.assert_array_equal(LIMITS.nearest_inside(inside), inside)
    outside = np.array([LIMITS.workspace_max_m[0] + 1.0, inside[1], LIMITS.workspace_min_m[2] - 1.0])
    edge = [LIMITS.workspace_max_m[0], inside[1], LIMITS.workspace_min_m[2]]
    np.testing.assert_array_equal(LIMITS.nearest_inside(outside), edge)


def test_an_arm_that_rests_just_outside_the_box_is_taken_up_at_its_edge() -> None:
    edge = np.array([LIMITS.workspace_max_m[0], START.position_m[1], START.position_m[2]])
    resting = Pose(edge + np.array([0.004, 0.0, 0.0]), START.quaternion_xyzw)
    motion = start_motion(LIMITS, resting, 0)
    np.testing.assert_array_equal(motion.set_point.position_m, edge)
    far = Pose(edge + np.array([2 * LIMITS.step_m, 0.0, 0.0]), START.quaternion_xyzw)
    with pytest.raises(LimitError, match='outside the workspace'):
        start_motion(LIMITS, far, 0)

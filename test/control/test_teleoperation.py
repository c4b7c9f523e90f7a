"""Teleoperation: keys and sticks move the goal, the set-point follows it within limits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restac_ros.control.limits import LimitError, MotionLimits
from restac_ros.control.stick_axes import StickAxis, deflections, parse_axes
from restac_ros.control.teleoperation import Teleoperation, TeleoperationLimits
from restac_ros.geometry import quaternion as quat
from restac_ros.geometry.pose import Offset, Pose

TICK_NS = 10_000_000
LIMITS = TeleoperationLimits(
    MotionLimits(
        workspace_min_m=(0.2, -0.5, 0.0), workspace_max_m=(0.8, 0.5, 0.8), speed_m_s=0.25, speed_rad_s=1.0
    )
).slowed(0.1, 0.5)
START = Pose(np.array([0.5, 0.0, 0.3]), np.array([1.0, 0.0, 0.0, 0.0]))


def along(x_m: float = 0.0, y_m: float = 0.0, z_m: float = 0.0, yaw_rad: float = 0.0) -> Offset:
    return Offset(np.array([x_m, y_m, z_m]), np.array([0.0, 0.0, yaw_rad]))


class FollowingArm:
    """An arm that reaches each set-point at once, unless it is held."""

    def __init__(self, teleoperation: Teleoperation) -> None:
        self._teleoperation, self.now_ns, self.measured = teleoperation, 0, START
        self.held, self.sent = False, 0

    def run(self, ticks: int) -> list[Pose]:
        """Return the set-points of some ticks, those without one left out."""
        points = []
        for _ in range(ticks):
            self.now_ns += TICK_NS
            point = self._teleoperation.advance(self.measured, self.now_ns)
            if point is not None:
                points.append(point)
                self.measured = self.measured if self.held else point
        return points


@pytest.fixture
def teleoperation() -> Teleoperation:
    return Teleoperation(LIMITS)


@pytest.fixture
def arm(teleoperation: Teleoperation) -> FollowingArm:
    return FollowingArm(teleoperation)


def test_nothing_is_sent_until_something_is_asked_for(arm: FollowingArm) -> None:
    assert arm.run(20) == []


def test_steps_add_up_exactly_and_then_nothing_more_is_sent(
    teleoperation: Teleoperation, arm: FollowingArm
) -> None:
    for offset in (along(x_m=0.002), along(x_m=0.002), along(z_m=-0.005), along(yaw_rad=0.04)):
        teleoperation.step(offset)
    points = arm.run(100)
    assert 10 < len(points) < 60, 'until it stands'
    np.testing.assert_allclose(points[-1].position_m, [0.504, 0.0, 0.295], atol=1e-9)
    np.testing.assert_allclose(Offset.between(START, points[-1]).rotation_rad, [0, 0, 0.04], atol=1e-9)
    assert arm.run(20) == []


def test_a_stick_at_its_stop_moves_at_the_largest_speed_and_stops_when_it_is_centred(
    teleoperation: Teleoperation, arm: FollowingArm
) -> None:
    teleoperation.deflect(np.array([0, 5.0, 0, 0, 0, 0]))  # beyond its stop
    points = arm.run(200)
    speeds_m_s = np.diff([point.position_m[1] for point in points]) / 0.01
    assert speeds_m_s.max() == pytest.approx(LIMITS.motion.speed_m_s, rel=0.05)
    teleoperation.deflect(np.zeros(6))
    arm.run(100)
    assert arm.run(20) == []
    stopped_m = arm.measured.position_m[1] - points[-1].position_m[1]
    assert 0 <= stopped_m <= LIMITS.lead_m


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(st.tuples(*[st.floats(-1, 1)] * 4), max_size=4),
            st.tuples(*[st.floats(-2, 2)] * 6),
            st.integers(1, 30),
        ),
        max_size=12,
    )
)
def test_whatever_is_asked_for_speed_and_workspace_are_kept(wishes: list) -> None:
    teleoperation = Teleoperation(LIMITS)
    arm = FollowingArm(teleoperation)
    before = START
    for steps, deflection, ticks in wishes:
        for step in steps:
            teleoperation.step(along(*step))
        teleoperation.deflect(np.array(deflection))
        for _ in range(ticks):
            for point in arm.run(1):
                gap = Offset.between(before, point)
                assert gap.distance_m <= LIMITS.motion.speed_m_s * 0.01 * (1 + 1e-6)
                assert gap.angle_rad <= LIMITS.motion.speed_rad_s * 0.01 * (1 + 1e-3)
                assert LIMITS.motion.inside(point.position_m)
                before = point


def test_an_arm_that_is_stopped_by_something_is_pressed_with_the_lead_and_no_more(
    teleoperation: Teleoperation, arm: FollowingArm
) -> None:
    arm.held = True
    points = []
    for _ in range(60):
        teleoperation.step(along(z_m=-0.008))
        points += arm.run(1)
    points += arm.run(60)
    deepest_m = START.position_m[2] - min(point.position_m[2] for point in points)
    assert LIMITS.lead_m - 1e-6 < deepest_m <= LIMITS.lead_m + 1e-9
    teleoperation.step(along(z_m=0.002))
    [*_, last] = arm.run(60)
    assert START.position_m[2] - last.position_m[2] == pytest.approx(LIMITS.lead_m - 0.002)


@pytest.mark.parametrize('aside_m', [0.1, 0.018], ids=['far away', 'as from one scene to the next'])
def test_an_arm_that_was_moved_otherwise_is_not_pulled_back(
    teleoperation: Teleoperation, arm: FollowingArm, aside_m: float
) -> None:
    teleoperation.step(along(x_m=0.008))
    arm.run(60)
    arm.measured = Pose(np.add(START.position_m, (0.0, aside_m, 0.0)), START.quaternion_xyzw)
    assert arm.run(20) == []
    teleoperation.step(along(x_m=0.002))
    points = arm.run(60)
    np.testing.assert_allclose(
        points[-1].position_m, np.add(START.position_m, (0.002, aside_m, 0.0)), atol=1e-9
    )


def test_steps_that_could_not_be_followed_are_not_followed_later(
    teleoperation: Teleoperation, arm: FollowingArm
) -> None:
    arm.run(2)
    teleoperation.step(along(z_m=-0.008))
    teleoperation.drop_steps()
    assert arm.run(20) == []


def test_outside_the_workspace_no_motion_begins(teleoperation: Teleoperation, arm: FollowingArm) -> None:
    arm.measured = Pose(np.array([1.5, 0.0, 0.3]), START.quaternion_xyzw)
    teleoperation.step(along(x_m=-0.002))
    with pytest.raises(LimitError, match='outside the workspace'):
        arm.run(1)


def test_slower_is_allowed_and_faster_than_the_contract_is_not() -> None:
    assert LIMITS.slowed(1.0, 9.0).motion == LIMITS.motion
    assert LIMITS.slowed(0.05, 0.1).motion.speed_m_s == 0.05


def test_axes_are_read_from_lines() -> None:
    assert parse_axes(['1 +x', '', ' 3 -yaw', '0 y']) == (
        StickAxis(1, 'x', 1.0),
        StickAxis(3, 'yaw', -1.0),
        StickAxis(0, 'y', 1.0),
    )
    for line, reason in (('x 1', 'is no axis'), ('1 +w', 'directions: x, y, z, roll, pitch, yaw')):
        with pytest.raises(ValueError, match=reason):
            parse_axes([line])
    with pytest.raises(ValueError, match='x is moved by two axes'):
        parse_axes(['1 +x', '2 x'])


def test_a_gamepad_is_at_rest_within_its_dead_zone_and_where_it_sends_no_number() -> None:
    axes = parse_axes(['0 +x', '1 -y', '2 +z', '7 +yaw'])
    shares, missing = deflections(axes, [0.1, 1.0, float('nan')], dead_zone=0.2)
    np.testing.assert_array_equal(shares, [0, -1, 0, 0, 0, 0])
    assert missing == [7]
    nearly = deflections(axes, [0.21, 0, 0, 0], dead_zone=0.2)[0][0]
    assert 0 < nearly < 0.02, 'it grows from 0'
    assert deflections(axes, [-0.6, 0, 0, 0], dead_zone=0.2)[0][0] == pytest.approx(-0.5)


def test_the_turn_of_a_step_is_about_the_base_frames_axis(
    teleoperation: Teleoperation, arm: FollowingArm
) -> None:
    teleoperation.step(along(yaw_rad=0.1))
    arm.run(100)
    expected = quat.multiply(quat.from_rotvec(np.array([0, 0, 0.1])), START.quaternion_xyzw)
    np.testing.assert_allclose(arm.measured.quaternion_xyzw, expected, atol=1e-9)

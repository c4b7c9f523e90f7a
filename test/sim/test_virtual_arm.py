"""The virtual arm: it follows with lag, gives way to a hand, and moves only in the modes in which it may."""

from pathlib import Path

import numpy as np
import pytest

from restac_ros.contract.load import load_contract
from restac_ros.framing.kinematics import fk_hand_tcp, transform
from restac_ros.geometry.pose import Offset, Pose
from restac_ros.sim.virtual_arm import ROBOT_MODE_GUIDING, Impedance, VirtualArm

MS = 10**6
MOVE, REFLEX = 2, 4


@pytest.fixture
def arm(repository: Path) -> VirtualArm:
    return VirtualArm(load_contract(repository / 'config' / 'contract.yaml'), 0)


def beside(pose: Pose, x_m: float) -> Pose:
    return Pose(np.add(pose.position_m, (x_m, 0.0, 0.0)), pose.quaternion_xyzw)


def test_a_moving_set_point_is_followed_with_the_lag_of_the_controller(arm: VirtualArm) -> None:
    start, speed_m_s = arm.pose(0), 0.2
    for tick in range(1, 200):
        arm.follow(beside(start, speed_m_s * tick * 0.01), tick * 10 * MS)
    behind_m = speed_m_s * 1.99 - (arm.pose(1990 * MS).position_m - start.position_m)[0]
    # 2 / w behind, and the set-points are steps of 10 ms
    assert behind_m == pytest.approx(speed_m_s * (2 / Impedance().rate_rad_s + 0.005), rel=0.1)


def test_motion_does_not_depend_on_how_often_it_is_asked_for(arm: VirtualArm, repository: Path) -> None:
    other = VirtualArm(load_contract(repository / 'config' / 'contract.yaml'), 0)
    goal = Offset(np.array([0.05, 0.0, 0.02]), np.array([0.0, 0.2, 0.0])).apply(arm.pose(0))
    for one in (arm, other):
        one.follow(goal, 0)
    for ms in range(1, 101):
        arm.advance(ms * MS)
    gap = Offset.between(arm.pose(100 * MS), other.pose(100 * MS))
    assert gap.distance_m < 1e-9
    assert gap.angle_rad < 1e-9


def test_a_hand_pushes_it_aside_and_it_springs_back(arm: VirtualArm) -> None:
    start = arm.pose(0)
    arm.push(np.array([0.0, 12.0, 0.0]), 0)
    assert arm.pose(1000 * MS).position_m[1] - start.position_m[1] == pytest.approx(0.03, abs=1e-6)
    arm.push(np.zeros(3), 1000 * MS)
    assert np.linalg.norm(arm.pose(2000 * MS).position_m - start.position_m) < 1e-6


def test_guided_it_stays_where_the_hand_leaves_it(arm: VirtualArm) -> None:
    start = arm.pose(0)
    arm.set_mode(ROBOT_MODE_GUIDING, 0)
    arm.push(np.array([0.0, 20.0, 0.0]), 0)
    assert arm.pose(500 * MS).position_m[1] - start.position_m[1] == pytest.approx(0.1)
    arm.push(np.zeros(3), 500 * MS)
    arm.set_mode(MOVE, 500 * MS)
    assert arm.pose(1500 * MS).position_m[1] - start.position_m[1] == pytest.approx(0.1)
    arm.follow(start, 1500 * MS)
    assert np.linalg.norm(arm.pose(2500 * MS).position_m - start.position_m) < 1e-6, 'led back by a set-point'


@pytest.mark.parametrize('mode', [REFLEX, ROBOT_MODE_GUIDING])
def test_it_follows_no_set_point_in_another_mode_than_move(arm: VirtualArm, mode: int) -> None:
    start = arm.pose(0)
    arm.set_mode(mode, 0)
    arm.follow(beside(start, 0.1), 10 * MS)
    assert arm.pose(1000 * MS).position_m == pytest.approx(start.position_m)
    arm.set_mode(MOVE, 1000 * MS)
    assert arm.pose(2000 * MS).position_m == pytest.approx(start.position_m)


def test_its_joints_lead_to_its_pose(arm: VirtualArm, repository: Path) -> None:
    goal = Offset(np.array([0.05, -0.1, -0.1]), np.array([0.1, 0.0, 0.3])).apply(arm.pose(0))
    arm.follow(goal, 0)
    for ms in range(5, 2000, 5):
        joints_rad = arm.joints_rad(ms * MS)
    offset = load_contract(repository / 'config' / 'contract.yaml').robot.pose_tool_in_hand
    found = fk_hand_tcp(joints_rad) @ transform(np.array(offset.xyz_m), np.array(offset.rpy_rad))
    np.testing.assert_allclose(found[:3, 3], goal.position_m, atol=1e-4)


def test_it_stops_where_its_joints_cannot_reach(arm: VirtualArm, repository: Path) -> None:
    """A drill's arm went on without its joints: it was measured 5 cm outside the workspace, for good."""
    away = Offset(np.array([0.3, 0.3, 0.3]), np.array([0.0, 0.5, 0.0])).apply(arm.pose(0))
    arm.follow(away, 0)
    offset = load_contract(repository / 'config' / 'contract.yaml').robot.pose_tool_in_hand
    tool_in_hand = transform(np.array(offset.xyz_m), np.array(offset.rpy_rad))
    for ms in range(5, 4000, 5):
        found = fk_hand_tcp(arm.joints_rad(ms * MS)) @ tool_in_hand
        assert np.linalg.norm(arm.pose(ms * MS).position_m - found[:3, 3]) < 1e-3
    assert Offset.between(arm.pose(4000 * MS), away).distance_m > 0.1

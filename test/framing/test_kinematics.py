"""Franka's forward kinematics against pinocchio, and the gripper's opening."""

import numpy as np
import pytest

from restac_ros.framing.kinematics import (
    fk_flange,
    fk_hand_tcp,
    gripper_opening_m,
    joint_origins_in_base_m,
    transform,
)

READY = np.array([0.0, -np.pi / 4, 0.0, -3 * np.pi / 4, 0.0, np.pi / 2, np.pi / 4])


@pytest.fixture(scope='module')
def golden(golden_dir):
    with np.load(golden_dir / 'franka_fk.npz', allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def test_flange_and_hand_equal_pinocchio(golden):
    np.testing.assert_allclose(fk_flange(golden['q_rad']), golden['pose_flange_in_base'], atol=1e-12)
    np.testing.assert_allclose(fk_hand_tcp(golden['q_rad']), golden['pose_tcp_in_base'], atol=1e-12)


def test_leading_axes_are_carried_along(golden):
    q = golden['q_rad'][:24].reshape(2, 3, 4, 7)
    np.testing.assert_array_equal(
        fk_hand_tcp(q).reshape(24, 4, 4), np.stack([fk_hand_tcp(one) for one in golden['q_rad'][:24]])
    )


def test_ready_pose_points_down():
    pose = fk_hand_tcp(READY)
    np.testing.assert_allclose(pose[:3, 3], [0.3069, 0.0, 0.4869], atol=1e-4)
    np.testing.assert_allclose(pose[:3, :3], np.diag([1.0, -1.0, -1.0]), atol=1e-12)


def test_transform_places_an_offset_in_the_hand():
    tip = fk_hand_tcp(READY) @ transform((0.0, 0.0, 0.02), (0.0, 0.0, 0.0))
    np.testing.assert_allclose(tip[:3, 3] - fk_hand_tcp(READY)[:3, 3], [0.0, 0.0, -0.02], atol=1e-12)


def test_opening_is_the_sum_of_both_fingers_or_twice_one():
    assert gripper_opening_m(np.array([0.03, 0.01])) == pytest.approx(0.04)
    assert gripper_opening_m(np.array([0.02])) == pytest.approx(0.04)
    assert gripper_opening_m(np.full((5, 2), 0.01)).shape == (5,)


@pytest.mark.parametrize('shape', [(6,), (8,), (), (7, 2)])
def test_wrong_number_of_joints_is_refused(shape):
    with pytest.raises(ValueError, match=r'expected \[\.\.\., 7\]'):
        fk_flange(np.zeros(shape))


def test_wrong_number_of_fingers_is_refused():
    with pytest.raises(ValueError, match='finger positions of shape'):
        gripper_opening_m(np.zeros(3))


def test_the_arm_as_points_ends_at_the_hand() -> None:
    q_rad = np.random.default_rng(3).uniform(-1.5, 1.5, 7)
    points = joint_origins_in_base_m(q_rad)
    assert points.shape == (10, 3)
    np.testing.assert_array_equal(points[0], 0)
    np.testing.assert_allclose(points[-2], fk_flange(q_rad)[:3, 3], atol=1e-12)
    np.testing.assert_allclose(points[-1], fk_hand_tcp(q_rad)[:3, 3], atol=1e-12)
    np.testing.assert_allclose(points[1], [0, 0, 0.333], atol=1e-12)

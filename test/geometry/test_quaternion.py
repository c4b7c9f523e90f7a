"""Our few quaternion functions against scipy's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation, Slerp

from restac_ros.geometry import quaternion as quat
from restac_ros.geometry.pose import Offset, Pose

angles = arrays(np.float64, 3, elements=st.floats(-7, 7))


def same(got: np.ndarray, expected: Rotation) -> None:
    assert (Rotation.from_quat(got) * expected.inv()).magnitude() < 1e-9


@given(angles, angles)
def test_conversions_and_product(a: np.ndarray, b: np.ndarray):
    same(quat.from_rpy(a), Rotation.from_euler('xyz', a))
    same(quat.from_rotvec(b), Rotation.from_rotvec(b))
    same(
        quat.multiply(quat.from_rpy(a), quat.from_rotvec(b)),
        Rotation.from_euler('xyz', a) * Rotation.from_rotvec(b),
    )
    same(quat.multiply(quat.from_rpy(a), quat.inverse(quat.from_rpy(a))), Rotation.identity())


@given(arrays(np.float64, 3, elements=st.floats(-1.8, 1.8)))
def test_rotvec_round_trip(rotvec: np.ndarray):
    np.testing.assert_allclose(quat.to_rotvec(quat.from_rotvec(rotvec)), rotvec, atol=1e-9)
    np.testing.assert_allclose(quat.to_rotvec(-quat.from_rotvec(rotvec)), rotvec, atol=1e-9)


@given(angles, angles, st.floats(0, 1))
def test_slerp(a: np.ndarray, b: np.ndarray, fraction: float):
    ends = Rotation.from_rotvec([a, b])
    if (ends[1] * ends[0].inv()).magnitude() > 3.1:
        return  # half a turn has no shorter way
    same(quat.slerp(quat.from_rotvec(a), quat.from_rotvec(b), fraction), Slerp([0, 1], ends)(fraction))


@pytest.mark.parametrize('count', [1, 2, 3, 7, 16, 17])
def test_product_keeps_the_order(count: int):
    turns = Rotation.random(count, random_state=count)
    expected = Rotation.identity()
    for turn in turns:
        expected = expected * turn
    same(quat.product(turns.as_quat()), expected)


def test_mean_against_scipy_and_signs():
    turns = Rotation.from_rotvec(np.random.default_rng(0).normal(0, 0.4, (5, 3)))
    weights = np.array([0.1, 0.5, 0.2, 0.1, 0.1])
    signs = np.array([1, -1, 1, -1, 1])[:, None]
    same(quat.mean(signs * turns.as_quat(), weights), turns.mean(weights))


@given(angles, angles)
def test_offset_leads_from_one_pose_to_the_other(a: np.ndarray, b: np.ndarray):
    start, end = Pose(a, quat.from_rpy(a)), Pose(b, quat.from_rpy(b))
    got = Offset.between(start, end).apply(start)
    np.testing.assert_allclose(got.position_m, b, atol=1e-12)
    same(got.quaternion_xyzw, Rotation.from_euler('xyz', b))
    np.testing.assert_allclose(Offset.between(start, end).apply(start, 0.0).position_m, a)


@pytest.mark.parametrize('shape', [(), (3,), (2, 5)])
def test_matrices_equal_scipy_for_any_leading_axes(shape):
    some = Rotation.random(max(int(np.prod(shape)), 1), random_state=len(shape))
    matrices, quaternions = some.as_matrix().reshape(*shape, 3, 3), some.as_quat().reshape(*shape, 4)
    np.testing.assert_allclose(quat.to_matrix(quaternions), matrices, atol=1e-14)
    found = quat.from_matrix(matrices)
    np.testing.assert_allclose(np.abs(np.sum(found * quaternions, axis=-1)), 1.0, atol=1e-14)
    np.testing.assert_allclose(quat.to_rotvec(found), some.as_rotvec().reshape(*shape, 3), atol=1e-12)


def test_every_quaternion_formula_is_taken_and_right():
    quaternions = np.concatenate([np.eye(4), Rotation.random(2000, random_state=0).as_quat()])
    found = quat.from_matrix(quat.to_matrix(quaternions))
    assert set(np.argmax(np.abs(quaternions), axis=-1)) == {0, 1, 2, 3}
    np.testing.assert_allclose(np.abs(np.sum(found * quaternions, axis=-1)), 1.0, atol=1e-13)


@pytest.mark.parametrize('angle', [0.0, 1e-300, 1e-12, 1e-8, 1e-4, np.pi - 1e-9, np.pi])
def test_rotation_vectors_at_the_ends_of_their_range(angle):
    axis = np.array([0.6, 0.0, 0.8])
    found = quat.to_rotvec(quat.from_matrix(quat.to_matrix(quat.from_rotvec(angle * axis))))
    if angle == np.pi:  # both signs are the same rotation
        found = found * np.sign(found @ axis)
    np.testing.assert_allclose(found, angle * axis, atol=1e-15 + 2e-9 * (angle > 3))

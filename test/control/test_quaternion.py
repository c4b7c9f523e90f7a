"""Our few rotation functions against scipy's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation, Slerp

from restac_ros.control import quaternion as quat
from restac_ros.control.pose import Offset, Pose

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

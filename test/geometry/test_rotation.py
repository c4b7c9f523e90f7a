"""Rotations against scipy, and the branch rules that keep a downward tool's angles continuous."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from restac_ros.geometry import quaternion as quat
from restac_ros.geometry.rotation import (
    TURN,
    matrix_from_rpy,
    quaternion_from_rotation,
    rotation_difference,
    rotation_from_matrix,
    rpy_from_matrix,
    unwrap,
    wrap_to_pi,
)

DOWN = np.array([np.pi, 0.0, 0.0])
angles = st.floats(-50, 50, allow_nan=False)
conventions = st.sampled_from(['rpy', 'rotvec'])


@st.composite
def rotations(draw) -> Rotation:
    numbers = np.array(draw(st.lists(st.floats(-1, 1), min_size=4, max_size=4)))
    return Rotation.from_quat(numbers if np.linalg.norm(numbers) > 1e-3 else [1.0, 0.0, 0.0, 0.0])


@pytest.mark.parametrize('shape', [(), (3,), (2, 5)])
def test_conversions_equal_scipy_for_any_leading_axes(shape):
    count = int(np.prod(shape))
    some = Rotation.random(max(count, 1), random_state=len(shape))
    matrices = some.as_matrix().reshape(*shape, 3, 3)
    rpy = some.as_euler('xyz').reshape(*shape, 3)
    np.testing.assert_allclose(matrix_from_rpy(rpy), matrices, atol=1e-14)
    np.testing.assert_allclose(rpy_from_matrix(matrices), rpy, atol=1e-12)


@pytest.mark.parametrize('pitch', [np.pi / 2, -np.pi / 2])
@pytest.mark.parametrize('roll', [-3.0, 0.0, 0.7])
def test_gimbal_lock_still_gives_the_same_rotation(pitch, roll):
    matrix = matrix_from_rpy([roll, pitch, 1.1])
    rpy = rpy_from_matrix(matrix)
    assert rpy[2] == 0.0
    np.testing.assert_allclose(matrix_from_rpy(rpy), matrix, atol=1e-9)


@given(angle=angles)
def test_wrapping_changes_by_whole_turns_into_the_half_open_range(angle):
    wrapped = wrap_to_pi(angle)
    assert -np.pi < wrapped <= np.pi
    turns = (angle - wrapped) / TURN
    assert abs(turns - round(turns)) < 1e-9


def test_wrapping_at_the_seam():
    seam = [np.pi, -np.pi, np.nextafter(np.pi, 4), np.nextafter(-np.pi, -4), 3 * np.pi, 0.0]
    wrapped = wrap_to_pi(np.array(seam))
    assert (wrapped > -np.pi).all()
    assert (wrapped <= np.pi).all()
    assert wrapped[0] == wrapped[1] == np.pi


@given(convention=conventions, rotation=rotations(), centre=st.tuples(angles, angles, angles))
def test_the_branch_never_changes_the_rotation(convention, rotation, centre):
    centre = np.array(centre) % TURN - np.pi
    state = rotation_from_matrix(convention, rotation.as_matrix(), centre)
    np.testing.assert_allclose(
        quat.to_matrix(quaternion_from_rotation(convention, state)), rotation.as_matrix(), atol=1e-8
    )


@given(rotation=rotations(), centre=st.tuples(angles, angles, angles))
def test_rpy_lies_within_half_a_turn_of_the_centre(rotation, centre):
    state = rotation_from_matrix('rpy', rotation.as_matrix(), np.array(centre))
    assert (np.abs(state - centre) <= np.pi + 1e-9).all()


@given(rotation=rotations(), centre=st.tuples(angles, angles, angles))
def test_a_rotation_vector_is_the_nearest_of_its_equivalents(rotation, centre):
    centre = np.array(centre) % TURN - np.pi
    vector = rotation.as_rotvec()
    chosen = unwrap('rotvec', vector, centre)
    length = np.linalg.norm(vector)
    if length < 1e-6:
        return
    others = [vector * (1 + TURN * k / length) for k in range(-3, 4)]
    nearest = min(np.linalg.norm(other - centre) for other in others)
    assert np.linalg.norm(chosen - centre) <= nearest + 1e-9


@settings(max_examples=200)
@given(
    convention=conventions,
    roll=st.floats(-0.3, 0.3),
    others=st.tuples(st.floats(-0.3, 0.3), st.floats(-0.3, 0.3)),
    motion=st.tuples(*[st.floats(-0.02, 0.02)] * 3),
)
def test_a_downward_tool_never_jumps(convention, roll, others, motion):
    """Around roll = pi a small motion is a small change of the state, where naive angles flip by a turn."""
    here = matrix_from_rpy([np.pi + roll, *others])
    there = matrix_from_rpy(np.array([np.pi + roll, *others]) + motion)
    before, after = (rotation_from_matrix(convention, m, DOWN) for m in (here, there))
    assert np.abs(after - before).max() < 0.1
    np.testing.assert_allclose(rotation_difference(convention, after, before), after - before, atol=1e-12)


def test_naive_angles_do_flip_where_ours_do_not():
    """The failure this module exists for, so that the test above cannot pass by accident."""
    near = matrix_from_rpy([[np.pi - 1e-3, 0.1, 0.2], [np.pi + 1e-3, 0.1, 0.2]])
    naive = Rotation.from_matrix(near).as_euler('xyz')
    assert abs(naive[1, 0] - naive[0, 0]) > 6.2
    ours = rotation_from_matrix('rpy', near, DOWN)
    np.testing.assert_allclose(ours[:, 0], [np.pi - 1e-3, np.pi + 1e-3], atol=1e-12)


@given(
    new=st.tuples(angles, angles, angles),
    old=st.tuples(angles, angles, angles),
    turns=st.tuples(*[st.integers(-3, 3)] * 3),
)
def test_rpy_differences_ignore_whole_turns(new, old, turns):
    new, old = np.array(new), np.array(old)
    difference = rotation_difference('rpy', new, old)
    assert ((difference > -np.pi) & (difference <= np.pi)).all()
    other = rotation_difference('rpy', new + TURN * np.array(turns), old)
    np.testing.assert_allclose(wrap_to_pi(other - difference), 0.0, atol=1e-9)


@given(first=rotations(), second=rotations())
def test_rotation_vector_differences_lead_to_the_same_rotation(first, second):
    old, new = (rotation_from_matrix('rotvec', r.as_matrix(), DOWN) for r in (first, second))
    reached = old + rotation_difference('rotvec', new, old)
    np.testing.assert_allclose(quat.to_matrix(quat.from_rotvec(reached)), second.as_matrix(), atol=1e-8)

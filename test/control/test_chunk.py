"""Chunks: the path they describe, and everything that makes one refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation, Slerp

from restac_ros.contract.load import load_contract
from restac_ros.control.chunk import ChunkError, ChunkRules, build_chunk
from restac_ros.geometry.delta import DeltaRule

RULES = ChunkRules('fr3_link0', DeltaRule('rpy', 'elementwise'), 66_666_666, 20_000_000)


def expected_rotations(chunk) -> Rotation:
    """The targets' rotations by the message's definition, through scipy."""
    delta = chunk.delta_pose[:, 3:]
    if chunk.rule.composition == 'so3':
        return Rotation.from_rotvec(delta) * Rotation.from_quat(chunk.anchor.quaternion_xyzw)
    absolute = chunk.anchor_state[3:] + delta
    return (
        Rotation.from_euler('xyz', absolute)
        if chunk.rule.convention == 'rpy'
        else Rotation.from_rotvec(absolute)
    )


@pytest.mark.parametrize('convention', ['rpy', 'rotvec'])
@pytest.mark.parametrize('composition', ['elementwise', 'so3'])
def test_steps_are_due_when_the_message_says(make_chunk, convention: str, composition: str):
    chunk = make_chunk(convention=convention, composition=composition)
    rotations = expected_rotations(chunk)
    for i in range(chunk.horizon):
        pose = chunk.pose_at(chunk.stamp_ns + (i + 1) * chunk.step_ns)
        np.testing.assert_allclose(
            pose.position_m, chunk.anchor.position_m + chunk.delta_pose[i, :3], atol=1e-12
        )
        assert (Rotation.from_quat(pose.quaternion_xyzw) * rotations[i].inv()).magnitude() < 1e-9
        assert chunk.opening_at(chunk.stamp_ns + (i + 1) * chunk.step_ns) == pytest.approx(chunk.opening_m[i])


@settings(max_examples=50)
@given(st.integers(-(10**8), 1_200_000_000))
def test_between_steps_the_path_is_straight(make_chunk, elapsed_ns: int):
    chunk = make_chunk()
    times = np.arange(chunk.horizon + 1) * chunk.step_ns
    turns = Rotation.concatenate(
        [Rotation.from_quat(chunk.anchor.quaternion_xyzw), expected_rotations(chunk)]
    )
    at = np.clip(elapsed_ns, 0, times[-1])
    pose = chunk.pose_at(chunk.stamp_ns + elapsed_ns)
    rows = np.vstack([np.zeros(3), chunk.delta_pose[:, :3]])
    expected = chunk.anchor.position_m + [np.interp(at, times, rows[:, axis]) for axis in range(3)]
    np.testing.assert_allclose(pose.position_m, expected, atol=1e-12)
    assert (Rotation.from_quat(pose.quaternion_xyzw) * Slerp(times, turns)(at).inv()).magnitude() < 1e-9


def test_roll_may_cross_the_half_turn(make_chunk):
    """A Franka tool points down: roll 3.1 + 0.2 is -2.98, not a whole turn back."""
    delta = np.zeros((4, 6))
    delta[:, 3] = [0.05, 0.1, 0.15, 0.2]
    chunk = make_chunk(horizon=4, delta_pose=delta)
    poses = [chunk.pose_at(chunk.stamp_ns + t * chunk.step_ns // 10) for t in range(41)]
    turns = Rotation.from_quat([pose.quaternion_xyzw for pose in poses])
    assert (turns[1:] * turns[:-1].inv()).magnitude().max() < 0.006


def test_lengths_and_numbers_are_checked(fields):
    for change, message in (
        ({'delta_pose': [0.0] * 95}, r'chunk 7: delta_pose has 95 numbers, expected 96'),
        ({'opening_m': [0.0] * 17}, r'gripper has 17 numbers, expected 16'),
        ({'delta_pose': [0.0] * 50 + [float('nan')] + [0.0] * 45}, r'delta_pose\[50\] is nan'),
        ({'opening_m': [0.01] * 15 + [float('inf')]}, r'gripper\[15\] is inf'),
        ({'anchor_opening_m': float('nan')}, r'anchor_gripper\[0\] is nan'),
        ({'delta_pose': [1e9] + [0.0] * 95}, r'delta_pose\[0\] is 1e\+09, expected a number in -100 .. 100'),
        ({'horizon': 0, 'delta_pose': [], 'opening_m': []}, 'horizon is 0, expected 1 to 1000'),
        ({'horizon': 10**9}, 'horizon is 1000000000, expected 1 to 1000'),
        ({'step_ns': 0}, '16 steps of 0 ns'),
        ({'step_ns': 10**12}, 'at most 60000000000 ns in all'),
        ({'stamp_ns': 0}, 'stamp is 0 ns'),
        ({'valid_until_ns': 10**18 - 5_000_000}, 'valid_until lies 5.0 ms before its own stamp'),
        ({'anchor_quaternion_xyzw': [0.0, 0.0, 0.0, 0.0]}, 'anchor quaternion has length 0, expected 1'),
        ({'anchor_position_m': [0.5, 0.0]}, 'anchor position has 2 numbers, expected 3'),
        ({'convention': 'euler'}, "rotation_convention is 'euler', expected 'rpy' or 'rotvec'"),
        ({'composition': 'so(3)'}, "delta_composition is 'so\\(3\\)'"),
    ):
        with pytest.raises(ChunkError, match=message):
            build_chunk(**{**fields(), **change})


def test_an_anchor_that_contradicts_itself_is_refused(fields):
    sound = fields()
    moved = {**sound, 'anchor_position_m': [0.51, 0.0, 0.3]}
    with pytest.raises(ChunkError, match='differ by 10 mm and'):
        build_chunk(**moved)
    other = {**sound, 'convention': 'rotvec'}
    with pytest.raises(ChunkError, match="rad; expected the same pose twice, anchor_state as 'rotvec'"):
        build_chunk(**other)


def test_a_sound_chunk_passes_the_rules(make_chunk):
    chunk = make_chunk()
    RULES.check(chunk)
    assert RULES.untimely(chunk, chunk.stamp_ns + 80_000_000, None) is None


def test_other_contract_is_refused(make_chunk):
    for change, message in (
        ({'frame_id': 'world'}, "frame_id is 'world', the contract says 'fr3_link0'"),
        ({'convention': 'rotvec'}, "convention is 'rotvec', the contract says 'rpy'"),
        ({'composition': 'so3'}, "composition is 'so3', the contract says 'elementwise'"),
        ({'step_ns': 33_333_333}, 'step_ns is 33333333, the contract says 66666666'),
    ):
        with pytest.raises(ChunkError, match=message):
            RULES.check(make_chunk(**change))


def test_rules_come_from_the_contract(repository):
    assert ChunkRules.from_contract(load_contract(repository / 'config' / 'contract.yaml')) == RULES


def test_untimely_chunks(make_chunk):
    chunk = make_chunk()
    at = chunk.stamp_ns
    assert 'from the future: stamped 21.0 ms ahead' in RULES.untimely(chunk, at - 21_000_000, None)
    assert RULES.untimely(chunk, at - 20_000_000, None) is None
    assert RULES.untimely(chunk, chunk.valid_until_ns, None) is None
    assert 'too old: valid until 1.0 ms ago' in RULES.untimely(chunk, chunk.valid_until_ns + 1_000_000, None)
    long_valid = make_chunk(valid_until_ns=at + 10**10)
    assert 'last step was due 0.0 ms ago' in RULES.untimely(long_valid, long_valid.end_ns, None)


def test_order_is_by_stamp_and_survives_a_restart(make_chunk):
    last = make_chunk(chunk_id=40)
    now = last.stamp_ns + 100_000_000
    older = make_chunk(chunk_id=39, stamp_ns=last.stamp_ns - 66_666_666)
    assert 'chunk 39 is out of order: observed 66.7 ms before chunk 40' in RULES.untimely(older, now, last)
    assert 'out of order' in RULES.untimely(last, now, last), 'a duplicate'
    restarted = make_chunk(chunk_id=0, stamp_ns=last.stamp_ns + 50_000_000)
    assert RULES.untimely(restarted, now, last) is None

"""Switching between chunks: the path that is asked for doesn't jump."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restac_ros.control.continuity import ContinuityConfig, Plan, ensemble_weights, fade
from restac_ros.geometry.pose import Offset, Pose

MS = 1_000_000


def still(make_chunk, position_m, stamp_ns: int, chunk_id: int = 0):
    """A chunk that asks to stay."""
    return make_chunk(
        chunk_id=chunk_id, stamp_ns=stamp_ns, position_m=tuple(position_m), delta_pose=np.zeros((16, 6))
    )


def test_ensemble_weights_have_a_stated_order():
    """ACT's order gives the oldest prediction the largest weight."""
    predictions = np.array([1.0, 2.0, 3.0])
    assert ensemble_weights(3, 0.01, 'oldest_first') @ predictions == pytest.approx(1.993333, abs=5e-7)
    assert ensemble_weights(3, 0.01, 'newest_first') @ predictions == pytest.approx(2.006667, abs=5e-7)
    np.testing.assert_allclose(ensemble_weights(4, 0.0, 'oldest_first'), 0.25)


def test_ensembled_poses(make_chunk):
    start = 10**18
    chunks = [still(make_chunk, (0.5 + 0.01 * i, 0.0, 0.3), start + i * MS, i) for i in range(3)]
    for order, expected in (('oldest_first', 0.50993333), ('newest_first', 0.51006667)):
        config = ContinuityConfig('temporal_ensembling', fade_ns=0, ensemble_order=order)
        plan = Plan.start(config, chunks[0], start, chunks[0].anchor)
        for chunk in chunks[1:]:
            plan = plan.join(chunk, start + 10 * MS, chunks[0].anchor)
        assert plan.pose_at(start + 100 * MS).position_m[0] == pytest.approx(expected, abs=1e-8)


def test_receding_horizon_ends_at_the_newest_chunk(make_chunk):
    start = 10**18
    first, second = still(make_chunk, (0.5, 0, 0.3), start), still(make_chunk, (0.52, 0, 0.3), start + MS)
    plan = Plan.start(ContinuityConfig(), first, start, first.anchor).join(second, start + MS, first.anchor)
    assert plan.chunks == (second,)
    at = [plan.pose_at(start + MS + t * MS).position_m[0] for t in range(0, 201, 5)]
    assert at[0] == pytest.approx(0.5, abs=1e-12)
    assert at[20] == pytest.approx(0.52, abs=1e-12)
    assert at[10] == pytest.approx(0.51, abs=1e-12)
    assert np.all(np.diff(at) >= -1e-15)


def test_fade_is_smooth():
    x = np.linspace(-0.2, 1.2, 2801)
    y = np.array([fade(value) for value in x])
    assert y[0] == 1.0
    assert y[-1] == 0.0
    slope = np.diff(y) / np.diff(x)
    bend = np.diff(slope) / np.diff(x)[1:]
    assert np.abs(np.diff(slope)).max() < 0.005
    assert np.abs(np.diff(bend)).max() < 0.05, 'acceleration is continuous, too'


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(['receding_horizon', 'temporal_ensembling']),
    st.sampled_from([30 * MS, 100 * MS, 300 * MS]),
    st.lists(
        st.tuples(
            st.integers(5 * MS, 200 * MS), st.tuples(*[st.floats(-0.05, 0.05)] * 3), st.floats(-0.5, 0.5)
        ),
        min_size=1,
        max_size=6,
    ),
)
def test_no_jump_where_a_chunk_joins(make_chunk, mode: str, fade_ns: int, joins: list):
    """What is asked just before and at a switch is the same, whatever the new chunk says."""
    start = 10**18
    first = make_chunk(stamp_ns=start)
    plan = Plan.start(ContinuityConfig(mode, fade_ns=fade_ns), first, start, first.anchor)
    now = start
    for i, (gap_ns, shift, turn) in enumerate(joins):
        now += gap_ns
        before = plan.pose_at(now)
        chunk = make_chunk(
            chunk_id=8 + i,
            stamp_ns=now - 30 * MS,
            position_m=tuple(np.array([0.5, 0.0, 0.3]) + shift),
            rotation_rad=(3.1 + turn, 0.1, -0.4),
        )
        plan = plan.join(chunk, now, before)
        gap = Offset.between(before, plan.pose_at(now))
        assert gap.distance_m < 1e-12
        assert gap.angle_rad < 1e-7
        settled = now + fade_ns
        gap = Offset.between(plan.path_at(settled), plan.pose_at(settled))
        assert gap.distance_m < 1e-12
        assert gap.angle_rad < 1e-7


def test_a_replan_of_the_same_motion_changes_nothing(make_chunk):
    """A new chunk that continues the old one leaves the path as it was."""
    start, velocity = 10**18, np.array([0.05, 0.02, -0.01])

    def chunk_at(stamp_ns: int):
        delta = np.zeros((16, 6))
        delta[:, :3] = velocity * (np.arange(1, 17) * 0.066666666)[:, None]
        at = np.array([0.5, 0.0, 0.3]) + velocity * (stamp_ns - start) * 1e-9
        return make_chunk(stamp_ns=stamp_ns, position_m=tuple(at), delta_pose=delta)

    plan = Plan.start(ContinuityConfig(), chunk_at(start), start, chunk_at(start).anchor)
    found = []
    for now in range(start, start + 600 * MS, 10 * MS):
        if now % (70 * MS) == 0:
            plan = plan.join(chunk_at(now - 50 * MS), now, plan.pose_at(now))
        found.append(plan.pose_at(now).position_m)
    expected = [np.array([0.5, 0.0, 0.3]) + velocity * t * 0.01 for t in range(60)]
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_old_chunks_leave_the_ensemble(make_chunk):
    start = 10**18
    config = ContinuityConfig('temporal_ensembling', ensemble_size=3)
    plan = Plan.start(
        config, still(make_chunk, (0.5, 0, 0.3), start), start, Pose(np.zeros(3), np.array([0, 0, 0, 1.0]))
    )
    for i in range(1, 6):
        plan = plan.join(
            still(make_chunk, (0.5, 0, 0.3), start + i * MS, i), start + i * MS, plan.pose_at(start)
        )
    assert [chunk.chunk_id for chunk in plan.chunks] == [3, 4, 5]
    late = start + 2000 * MS
    plan = plan.join(still(make_chunk, (0.5, 0, 0.3), late, 6), late, plan.pose_at(late))
    assert [chunk.chunk_id for chunk in plan.chunks] == [6]


def test_gripper_follows_the_chunk(make_chunk):
    chunk = make_chunk()
    plan = Plan.start(ContinuityConfig(), chunk, chunk.stamp_ns, chunk.anchor)
    at = [plan.opening_at(chunk.stamp_ns + i * chunk.step_ns) for i in range(17)]
    np.testing.assert_allclose(at, [0.08, *chunk.opening_m])
    assert all(after <= before for before, after in itertools.pairwise(at))

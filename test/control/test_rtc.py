"""Delay accounting and what the next chunk must agree with, against the formulas written out."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restac_ros.control.rtc import DelayEstimate, decided_actions, executed_steps, inpainting, prefix_weights

STEP = 66_666_666
STAMP = 10**18


def test_weights_follow_the_paper():
    horizon, delay, execution = 50, 6, 25
    weights = prefix_weights(horizon, delay, execution)
    for i in range(horizon):
        if i < delay:
            expected = 1.0
        elif i < horizon - execution:
            c = (horizon - execution - i) / (horizon - execution - delay + 1)
            expected = c * (math.exp(c) - 1) / (math.e - 1)
        else:
            expected = 0.0
        assert weights[i] == pytest.approx(expected, abs=1e-15), i


def test_a_hard_mask_binds_the_delayed_steps_only():
    np.testing.assert_array_equal(prefix_weights(8, 2, 3, 'hard'), [1, 1, 0, 0, 0, 0, 0, 0])


def test_a_delay_beyond_the_old_chunk_is_refused():
    assert prefix_weights(8, 5, 3).tolist() == [1, 1, 1, 1, 1, 0, 0, 0]
    with pytest.raises(ValueError, match='6 steps is longer than the 5'):
        prefix_weights(8, 6, 3)
    with pytest.raises(ValueError, match='execution horizon 0'):
        prefix_weights(8, 1, 0)


@given(st.integers(1, 60).flatmap(lambda h: st.tuples(st.just(h), st.integers(1, h), st.integers(0, h))))
def test_weights_never_rise(case):
    horizon, execution, delay = case
    if delay > horizon - execution:
        return
    weights = prefix_weights(horizon, delay, execution)
    assert np.all(np.diff(weights) <= 0)
    assert weights.sum() >= delay
    assert np.all(weights[horizon - execution :] == 0)


@pytest.mark.parametrize(
    ('late_ns', 'steps'),
    [(-5, 0), (0, 0), (1, 1), (STEP, 1), (STEP + 1, 2), (3 * STEP, 3), (3 * STEP + 5, 4)],
)
def test_delay_counts_steps_that_had_begun(late_ns: int, steps: int):
    assert executed_steps(STAMP, STAMP + late_ns, STEP) == steps
    begins = [STAMP + i * STEP for i in range(10)]
    assert steps == sum(time_ns < STAMP + late_ns for time_ns in begins)


def test_warm_up_does_not_count_and_old_delays_are_forgotten():
    estimate = DelayEstimate(initial=3)
    for steps in (90, 40):
        estimate = estimate.after(steps)
    assert estimate.steps == 3
    for steps in (2, 9, 2, 1):
        estimate = estimate.after(steps)
    assert estimate.steps == 9
    for _ in range(10):
        estimate = estimate.after(2)
    assert estimate.delays == (2,) * 10
    assert estimate.steps == 2


@given(st.lists(st.integers(0, 30), max_size=40))
def test_the_estimate_is_the_largest_delay_of_the_window(delays: list[int]):
    estimate = DelayEstimate(initial=5)
    for steps in delays:
        estimate = estimate.after(steps)
    assert estimate.steps == max(delays[2:][-10:], default=5)


CASES = [('rpy', 'elementwise'), ('rotvec', 'elementwise'), ('rpy', 'so3'), ('rotvec', 'so3')]


@pytest.mark.parametrize(('convention', 'composition'), CASES)
def test_decided_actions_name_the_same_poses(make_chunk, convention: str, composition: str):
    """A new chunk made of the decided actions alone asks for what the running one asked for."""
    running = make_chunk(convention=convention, composition=composition)
    steps = 4
    observed_ns = STAMP + steps * STEP
    # Across the half turn, where the sign of roll flips.
    state = (
        np.array([0.51, -0.01, 0.29, -3.12, 0.12, -0.38])
        if convention == 'rpy'
        else np.array([0.51, -0.01, 0.29, 3.0, 0.12, -0.38])
    )
    decided = decided_actions(running, observed_ns, state, 16)
    assert decided.known.tolist() == [True] * 12 + [False] * 4
    continued = make_chunk(
        chunk_id=8,
        stamp_ns=observed_ns,
        convention=convention,
        composition=composition,
        position_m=state[:3],
        rotation_rad=state[3:],
        anchor_opening_m=0.05,
        delta_pose=decided.delta_pose,
        opening_m=decided.opening_m,
    )
    for i in range(12):
        due = observed_ns + (i + 1) * STEP
        old, new = running.pose_at(due), continued.pose_at(due)
        np.testing.assert_allclose(new.position_m, old.position_m, atol=1e-12)
        assert abs(np.dot(new.quaternion_xyzw, old.quaternion_xyzw)) == pytest.approx(1, abs=1e-12)
        assert continued.opening_at(due) == pytest.approx(running.opening_at(due))
    assert np.abs(decided.delta_pose[:, 3:]).max() < 1.0, 'no whole turns'
    np.testing.assert_array_equal(decided.delta_pose[12:], decided.delta_pose[[11] * 4])


def test_unknown_steps_bind_nothing(make_chunk):
    running = make_chunk(horizon=16)
    decided, weights = inpainting(running, STAMP + 4 * STEP, running.anchor_state, 16, delay=3)
    np.testing.assert_allclose(weights, prefix_weights(16, 3, 4))
    assert weights[~decided.known].tolist() == [0, 0, 0, 0]


def test_the_overlap_can_be_kept_short_but_never_shorter_than_the_delay(make_chunk):
    running = make_chunk(horizon=16)
    at = (running, STAMP + 2 * STEP, running.anchor_state, 16)
    _, weights = inpainting(*at, delay=3, max_overlap=6)
    np.testing.assert_allclose(weights, prefix_weights(16, 3, 10))
    assert np.count_nonzero(weights) == 6
    _, weights = inpainting(*at, delay=8, max_overlap=6)
    np.testing.assert_allclose(weights, prefix_weights(16, 8, 8))


@settings(max_examples=60)
@given(
    st.sampled_from(CASES),
    st.integers(0, 15),
    st.lists(st.floats(-0.02, 0.02), min_size=96, max_size=96),
    st.lists(st.floats(-3, 3), min_size=3, max_size=3),
)
def test_about_the_same_state_a_chunk_is_itself_shifted(
    make_chunk, case: tuple[str, str], shift: int, steps: list[float], rotation: list[float]
):
    convention, composition = case
    rotation = np.array(rotation) * ([1, 0.4, 1] if convention == 'rpy' else [0.6, 0.6, 0.6])
    delta = np.cumsum(np.reshape(steps, (16, 6)), axis=0)
    running = make_chunk(
        convention=convention, composition=composition, rotation_rad=tuple(rotation), delta_pose=delta
    )
    decided = decided_actions(running, STAMP + shift * STEP, running.anchor_state, 16)
    known = 16 - shift
    assert decided.known.sum() == known
    np.testing.assert_allclose(decided.delta_pose[:known], delta[shift:], atol=1e-7)
    np.testing.assert_allclose(decided.opening_m[:known], running.opening_m[shift:], atol=1e-9)


def test_no_inpainting_after_the_running_chunk(make_chunk):
    running = make_chunk(horizon=16)
    assert inpainting(running, STAMP + 14 * STEP, running.anchor_state, 16, delay=3) is None
    assert inpainting(running, running.end_ns, running.anchor_state, 16, delay=0) is None
    assert inpainting(running, STAMP + 13 * STEP, running.anchor_state, 16, delay=3) is not None


@settings(max_examples=50)
@given(st.integers(0, 16 * STEP), st.integers(1, 30), st.integers(0, 40))
def test_inpainting_is_always_possible_or_none(make_chunk, elapsed_ns: int, horizon: int, delay: int):
    found = inpainting(make_chunk(), STAMP + elapsed_ns, np.array([0.5, 0, 0.3, 3.1, 0, 0]), horizon, delay)
    if found is not None:
        decided, weights = found
        assert weights.shape == decided.known.shape == (horizon,)
        assert np.isfinite(decided.delta_pose).all()
        assert np.all((weights >= 0) & (weights <= 1))
        assert not weights[~decided.known].any()

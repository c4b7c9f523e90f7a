"""A chunk as the continuation of another: through the compiled policy, in raw units, for every chunking."""

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from checkpoints import load_checkpoint
from restac_ros.contract.schema import Contract
from restac_ros.control.chunk import build_chunk
from restac_ros.control.rtc import decided_actions, prefix_weights
from restac_ros.geometry.delta import DeltaRule
from restac_ros.geometry.quaternion import from_rpy
from restac_ros.model.checkpoint.store import save_checkpoint
from restac_ros.policy.chunking import Chunking, ContinuationEncoder
from restac_ros.policy.errors import PolicyError
from restac_ros.policy.normalization import Quantiles
from restac_ros.policy.policy import Policy
from restac_ros.policy.products import Continuation, PlannedActions

HORIZON, MAX_DELAY = 5, 2
NOISE = np.random.default_rng(3).standard_normal((HORIZON, 9)).astype(np.float32)


@pytest.fixture(scope='module')
def load(
    checkpoint: Path, contract: Contract, compile_cache: Path, tmp_path_factory
) -> Callable[..., Policy]:
    """A policy whose checkpoint says that delays up to MAX_DELAY were simulated."""
    plain = load_checkpoint(checkpoint)
    origin = dataclasses.replace(plain.info.origin, max_simulated_delay=MAX_DELAY)
    trained = tmp_path_factory.mktemp('trained') / 'micro'
    save_checkpoint(trained, plain.params, dataclasses.replace(plain.info, origin=origin))

    def load(kind: str, path: Path = trained, **options: Any) -> Policy:
        choice = Chunking(kind, **options)
        return Policy.load(path, contract, 'lift', num_steps=5, chunking=choice, compile_cache=compile_cache)

    return load


@pytest.fixture(scope='module')
def policies(load: Callable[..., Policy]) -> dict[str, Policy]:
    return {kind: load(kind) for kind in ('receding_horizon', 'rtc_guided', 'rtc_trained')}


def plan(policy: Policy, inputs: Any, continuation: Continuation | None = None) -> PlannedActions:
    prefix = policy.encode_prefix(inputs.images, 0)
    touch = policy.encode_tactile(inputs.tactile, prefix, inputs.action_prev, 0)
    return policy.act(prefix, touch, inputs.state, noise=NOISE, continuation=continuation)


def continuation_of(
    chunk: PlannedActions, delay: int, offset: float = 0.0, free: float = np.nan
) -> Continuation:
    """The same chunk again, moved by `offset` of each dimension's size, the last two rows free."""
    weights = prefix_weights(HORIZON, delay, 2)
    delta_pose = np.where(weights > 0, 1.0 + offset, free)[:, None] * chunk.delta_pose
    return Continuation(delta_pose, chunk.gripper_opening_m, weights, delay)


def test_every_chunking_compiles_once_and_plans_freely_alike(
    policies: dict[str, Policy], inputs: Any, caplog: pytest.LogCaptureFixture
) -> None:
    chunks = {}
    for kind, policy in policies.items():
        policy.warm_up()
        with jax.log_compiles(), caplog.at_level(logging.DEBUG, logger='jax'):
            chunks[kind] = plan(policy, inputs)
            if kind != 'receding_horizon':
                for delay in range(MAX_DELAY + 1):
                    plan(policy, inputs, continuation_of(chunks[kind], delay))
        assert [r for r in caplog.records if 'ompil' in r.getMessage()] == [], kind
        assert (chunks[kind].chunking, chunks[kind].continued_delay_steps) == (kind, None)
    for kind, chunk in chunks.items():
        np.testing.assert_allclose(
            chunk.delta_pose, chunks['receding_horizon'].delta_pose, atol=2e-6, err_msg=kind
        )


@pytest.mark.parametrize('kind', ['rtc_guided', 'rtc_trained'])
def test_the_first_steps_are_those_of_the_running_chunk(
    policies: dict[str, Policy], inputs: Any, kind: str
) -> None:
    policy = policies[kind]
    free = plan(policy, inputs)
    wanted = continuation_of(free, MAX_DELAY, offset=0.5)
    chunk = plan(policy, inputs, wanted)
    assert chunk.continued_delay_steps == MAX_DELAY
    assert np.isfinite(chunk.delta_pose).all(), 'rows that bind nothing were NaN'
    scale = np.subtract(policy.stats.actions.q99, policy.stats.actions.q01)[:6] / 2
    error = np.abs(chunk.delta_pose - wanted.delta_pose)[:MAX_DELAY] / scale
    before = np.abs(free.delta_pose - wanted.delta_pose)[:MAX_DELAY] / scale
    assert error.max() < (1e-5 if kind == 'rtc_trained' else 0.1)
    assert error.mean() < 0.2 * before.mean()


def test_the_seam_is_smoother_than_without(policies: dict[str, Policy], inputs: Any) -> None:
    """The running chunk was drawn from other noise; at the switch the new one goes on where it is."""
    policy = policies['rtc_guided']
    prefix = policy.encode_prefix(inputs.images, 0)
    touch = policy.encode_tactile(inputs.tactile, prefix, inputs.action_prev, 0)
    jumps: dict[bool, list[float]] = {False: [], True: []}
    for index in range(8):
        running = policy.act(prefix, touch, inputs.state, seed=1, index=index)
        for continued in jumps:
            continuation = continuation_of(running, 1) if continued else None
            new = policy.act(prefix, touch, inputs.state, noise=NOISE, continuation=continuation)
            jumps[continued].append(np.linalg.norm(new.delta_pose[1] - running.delta_pose[1]))
    assert np.mean(jumps[True]) < 0.6 * np.mean(jumps[False])
    assert np.max(jumps[True]) < np.max(jumps[False])


def test_more_guidance_holds_tighter(policies: dict[str, Policy], load: Callable, inputs: Any) -> None:
    wanted = continuation_of(plan(policies['rtc_guided'], inputs), MAX_DELAY, offset=0.5)
    errors = [
        np.abs(plan(policy, inputs, wanted).delta_pose - wanted.delta_pose)[:MAX_DELAY].mean()
        for policy in (load('rtc_guided', max_guidance=1.0), policies['rtc_guided'])
    ]
    assert errors[1] < errors[0]


def test_contradictions_are_refused(
    policies: dict[str, Policy], load: Callable, checkpoint: Path, inputs: Any
) -> None:
    free = plan(policies['receding_horizon'], inputs)
    with pytest.raises(PolicyError, match="expected None: chunking = 'receding_horizon'"):
        plan(policies['receding_horizon'], inputs, continuation_of(free, 1))
    with pytest.raises(PolicyError, match=r'not trained to continue a chunk.*rtc_guided'):
        load('rtc_trained', checkpoint)
    with pytest.raises(PolicyError, match=r"chunking: found 'rtc', expected 'receding_horizon'"):
        Chunking('rtc')
    with pytest.raises(PolicyError, match=r'max_guidance: found nan'):
        Chunking('rtc_guided', float('nan'))
    with pytest.raises(PolicyError, match=r'a delay of 3 steps, expected 0 \.\. 2'):
        plan(policies['rtc_trained'], inputs, continuation_of(free, 3))


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'weights': np.full(HORIZON, 2.0)}, r'found weights \[2\.0'),
        ({'weights': np.full(HORIZON, np.nan)}, r'found weights \[nan'),
        ({'weights': np.zeros(HORIZON)}, r'of decided steps, expected 1'),
        ({'delta_pose': np.full((HORIZON, 6), np.nan)}, 'expected finite numbers'),
        ({'delta_pose': np.zeros((3, 6))}, r'found shapes \(\(3, 6\)'),
        ({'delay_steps': HORIZON}, r'a delay of 5 steps, expected 0 \.\. 4'),
    ],
)
def test_bad_continuations_are_refused(
    policies: dict[str, Policy], inputs: Any, change: dict, message: str
) -> None:
    sound = continuation_of(plan(policies['rtc_guided'], inputs), 1, free=1.0)
    with pytest.raises(PolicyError, match=message):
        plan(policies['rtc_guided'], inputs, dataclasses.replace(sound, **change))


def test_a_dimension_that_never_moved_stays_where_the_network_knows_it(policies: dict[str, Policy]) -> None:
    inputs = policies['rtc_guided'].continuations.preprocessor
    low = (-0.1, -0.1, -0.1, -0.3, -0.3, 0.02, 0.0)
    high = (0.1, 0.1, 0.1, 0.3, 0.3, 0.02, 0.08)  # yaw never moved
    stats = dataclasses.replace(inputs.stats, actions=Quantiles(low, high))
    encode = ContinuationEncoder(Chunking('rtc_guided'), dataclasses.replace(inputs, stats=stats), 4)
    pose = np.full((HORIZON, 6), 0.05)
    guidance = encode(Continuation(pose, np.full(HORIZON, 0.04), np.ones(HORIZON), 2))
    np.testing.assert_allclose(guidance.actions[0, :, 0], 0.5, atol=1e-4)
    np.testing.assert_array_equal(guidance.actions[0, :, 5], 1.0)
    assert guidance.weights[0, :, :7].all()
    assert not guidance.weights[0, :, 7:].any(), 'padding is free'


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(['elementwise', 'so3']),
    st.lists(st.floats(-1, 1), min_size=7, max_size=7),
    st.integers(0, 15),
)
def test_re_anchoring_is_the_training_transform(composition: str, moved: list[float], shift: int) -> None:
    """The twin: absolute targets, then their deltas from the new state, as training data are made."""
    rng = np.random.default_rng(shift)
    state = np.array([0.5, 0.1, 0.4, 3.1, 0.1, -0.2, 0.04])
    rule = DeltaRule('rpy', composition)
    changes = np.cumsum(rng.uniform(-0.02, 0.02, (16, 7)), axis=0)
    changes[:, 6] = rng.uniform(0, 0.08, 16)
    rotations = Rotation.from_quat(rule.orientations(changes, state)).as_euler('xyz')
    targets = np.concatenate([state[:3] + changes[:, :3], rotations, changes[:, 6:]], axis=1)
    now = state + np.array(moved) * np.array([0.05, 0.05, 0.05, 0.2, 0.2, 0.2, 0.01])
    running = build_chunk(
        chunk_id=0,
        stamp_ns=10**18,
        frame_id='base',
        anchor_position_m=state[:3],
        anchor_quaternion_xyzw=from_rpy(state[3:6]),
        anchor_state=state[:6],
        anchor_opening_m=state[6],
        convention='rpy',
        composition=composition,
        step_ns=10**8,
        horizon=16,
        delta_pose=changes[:, :6].ravel(),
        opening_m=changes[:, 6],
        valid_until_ns=10**18 + 10**9,
    )
    decided = decided_actions(running, 10**18 + shift * 10**8, now[:6], 16)
    expected = rule.deltas(targets[shift:], now)
    np.testing.assert_allclose(decided.delta_pose[: 16 - shift], expected[:, :6], atol=1e-6)
    np.testing.assert_allclose(decided.opening_m[: 16 - shift], expected[:, 6], atol=1e-9)

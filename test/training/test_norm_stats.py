"""Statistics are exact, over delta actions, pooled over raw values, and bound to their data."""

from types import SimpleNamespace

import numpy as np
import pytest

from restac_ros.training import norm_stats
from restac_ros.training.data.episodes import Episodes
from restac_ros.training.errors import TrainingError

HORIZON = 5


def slow_deltas(episodes: Episodes, numbers: list[int]) -> np.ndarray:
    """Frame by frame, step by step."""
    rule, rows = norm_stats.delta_rule(episodes.contract), []
    for number in numbers:
        span = episodes.tables.spans[number]
        for frame in range(span.length):
            sample_state = episodes.state[span.first + frame]
            for step in range(HORIZON):
                if frame + step < span.length:
                    rows.append(rule.deltas(episodes.actions[span.first + frame + step], sample_state))
    return np.array(rows, np.float32)


def test_quantiles_are_those_of_every_delta_of_every_frame(episodes: Episodes) -> None:
    measured = norm_stats.measure_norm_stats([episodes], [[0, 2]], HORIZON).stats.actions
    deltas = slow_deltas(episodes, [0, 2])
    np.testing.assert_allclose(measured.q01, np.quantile(deltas, 0.01, axis=0), atol=1e-6)
    np.testing.assert_allclose(measured.q99, np.quantile(deltas, 0.99, axis=0), atol=1e-6)
    np.testing.assert_allclose(measured.mean, deltas.mean(axis=0), atol=1e-6)


def test_two_data_sets_are_pooled_over_their_values(episodes: Episodes) -> None:
    pooled = norm_stats.measure_norm_stats([episodes, episodes], [[0], [1, 3]], HORIZON).stats
    together = norm_stats.measure_norm_stats([episodes], [[0, 1, 3]], HORIZON).stats
    np.testing.assert_allclose(pooled.state.q01, together.state.q01, atol=1e-7)
    np.testing.assert_allclose(pooled.actions.q99, together.actions.q99, atol=1e-7)


def test_a_narrow_range_is_refused_by_name_with_what_it_would_do(episodes: Episodes) -> None:
    with pytest.raises(TrainingError, match=r'state gripper: .*, expected at least 0\.5; the largest'):
        norm_stats.measure_norm_stats([episodes], [[0]], HORIZON, least_range=(1e-6,) * 6 + (0.5,))


def test_a_narrow_range_may_be_widened_and_the_checkpoint_says_so(episodes: Episodes) -> None:
    wide = norm_stats.measure_norm_stats(
        [episodes], [[0]], HORIZON, least_range=(1e-6,) * 6 + (0.5,), widen={'gripper': 0.5}
    ).stats
    assert wide.state.q99[6] - wide.state.q01[6] == pytest.approx(0.5)
    assert 'ranges widened: gripper 0.5' in wide.source


def test_a_robot_without_a_gripper_needs_no_range_for_it(episodes: Episodes) -> None:
    """Its opening is one value for ever, which would be refused as too narrow."""
    gripper = episodes.contract.gripper.model_copy(update={'absent': 'the plug is bolted to the flange'})
    still = SimpleNamespace(
        **{name: getattr(episodes, name) for name in ('name', 'fingerprint', 'tables')},
        contract=episodes.contract.model_copy(update={'gripper': gripper}),
        state=np.concatenate([episodes.state[:, :6], np.zeros((len(episodes.state), 1))], axis=1),
        actions=np.concatenate([episodes.actions[:, :6], np.zeros((len(episodes.actions), 1))], axis=1),
    )
    stats = norm_stats.measure_norm_stats([still], [[0, 1]], HORIZON).stats
    for found in (stats.state, stats.actions):
        assert found.normalize(np.zeros(7))[6] == pytest.approx(0.0, abs=1e-3)
    still.contract = episodes.contract
    with pytest.raises(TrainingError, match='state gripper: q99 - q01 = 0'):
        norm_stats.measure_norm_stats([still], [[0, 1]], HORIZON)


def test_statistics_of_other_episodes_are_refused(episodes: Episodes) -> None:
    found = norm_stats.measure_norm_stats([episodes], [[0, 1]], HORIZON).identity
    expected = norm_stats.identity_of([episodes], [[0, 1, 2]], HORIZON)
    with pytest.raises(TrainingError, match='measured on other data'):
        norm_stats.check_identity(found, expected, 'norm_stats.json')
    norm_stats.check_identity(found, norm_stats.identity_of([episodes], [[0, 1]], HORIZON), 'norm_stats.json')

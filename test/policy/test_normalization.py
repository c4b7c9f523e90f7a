"""Quantile normalisation: openpi's numbers and file, checked before use."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from restac_ros.policy.normalization import NormStats, NormStatsError, Quantiles, read_norm_stats

Q = Quantiles(q01=(0.2, -1.0, 5.0), q99=(0.8, 1.0, 5.0))


def layout(**changes: object) -> dict:
    """openpi's JSON, with two-dimensional vectors."""
    entry = {'mean': [0.0, 0.0], 'std': [1.0, 1.0], 'q01': [-1.0, -2.0], 'q99': [1.0, 2.0]}
    return {'norm_stats': {'state': entry | changes, 'actions': dict(entry)}}


def test_values_are_openpis() -> None:
    x = np.array([0.2, 0.0, 5.5])
    by_hand = [(v - a) / (b - a + 1e-6) * 2 - 1 for v, a, b in zip(x, Q.q01, Q.q99, strict=True)]
    found = Q.normalize(x)
    np.testing.assert_array_equal(found, by_hand)
    assert found[2] > 9e5  # beyond the range, and not clipped
    assert found.dtype == np.float64


@given(arrays(np.float64, (4, 3), elements=st.floats(-100, 100)))
def test_unnormalize_inverts(x: np.ndarray) -> None:
    np.testing.assert_allclose(Q.unnormalize(Q.normalize(x)), x, rtol=1e-9, atol=1e-9)


def test_another_length_is_refused() -> None:
    with pytest.raises(NormStatsError, match=r'found shape \(4,\), expected a last axis of 3'):
        Q.normalize(np.zeros(4))


def test_dimensions_that_never_moved_are_reported() -> None:
    assert Q.narrow() == (2,)
    notes = NormStats(Q, Quantiles((0.0,), (1e-5,))).notes()
    assert [note.split(' ')[0] for note in notes] == ['state[2]', 'actions[0]']


def test_the_file_survives_a_round_trip(tmp_path: Path) -> None:
    stats = NormStats.from_dict(layout() | {'source': 'compute-stats'}, 'here', 2)
    path = tmp_path / 'norm_stats.json'
    path.write_text(json.dumps(stats.to_dict()))
    assert read_norm_stats(path, 2) == stats
    assert stats.state.mean == (0.0, 0.0)
    assert stats.source == 'compute-stats'


@pytest.mark.parametrize(
    ('data', 'message'),
    [
        ({}, r"f\.json: norm_stats: found NoneType, expected 'state' and 'actions'"),
        ({'norm_stats': {'state': {}}}, r"found \['state'\], expected 'state' and 'actions'"),
        (layout(q01=None), r'norm_stats\.state: found .*, expected q01 and q99'),
        (layout(q01='a'), r'norm_stats\.state\.q01: found .a., expected a list of numbers'),
        (layout(q99=[1.0, True]), r'norm_stats\.state\.q99: found .*, expected a list of numbers'),
        (layout(q99=[1.0]), r'norm_stats\.state\.q99: found 1 values, expected 2'),
        (layout(q99=[1.0, float('nan')]), r'norm_stats\.state\.q99: found .*, expected finite numbers'),
        (
            layout(q99=[1.0, -3.0]),
            r'norm_stats\.state\.q99\[1\]: found -3\.0, expected at least q01\[1\] = -2\.0',
        ),
        (layout(q01=[0.0] * 3, q99=[1.0] * 3, mean=None, std=None), r'found 3 values, expected 2'),
    ],
)
def test_unusable_statistics_are_named(data: dict, message: str) -> None:
    with pytest.raises(NormStatsError, match=message):
        NormStats.from_dict(data, 'f.json', 2)


def test_statistics_of_pi0_without_quantiles_are_refused() -> None:
    data = layout()
    del data['norm_stats']['actions']['q01']
    with pytest.raises(NormStatsError, match=r'norm_stats\.actions: found .* expected q01 and q99'):
        NormStats.from_dict(data, 'f.json', 2)


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / 'norm_stats.json'
    with pytest.raises(NormStatsError, match=f'{path}: no such file; `restac-ros norm-stats'):
        read_norm_stats(path)
    path.write_text('[')
    with pytest.raises(NormStatsError, match=f'{path}: not readable JSON'):
        read_norm_stats(path)
    path.write_text('[]')
    with pytest.raises(NormStatsError, match='found a JSON list, expected an object'):
        read_norm_stats(path)

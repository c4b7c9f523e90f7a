"""The gate against contact, on gates whose figures are known."""

import numpy as np
import pytest

from restac_ros.training.evaluation.gate_figures import auroc, gate_figures, rise_latency, roc_curve

CONTACT = np.array([False] * 5 + [True] * 6 + [False] * 5)
TIMES_S = np.arange(len(CONTACT)) * 0.1


def repeated(gate: np.ndarray, times: int = 4) -> tuple[list[np.ndarray], list[np.ndarray]]:
    return [gate] * times, [CONTACT] * times


def test_a_gate_that_follows_contact_is_perfect() -> None:
    gates, contacts = repeated(np.where(CONTACT, 0.9, 0.1))
    figures = gate_figures(gates, gates, contacts, [TIMES_S] * len(gates), seed=0)
    assert figures.auroc == pytest.approx((1.0, 1.0, 1.0))
    assert (figures.free, figures.contact) == pytest.approx((0.1, 0.9))
    assert (figures.saturated_shut, figures.saturated_open) == (0.0, 0.0)
    assert figures.rise is not None
    assert figures.rise.median_ms == 0.0


def test_a_gate_that_ignores_contact_says_nothing() -> None:
    rng = np.random.default_rng(0)
    gates = [rng.uniform(size=len(CONTACT)) for _ in range(30)]
    figures = gate_figures(gates, gates, [CONTACT] * 30, [TIMES_S] * 30, seed=0)
    assert figures.auroc is not None
    assert figures.auroc.low < 0.5 < figures.auroc.high
    assert 0.4 < figures.auroc.value < 0.6


def test_a_constant_gate_is_a_tie_and_a_saturated_one_is_counted() -> None:
    gates, contacts = repeated(np.full(len(CONTACT), 0.99))
    figures = gate_figures(gates, gates, contacts, [TIMES_S] * len(gates), seed=0)
    assert figures.auroc is not None
    assert figures.auroc.value == 0.5
    assert figures.saturated_open == 1.0
    assert figures.rise is None


def test_data_without_contact_have_no_area() -> None:
    gates = [np.linspace(0, 1, 9)] * 3
    figures = gate_figures(gates, gates, [np.zeros(9, bool)] * 3, [np.arange(9.0)] * 3, seed=0)
    assert (figures.auroc, figures.free, figures.rise, figures.curve) == (None, None, None, [])


def test_the_area_is_the_share_of_pairs_in_order() -> None:
    rng = np.random.default_rng(3)
    scores, positive = rng.integers(0, 6, 60) / 5.0, rng.uniform(size=60) < 0.4
    weights = rng.integers(0, 4, (3, 60)).astype(float)
    for row, found in zip(weights, auroc(scores, positive, weights), strict=True):
        won = pairs = 0.0
        for i in np.flatnonzero(positive):
            for j in np.flatnonzero(~positive):
                weight = row[i] * row[j]
                pairs += weight
                won += weight * (float(scores[i] > scores[j]) + 0.5 * float(scores[i] == scores[j]))
        assert found == pytest.approx(won / pairs)
    curve = np.array(roc_curve(scores, positive))
    assert np.trapezoid(curve[:, 1], curve[:, 0]) == pytest.approx(auroc(scores, positive)[0])


@pytest.mark.parametrize(('late', 'expected_ms'), [(0, 0.0), (1, 100.0), (3, 300.0)])
def test_latency_counts_from_the_first_frame_in_contact(late: int, expected_ms: float) -> None:
    gate = np.full(len(CONTACT), 0.1)
    gate[5 + late : 11] = 0.9
    rise = rise_latency([gate], [CONTACT], 0.5, [TIMES_S])
    assert (rise.contacts, rise.open_before, rise.never) == (1, 0, 0)
    assert rise.latencies_ms == pytest.approx([expected_ms])


def test_latency_is_of_the_frames_times_where_the_policy_skipped_some() -> None:
    gate = np.where(np.arange(len(CONTACT)) == 6, 0.9, 0.1)
    skipping_s = TIMES_S + np.where(np.arange(len(CONTACT)) > 5, 0.05, 0.0)
    assert rise_latency([gate], [CONTACT], 0.5, [skipping_s]).latencies_ms == pytest.approx([150.0])


def test_a_gate_that_was_open_and_one_that_never_opens_have_no_latency() -> None:
    shut = np.where(np.arange(len(CONTACT)) == 12, 0.9, 0.1)  # it opens when the contact is over
    rise = rise_latency([np.full(len(CONTACT), 0.9), shut], [CONTACT] * 2, 0.5, [TIMES_S] * 2)
    assert (rise.contacts, rise.open_before, rise.never, rise.latencies_ms) == (2, 1, 1, [])
    assert rise.median_ms is None

"""Calibration of surprise and use of the codebook, on numbers whose figures are known."""

import numpy as np
import pytest

from restac_ros.training.evaluation.surprise import codebook_use, rank_correlation, surprise_calibration


def test_a_prior_as_wrong_as_it_expects_is_calibrated() -> None:
    rng = np.random.default_rng(0)
    logvar = rng.uniform(-4, 0, 4000)
    squared = np.exp(logvar) * rng.chisquare(200, 4000) / 200
    found = surprise_calibration(logvar, squared)
    assert found.mean_ratio == pytest.approx(1.0, abs=0.01)
    assert found.rank_correlation > 0.95
    assert found.nll < found.nll_constant - 0.1
    for expected, mean in found.reliability:
        assert mean == pytest.approx(expected, rel=0.05)


def test_a_prior_that_expects_half_of_its_error_is_a_factor_off() -> None:
    squared = np.random.default_rng(1).uniform(0.5, 1.5, 2000)
    found = surprise_calibration(np.log(squared / 2), squared)
    assert found.mean_ratio == pytest.approx(2.0)
    assert found.rank_correlation == pytest.approx(1.0)


def test_a_prior_that_expects_the_same_everywhere_orders_nothing() -> None:
    squared = np.random.default_rng(2).uniform(0.5, 1.5, 500)
    found = surprise_calibration(np.full(500, np.log(squared.mean())), squared)
    assert found.rank_correlation == 0.0
    assert found.nll == pytest.approx(found.nll_constant)


def test_ties_share_their_rank() -> None:
    assert rank_correlation(np.array([1.0, 1.0, 2.0]), np.array([5.0, 5.0, 9.0])) == pytest.approx(1.0)
    assert rank_correlation(np.arange(9.0), -np.arange(9.0)) == pytest.approx(-1.0)


def test_codes_that_tell_contact_hold_its_bits() -> None:
    contact = np.arange(200) % 2 == 0
    telling = codebook_use(np.where(contact, 3, 5), contact, size=8)
    assert (telling.used, telling.size) == (2, 8)
    assert (telling.perplexity, telling.contact_bits, telling.contact_entropy_bits) == pytest.approx(
        (2, 1, 1)
    )
    assert telling.shares == [(3, 0.0, 0.5), (5, 0.5, 0.0)]


def test_codes_that_fall_anyhow_tell_nothing() -> None:
    contact = np.arange(400) % 2 == 0
    blind = codebook_use(np.repeat([0, 1, 2, 3], 100), contact, size=4)
    assert blind.perplexity == pytest.approx(4)
    assert blind.contact_bits == pytest.approx(0, abs=1e-12)
    collapsed = codebook_use(np.zeros(400, int), contact, size=4)
    assert (collapsed.used, collapsed.perplexity) == (1, pytest.approx(1))


def test_codes_of_data_without_contact_say_nothing_of_it() -> None:
    found = codebook_use(np.array([0, 1]), np.zeros(2, bool), size=2)
    assert (found.contact_bits, found.contact_entropy_bits) == (None, None)

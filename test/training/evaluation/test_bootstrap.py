"""Intervals over episodes: they hold the truth as often as they say, and are paired by their seed."""

import numpy as np
import pytest

from restac_ros.training.errors import TrainingError
from restac_ros.training.evaluation.bootstrap import EpisodeBootstrap

EPISODES, FRAMES = 15, 12


def frames_of(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Frames around 1, alike within an episode."""
    episodes = np.repeat(np.arange(EPISODES), FRAMES)
    shared = rng.normal(0, 1, EPISODES)[episodes]
    return episodes, 1.0 + shared + rng.normal(0, 0.3, len(episodes))


def test_intervals_hold_the_truth_in_about_95_of_100_cases() -> None:
    held = too_narrow = 0
    for seed in range(300):
        episodes, values = frames_of(np.random.default_rng(seed))
        estimate = EpisodeBootstrap(episodes, seed, draws=300).mean(values)
        held += estimate.low <= 1.0 <= estimate.high
        by_frame = 1.96 * values.std() / np.sqrt(len(values))
        too_narrow += abs(values.mean() - 1.0) <= by_frame
    assert 0.91 <= held / 300 <= 0.98
    assert too_narrow / 300 < 0.7, 'frames counted as independent would claim far too much'


def test_a_weighted_mean_and_a_ratio_are_what_they_say() -> None:
    episodes = np.array([0, 0, 1, 1])
    bootstrap = EpisodeBootstrap(episodes, 0)
    values, weights = np.array([1.0, np.nan, 3.0, 5.0]), np.array([1.0, 0.0, 2.0, 1.0])
    assert bootstrap.mean(values, weights).value == pytest.approx((1 + 6 + 5) / 4)
    ratio = bootstrap.ratio(np.array([1.0, 2.0, 3.0, 4.0]), np.array([2.0, 4.0, 6.0, 8.0]))
    assert ratio == pytest.approx((0.5, 0.5, 0.5))


def test_paired_differences_are_certain_where_single_means_are_not() -> None:
    episodes, values = frames_of(np.random.default_rng(1))
    bootstrap = EpisodeBootstrap(episodes, 3)
    one, other = bootstrap.mean(values), bootstrap.mean(values + 0.1)
    assert other.low < one.high
    assert bootstrap.mean(values + 0.1 - values).low > 0


def test_frames_of_one_episode_have_no_interval_whatever_the_others_are() -> None:
    episodes, values = frames_of(np.random.default_rng(2))
    bootstrap = EpisodeBootstrap(episodes, 0)
    alone = np.where(episodes == 3, 1.0, 0.0)
    for estimate in (bootstrap.mean(values, alone), bootstrap.ratio(values, values + 9.0, alone)):
        assert np.isfinite(estimate.value)
        assert np.isnan([estimate.low, estimate.high]).all()
        assert not estimate.has_interval
    assert bootstrap.mean(values, alone).value == pytest.approx(values[episodes == 3].mean())


def test_intervals_of_few_episodes_among_many_are_as_wide_as_their_number_says() -> None:
    held = 0
    for seed in range(300):
        episodes, values = frames_of(np.random.default_rng(seed))
        among = EpisodeBootstrap(episodes, seed, draws=300).mean(values, np.where(episodes < 5, 1.0, 0.0))
        held += among.low <= 1.0 <= among.high
    assert held / 300 >= 0.85, 'five episodes of fifteen hold the truth as often as five alone'


def test_equal_seeds_give_equal_intervals() -> None:
    episodes, values = frames_of(np.random.default_rng(2))
    assert EpisodeBootstrap(episodes, 5).mean(values) == EpisodeBootstrap(episodes, 5).mean(values)
    assert EpisodeBootstrap(episodes, 5).mean(values) != EpisodeBootstrap(episodes, 6).mean(values)


def test_one_episode_gives_no_interval() -> None:
    with pytest.raises(TrainingError, match=r'found 1 episodes, expected at least 2'):
        EpisodeBootstrap(np.zeros(9, int))

"""Confidence intervals of success rates, and of their differences over the same scenes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

_Z = 1.96  # 95 % of a normal distribution lie within so many standard deviations


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """Return the 95 % interval of a share of successes (Wilson 1927).

    Raises:
        ValueError: no trials, or more successes than trials.
    """
    if not 0 <= successes <= trials or trials == 0:
        raise ValueError(f'found {successes} successes in {trials} trials, expected 0 to at least 1')
    share, weight = successes / trials, _Z * _Z / trials
    middle = (share + weight / 2) / (1 + weight)
    half = _Z / (1 + weight) * math.sqrt(share * (1 - share) / trials + weight / (4 * trials))
    return max(0.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True)
class PairedDifference:
    """Difference of two success rates over the same scenes: the second minus the first.

    Attributes:
        value, low, high: with its 95 % interval (Newcombe 1998, method 10).
        only_first, only_second: scenes in which one alone succeeded.
        p_value: two-sided exact test of equal rates (McNemar 1947).
    """

    value: float
    low: float
    high: float
    only_first: int
    only_second: int
    p_value: float


def paired_difference(first: Sequence[bool], second: Sequence[bool]) -> PairedDifference:
    """Compare successes scene by scene.

    Raises:
        ValueError: no scenes, or other numbers of them.
    """
    trials = len(first)
    if trials != len(second) or not trials:
        raise ValueError(f'found {trials} and {len(second)} attempts, expected the same scenes, at least one')
    both = sum(map(bool.__and__, first, second))
    only_first, only_second = sum(first) - both, sum(second) - both
    neither = trials - both - only_first - only_second
    shares = [count / trials for count in (sum(first), sum(second))]
    (low_1, high_1), (low_2, high_2) = (wilson_interval(count, trials) for count in (sum(first), sum(second)))
    correlation = _correlation(both, only_first, only_second, neither)
    value = shares[1] - shares[0]
    below = _root(shares[1] - low_2, high_1 - shares[0], correlation)
    above = _root(high_2 - shares[1], shares[0] - low_1, correlation)
    odd = only_first + only_second
    tail = sum(math.comb(odd, count) for count in range(min(only_first, only_second) + 1)) / 2**odd
    return PairedDifference(
        value, max(-1.0, value - below), min(1.0, value + above), only_first, only_second, min(1.0, 2 * tail)
    )


def _root(one: float, other: float, correlation: float) -> float:
    return math.sqrt(max(0.0, one * one - 2 * correlation * one * other + other * other))


def _correlation(both: int, only_first: int, only_second: int, neither: int) -> float:
    """Phi of the four counts, a positive one corrected for continuity."""
    margins = (both + only_first) * (only_second + neither) * (both + only_second) * (only_first + neither)
    if not margins:
        return 0.0
    product = float(both * neither - only_first * only_second)
    if product > 0:
        product = max(product - (both + only_first + only_second + neither) / 2, 0.0)
    return product / math.sqrt(margins)

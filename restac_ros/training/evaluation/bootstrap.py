"""Intervals by episode bootstrap: whole episodes are drawn again, as frames of one resemble each other.

Percentiles of the draws (Efron and Tibshirani 1993), widened by sqrt(E / (E - 1)) for E episodes, without
which intervals of few episodes are too narrow.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from restac_ros.training.errors import TrainingError

DRAWS = 2000
LEAST_EPISODES = 2
_PERCENTILES = (2.5, 97.5)


class Estimate(NamedTuple):
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


class EpisodeBootstrap:
    """Means and ratios over frames, with intervals over episodes.

    Equal seeds give equal draws, so that intervals of the same frames are paired.

    Args:
        episodes: episode of each frame, [N].
        seed: of the draws.
        draws: how many.

    Raises:
        TrainingError: fewer than two episodes.
    """

    def __init__(self, episodes: Int[np.ndarray, ' N'], seed: int = 0, draws: int = DRAWS) -> None:
        numbers, self._of_frame = np.unique(episodes, return_inverse=True)
        if len(numbers) < LEAST_EPISODES:
            raise TrainingError(
                f'intervals: found {len(numbers)} episodes, expected at least {LEAST_EPISODES}: record more, '
                'or evaluate more of the data set'
            )
        count = len(numbers)
        rng = np.random.default_rng(seed)
        self._widening = float(np.sqrt(count / (count - 1)))
        self._times = rng.multinomial(count, np.full(count, 1 / count), size=draws).astype(np.float64)

    def mean(
        self, values: Float[np.ndarray, ' N'], weights: Float[np.ndarray, ' N'] | None = None
    ) -> Estimate:
        """Return the weighted mean. Values of weight 0 may be NaN."""
        return self.ratio(values, np.ones(len(values)), weights)

    def ratio(
        self,
        above: Float[np.ndarray, ' N'],
        below: Float[np.ndarray, ' N'],
        weights: Float[np.ndarray, ' N'] | None = None,
    ) -> Estimate:
        """Return sum(weights * above) / sum(weights * below); draws without any weight are left out."""
        weights = np.ones(len(above)) if weights is None else np.asarray(weights, np.float64)
        counted = weights > 0
        tops, bottoms = (
            np.bincount(self._of_frame, np.where(counted, weights * np.where(counted, part, 0.0), 0.0))
            for part in (above, below)
        )
        drawn_bottoms = self._times @ bottoms
        usable = drawn_bottoms != 0
        return self.interval(
            float(tops.sum() / bottoms.sum()), (self._times @ tops)[usable] / drawn_bottoms[usable]
        )

    def interval(self, value: float, drawn: Float[np.ndarray, ' R']) -> Estimate:
        """Return a value with the interval of what the draws gave."""
        low, high = np.percentile(value + (drawn - value) * self._widening, _PERCENTILES)
        return Estimate(value, float(low), float(high))

    def frame_weights(self) -> Float[np.ndarray, 'R N']:
        """How often each draw holds each frame: for figures that are no ratios."""
        return self._times[:, self._of_frame]

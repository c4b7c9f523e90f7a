"""Intervals by episode bootstrap: whole episodes are drawn again, as frames of one resemble each other.

Percentiles of the draws (Efron and Tibshirani 1993), widened by sqrt(m / (m - 1)) for the m episodes that a
figure counts, without which intervals of few episodes are too narrow. Of one episode no interval is known:
every draw that holds it says the same.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from restac_ros.training.errors import TrainingError

DRAWS = 2000
LEAST_EPISODES = 2
_PERCENTILES = (2.5, 97.5)


class Estimate(NamedTuple):
    """A value with its 95 % interval, whose ends are NaN where it is not known."""

    value: float
    low: float
    high: float

    @property
    def has_interval(self) -> bool:
        """Whether the interval is known."""
        return bool(np.isfinite(self.low) and np.isfinite(self.high))


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
        """Return sum(weights * above) / sum(weights * below).

        Draws without any weight are left out; only episodes with weight count for the interval.
        """
        weights = np.ones(len(above)) if weights is None else np.asarray(weights, np.float64)
        counted = weights > 0
        tops, bottoms = (
            np.bincount(self._of_frame, np.where(counted, weights * np.where(counted, part, 0.0), 0.0))
            for part in (above, below)
        )
        drawn_bottoms = self._times @ bottoms
        usable = drawn_bottoms != 0
        return self.interval(
            float(tops.sum() / bottoms.sum()),
            (self._times @ tops)[usable] / drawn_bottoms[usable],
            int((bottoms != 0).sum()),
        )

    def interval(self, value: float, drawn: Float[np.ndarray, ' R'], counted: int) -> Estimate:
        """Return a value with the interval of what the draws gave.

        Args:
            value: over all frames.
            drawn: the same over each draw.
            counted: episodes with frames that the value is made of; of fewer than two no interval is known.
        """
        if counted < LEAST_EPISODES:
            return Estimate(value, np.nan, np.nan)
        widening = np.sqrt(counted / (counted - 1))
        low, high = np.percentile(value + (drawn - value) * widening, _PERCENTILES)
        return Estimate(value, float(low), float(high))

    def episodes_among(self, frames: Bool[np.ndarray, ' N']) -> int:
        """Return how many episodes the marked frames are of."""
        return len(np.unique(self._of_frame[frames]))

    def frame_weights(self) -> Float[np.ndarray, 'R N']:
        """How often each draw holds each frame: for figures that are no ratios."""
        return self._times[:, self._of_frame]

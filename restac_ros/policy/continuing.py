"""What the running chunk decides about the next one, as the sampler takes it.

In deployment's order: already relative to the new state, then normalised, then padded to the network's width.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32

from restac_ros.model import real_time_chunking as rtc
from restac_ros.model.checkpoint.store import CheckpointInfo
from restac_ros.policy.errors import PolicyError
from restac_ros.policy.normalization import Quantiles
from restac_ros.policy.products import Continuation
from restac_ros.policy.transforms import STATE_DIM, PadDimensions

MAX_SIMULATED_DELAY = 'max_simulated_delay'
"""Entry of a checkpoint's origin: the longest delay, in steps, that its training simulated; absent is 0."""


@dataclass(frozen=True)
class ChunkingChoice:
    """How chunks follow each other.

    Attributes:
        kind: 'receding_horizon' plans each freely; 'rtc_guided' draws it to the running one, 'rtc_trained'
            gives the running one's steps to a network that was trained for it.
        max_guidance: bound on the guidance (beta).
    """

    kind: rtc.Chunking = 'receding_horizon'
    max_guidance: float = rtc.MAX_GUIDANCE_WEIGHT

    def __post_init__(self) -> None:
        if self.kind not in ('receding_horizon', 'rtc_guided', 'rtc_trained'):
            known = "'receding_horizon', 'rtc_guided' or 'rtc_trained'"
            raise PolicyError(f'chunking: found {self.kind!r}, expected {known}')
        if not (np.isfinite(self.max_guidance) and self.max_guidance > 0):
            raise PolicyError(f'max_guidance: found {self.max_guidance}, expected a number above 0')

    def longest_delay(self, info: CheckpointInfo, source: str) -> int:
        """Most steps that may be decided already when a chunk of this checkpoint is planned.

        Raises:
            PolicyError: the checkpoint is not trained for 'rtc_trained'.
        """
        horizon = info.config.action_horizon
        if self.kind != 'rtc_trained':
            return horizon - 1
        delay = info.origin.get(MAX_SIMULATED_DELAY, 0)
        if not isinstance(delay, int) or not 0 < delay < horizon:
            raise PolicyError(
                f"{source}: chunking: found 'rtc_trained', but its origin's {MAX_SIMULATED_DELAY} "
                f'is {delay!r}, expected 1 .. {horizon - 1}: it was not trained to continue a chunk. Choose '
                "'rtc_guided', which needs no training, or a checkpoint trained with simulated delays"
            )
        return delay


FREELY = ChunkingChoice()


@dataclass(frozen=True)
class Continuing:
    """From `Continuation` to the sampler's arrays, always of the same shapes.

    Attributes:
        choice: how chunks follow each other.
        actions: statistics of actions.
        pad: to the network's width.
        horizon: steps of a chunk.
        max_delay: most steps that may be decided.
    """

    choice: ChunkingChoice
    actions: Quantiles
    pad: PadDimensions
    horizon: int
    max_delay: int

    def __call__(self, continuation: Continuation | None) -> rtc.Continuation | None:
        """Arrays with a batch axis; None, where chunks don't continue each other. Nothing binds without one.

        Raises:
            PolicyError: a continuation that cannot be, or that this chunking doesn't take.
        """
        if self.choice.kind == 'receding_horizon':
            if continuation is not None:
                raise PolicyError("continuation: found one, expected None: chunking = 'receding_horizon'")
            return None
        if continuation is None:
            values, weights, delay = np.zeros((self.horizon, STATE_DIM)), np.zeros(self.horizon), 0
        else:
            values, weights, delay = self._checked(continuation)
        actions = self._normalised(values)
        if self.choice.kind == 'rtc_trained':
            return rtc.Conditioning(actions[None], (np.arange(self.horizon) < delay)[None])
        return rtc.Guidance(
            actions[None], self._by_dimension(weights)[None], np.float32(self.choice.max_guidance)
        )

    def _normalised(self, values: Float[np.ndarray, 'T 7']) -> Float32[np.ndarray, 'T D']:
        normalised = self.actions.normalize(values)
        # A dimension that hardly moved in training has a tiny range: a measured state's noise would become
        # numbers far beyond any the network has seen.
        narrow = list(self.actions.narrow())
        normalised[:, narrow] = np.clip(normalised[:, narrow], -1.0, 1.0)
        return self.pad(normalised)

    def _by_dimension(self, weights: Float[np.ndarray, ' T']) -> Float32[np.ndarray, 'T D']:
        """The robot's own dimensions are bound, padding isn't."""
        return self.pad(np.repeat(weights[:, None], STATE_DIM, axis=1))

    def _checked(
        self, continuation: Continuation
    ) -> tuple[Float[np.ndarray, 'T 7'], Float[np.ndarray, ' T'], int]:
        delay, weights = continuation.delay_steps, np.asarray(continuation.weights, np.float64)
        pose, opening = np.asarray(continuation.delta_pose), np.asarray(continuation.gripper_opening_m)
        found = pose.shape, opening.shape, weights.shape
        expected = (self.horizon, STATE_DIM - 1), (self.horizon,), (self.horizon,)
        if found != expected:
            raise PolicyError(f'continuation: found shapes {found}, expected {expected}')
        if not ((weights >= 0) & (weights <= 1)).all():
            raise PolicyError(f'continuation: found weights {weights.tolist()}, expected 0 .. 1')
        if not 0 <= delay <= self.max_delay:
            raise PolicyError(f'continuation: found a delay of {delay} steps, expected 0 .. {self.max_delay}')
        if (weights[:delay] < 1).any():
            raise PolicyError(
                f'continuation: found weights {weights[:delay].tolist()} of decided steps, expected 1'
            )
        values = np.concatenate([pose, opening[:, None]], axis=1).astype(np.float64)
        return _without_free_rows(values, weights > 0), weights, delay


def _without_free_rows(
    values: Float[np.ndarray, 'T 7'], bound: Bool[np.ndarray, ' T']
) -> Float[np.ndarray, 'T 7']:
    """Rows that bind nothing may have held anything: zeros, which nothing reads, stand for them."""
    if not np.isfinite(values[bound]).all():
        raise PolicyError(f'continuation: found {values[bound].tolist()}, expected finite numbers')
    return np.where(bound[:, None], values, 0.0)

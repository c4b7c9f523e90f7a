"""What the running chunk decides about the next one, as input of the sampler.

In deployment's order: already relative to the new state, then normalised, then padded to the network's width.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32

from restac_ros.framing.values import STATE_DIM
from restac_ros.geometry.conventions import POSE_DIM
from restac_ros.model import real_time_chunking as rtc
from restac_ros.model.checkpoint.store import CheckpointInfo
from restac_ros.policy.errors import PolicyError
from restac_ros.policy.preprocessing import Preprocessor
from restac_ros.policy.products import Continuation


@dataclass(frozen=True)
class Chunking:
    """How chunks follow each other.

    Attributes:
        kind: 'receding_horizon' plans each freely; 'rtc_guided' draws it to the running one, 'rtc_trained'
            gives the running one's steps to a network that was trained for it.
        max_guidance: bound on the guidance (beta).
    """

    kind: rtc.ChunkingKind = 'receding_horizon'
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
        delay = info.origin.max_simulated_delay
        if not 0 < delay < horizon:
            raise PolicyError(
                f"{source}: chunking: found 'rtc_trained', but its origin's max_simulated_delay "
                f'is {delay!r}, expected 1 .. {horizon - 1}: it was not trained to continue a chunk. Choose '
                "'rtc_guided', which needs no training, or a checkpoint trained with simulated delays"
            )
        return delay

    def check_steps(self, flow_steps: int) -> None:
        """Refuse guidance that would overshoot: a step moves by up to max_guidance / flow_steps of an error.

        Raises:
            PolicyError: `max_guidance` is above the number of Euler steps.
        """
        if self.kind == 'rtc_guided' and self.max_guidance > flow_steps:
            raise PolicyError(
                f"'rtc_max_guidance' is {self.max_guidance:g}, above 'flow_steps', which is {flow_steps}; "
                'guidance would overshoot: expected at most the same'
            )


FREELY = Chunking()


@dataclass(frozen=True)
class ContinuationEncoder:
    """Makes the sampler's constraint from a `Continuation`, always of the same shapes.

    Attributes:
        chunking: how chunks follow each other.
        preprocessor: of the actions.
        max_delay: most steps that may be decided.
    """

    chunking: Chunking
    preprocessor: Preprocessor
    max_delay: int

    @property
    def horizon(self) -> int:
        """Steps of a chunk."""
        return self.preprocessor.config.action_horizon

    def __call__(self, continuation: Continuation | None) -> rtc.Constraint | None:
        """Arrays with a batch axis; None, where chunks don't continue each other. Nothing binds without one.

        Raises:
            PolicyError: a continuation that is inconsistent, or that this chunking does not accept.
        """
        if self.chunking.kind == 'receding_horizon':
            if continuation is not None:
                raise PolicyError("continuation: found one, expected None: chunking = 'receding_horizon'")
            return None
        if continuation is None:
            values, weights, delay = np.zeros((self.horizon, STATE_DIM)), np.zeros(self.horizon), 0
        else:
            values, weights, delay = self._checked(continuation)
        # Host arrays go to the sampler unchanged.
        actions: Any = self._normalised(values)[None]
        if self.chunking.kind == 'rtc_trained':
            decided: Any = (np.arange(self.horizon) < delay)[None]
            return rtc.Conditioning(actions, decided)
        bound: Any = self._by_dimension(weights)[None]
        beta: Any = np.float32(self.chunking.max_guidance)
        return rtc.Guidance(actions, bound, beta)

    def _normalised(self, values: Float[np.ndarray, 'T 7']) -> Float32[np.ndarray, 'T D']:
        normalised = self.preprocessor.actions_from_deltas(values)
        # A dimension that hardly moved in training has a tiny range: a measured state's noise would become
        # numbers far beyond any in the training data.
        narrow = list(self.preprocessor.stats.actions.narrow())
        normalised[:, narrow] = np.clip(normalised[:, narrow], -1.0, 1.0)
        return normalised

    def _by_dimension(self, weights: Float[np.ndarray, ' T']) -> Float32[np.ndarray, 'T D']:
        """Return the weights of all dimensions: the robot's own are bound, padding is not."""
        by_dimension = np.zeros((self.horizon, self.preprocessor.config.action_dim), np.float32)
        by_dimension[:, :STATE_DIM] = weights[:, None]
        return by_dimension

    def _checked(
        self, continuation: Continuation
    ) -> tuple[Float[np.ndarray, 'T 7'], Float[np.ndarray, ' T'], int]:
        delay, weights = continuation.delay_steps, np.asarray(continuation.weights, np.float64)
        pose, opening = np.asarray(continuation.delta_pose), np.asarray(continuation.gripper_opening_m)
        found = pose.shape, opening.shape, weights.shape
        expected = (self.horizon, POSE_DIM), (self.horizon,), (self.horizon,)
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

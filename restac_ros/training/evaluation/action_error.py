"""How far sampled chunks are from what the demonstrator did: per dimension, horizon and phase, in units."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from restac_ros.dataset.features import STATE_NAMES
from restac_ros.framing.values import STATE_DIM
from restac_ros.geometry.rotation import wrap_to_pi
from restac_ros.policy.normalization import Quantiles
from restac_ros.training.evaluation.bootstrap import EpisodeBootstrap, Estimate

_SCALE = np.array([1, 1, 1, 1, 1, 1, 1e3])


@dataclass(frozen=True)
class Demonstrated:
    """Demonstrated actions after each frame.

    Attributes:
        deltas: targets from the frame's state, raw units, [n, T, 7]; the opening is absolute.
        step_mask: False past an episode's end, [n, T].
        half_range: half of q99 - q01 of each dimension: 1 in normalised units.
        executed: steps of a chunk that a robot executes before the next one comes.
        dims: that the robot has: without a gripper the first six, and no error counts the seventh.
    """

    deltas: Float[np.ndarray, 'n T 7']
    step_mask: Bool[np.ndarray, 'n T']
    half_range: Float[np.ndarray, '7']
    executed: int
    dims: int = STATE_DIM

    def differences(self, chunks: Float[np.ndarray, 'n T 7']) -> Float[np.ndarray, 'n T 7']:
        """Return sampled minus demonstrated, raw units, angles the short way round."""
        difference = chunks - self.deltas
        difference[..., 3:6] = wrap_to_pi(difference[..., 3:6])
        return difference

    def frame_error(self, chunks: Float[np.ndarray, 'n T 7']) -> Float[np.ndarray, ' n']:
        """Return the action error of each frame: mean absolute error over executed steps and dimensions.

        In normalised units, where 1 is half the range of a dimension in the data.
        """
        errors = np.abs(self.differences(chunks)) / self.half_range
        return self.over_steps(errors[..., : self.dims]).mean(axis=1)

    def in_units(self, chunks: Float[np.ndarray, 'n T 7']) -> dict[str, Float[np.ndarray, ' n']]:
        """Return each frame's mean over executed steps of the distance in m, the angle in rad, and mm."""
        difference = self.differences(chunks)
        parts = {
            'position_m': np.linalg.norm(difference[..., :3], axis=-1),
            'rotation_rad': np.linalg.norm(difference[..., 3:6], axis=-1),
        }
        if self.dims > 6:
            parts['gripper_mm'] = np.abs(difference[..., 6]) * 1e3
        return {name: self.over_steps(part[..., None])[:, 0] for name, part in parts.items()}

    def by_dimension(self, chunks: Float[np.ndarray, 'n T 7']) -> dict[str, Float[np.ndarray, ' n']]:
        """Return each frame's mean absolute error over executed steps, in m, rad and mm, by name."""
        difference = (np.abs(self.differences(chunks)) * _SCALE)[..., : self.dims]
        return dict(zip(STATE_NAMES[: self.dims], self.over_steps(difference).T, strict=True))

    def change(
        self, chunks: Float[np.ndarray, 'n T 7'], others: Float[np.ndarray, 'n T 7']
    ) -> Float[np.ndarray, ' n']:
        """Return how far two chunks of each frame are apart, as `frame_error` measures."""
        return replace(self, deltas=others).frame_error(chunks)

    def over_steps(self, values: Float[np.ndarray, 'n T d']) -> Float[np.ndarray, 'n d']:
        """Return the mean over the executed steps that the episode has."""
        mask = self.step_mask[:, : self.executed, None]
        return np.where(mask, values[:, : self.executed], 0.0).sum(axis=1) / mask.sum(axis=1)


@dataclass(frozen=True)
class PhaseError:
    """Errors of one phase.

    Attributes:
        frames: how many were evaluated.
        action: over executed steps and dimensions, normalised.
        in_units: position in m, rotation in rad, gripper in mm, over executed steps.
        by_dimension: over executed steps, in m, rad and mm, by name.
        by_horizon: root of the mean square of each step, in units, [T][dims]; None past every episode's end.
    """

    frames: int
    action: Estimate
    in_units: Mapping[str, Estimate]
    by_dimension: Mapping[str, Estimate]
    by_horizon: list[list[float]]


def half_range(actions: Quantiles) -> Float[np.ndarray, '7']:
    """What 1 in normalised units is, by dimension."""
    return np.subtract(actions.q99, actions.q01) / 2


def phase_errors(
    demonstrated: Demonstrated,
    chunks: Float[np.ndarray, 'n T 7'],
    phases: Mapping[str, Float[np.ndarray, ' n']],
    bootstrap: EpisodeBootstrap,
) -> dict[str, PhaseError]:
    """Measure one set of chunks in each phase; `phases` holds the frames' weights."""
    difference = (demonstrated.differences(chunks) * _SCALE)[..., : demonstrated.dims]
    error, units = demonstrated.frame_error(chunks), demonstrated.in_units(chunks)
    dimensions = demonstrated.by_dimension(chunks)
    return {
        name: PhaseError(
            frames=int((weights > 0).sum()),
            action=bootstrap.mean(error, weights),
            in_units={unit: bootstrap.mean(values, weights) for unit, values in units.items()},
            by_dimension={dim: bootstrap.mean(values, weights) for dim, values in dimensions.items()},
            by_horizon=_by_horizon(difference, demonstrated.step_mask, weights),
        )
        for name, weights in phases.items()
    }


def _by_horizon(
    difference: Float[np.ndarray, 'n T d'], mask: Bool[np.ndarray, 'n T'], weights: Float[np.ndarray, ' n']
) -> list[list[float]]:
    counted = mask * weights[:, None]
    total = counted.sum(axis=0)[:, None]
    squares = np.einsum('nt,ntd->td', counted, np.square(difference))
    with np.errstate(invalid='ignore'):
        return np.sqrt(squares / np.where(total > 0, total, np.nan)).tolist()

"""What a step learns: the losses of actions and texts, how they are weighed, and their metrics.

loss = mean over texts of (cross-entropy, averaged over the text's tokens)
     + the same of action tokens, where they are taught
     + alpha * mean over action steps of the flow loss
"""

from dataclasses import dataclass
from typing import NamedTuple, Self

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from restac_ros.model.joint_pass import TextTarget
from restac_ros.model.text_loss import text_errors
from restac_ros.training.batch import Batch
from restac_ros.training.config import HierarchyConfig

TEXTS = ('subtask', 'codes')


@dataclass(frozen=True)
class Objective:
    """Losses of a mode.

    Attributes:
        acts: there is a flow loss.
        speaks: subtasks are learnt.
        insulated: the flow loss does not reach the language expert.
        action_weight: of the flow loss (alpha).
        label_smoothing: of the action tokens' cross-entropy.
    """

    acts: bool = True
    speaks: bool = False
    insulated: bool = False
    action_weight: float = 1.0
    label_smoothing: float = 0.0

    @classmethod
    def of(cls, hierarchy: HierarchyConfig) -> Self:
        """Return the objective of a mode."""
        match hierarchy.mode:
            case 'hierarchical':
                return cls(
                    speaks=True,
                    insulated=True,
                    action_weight=hierarchy.action_weight,
                    label_smoothing=hierarchy.label_smoothing,
                )
            case 'planar':
                return cls(acts=False, speaks=True, label_smoothing=hierarchy.label_smoothing)
            case 'action_expert':
                return cls(insulated=True)
        return cls()


ACTIONS_ALONE = Objective()


class LossWeights(NamedTuple):
    """What each sum is multiplied by: of action steps, of subtasks, of texts of action tokens."""

    actions: Float[Array, ''] | float = 1.0
    subtask: Float[Array, ''] | float = 1.0
    codes: Float[Array, ''] | float = 1.0


PLAIN_SUMS = LossWeights()


def step_weights(objective: Objective, batch: Batch, num_steps: Float[Array, '']) -> LossWeights:
    """Return weights that make means of sums over a whole batch, whatever parts it is cut into.

    Args:
        objective: of the run.
        batch: all of it.
        num_steps: action steps that are learnt.
    """
    subtask = None if batch.subtask is None else batch.subtask.target.mask
    codes = None if batch.codes is None else batch.codes.mask
    return LossWeights(objective.action_weight / jnp.maximum(num_steps, 1), _share(subtask), _share(codes))


def text_sums(
    name: str,
    logits: Float[Array, 'B F V'],
    target: TextTarget,
    weight: Float[Array, ''] | float,
    smoothing: float = 0.0,
) -> tuple[Float[Array, ''], dict[str, Array]]:
    """Weighted loss of one kind of text, and the sums of its metrics."""
    errors = text_errors(logits, target, smoothing)
    total = jnp.sum(errors.loss)
    counted = errors.counted.astype(jnp.float32)
    right = jnp.sum(errors.right.astype(jnp.float32))
    return total * weight, {
        f'{name}_loss': total,
        f'{name}_right': right,
        f'{name}_samples': jnp.sum(counted),
    }


def means(sums: dict[str, Array]) -> dict[str, Array]:
    """Metrics from sums and counts: of those losses that were computed.

    Those of each data set stay sums and counts, as a batch may hold none of its samples.
    """
    found = {}
    if 'valid' in sums:
        count = jnp.maximum(sums['valid'], 1)
        found = {
            'flow_loss': sums['flow_loss'] / count,
            'flow_loss_by_dim': sums['flow_loss_by_dim'] / count,
            **{name: sums[name] for name in ('source_loss', 'source_valid', 'valid')},
        }
        if 'action_error_by_dim' in sums:
            found['action_error_by_dim'] = sums['action_error_by_dim'] / count
    if 'samples' in sums:
        found |= {name: sums[name] / sums['samples'] for name in ('gate', 'gate_saturated', 'logvar')}
    for name in TEXTS:
        if (samples := sums.get(f'{name}_samples')) is not None:
            count = jnp.maximum(samples, 1.0)
            found |= {
                f'{name}_loss': sums[f'{name}_loss'] / count,
                f'{name}_accuracy': sums[f'{name}_right'] / count,
            }
    return found


def _share(mask: Bool[Array, 'B F'] | None) -> Float[Array, ''] | float:
    """One over the number of texts."""
    if mask is None:
        return 1.0
    return 1.0 / jnp.maximum(jnp.sum(jnp.any(mask, axis=1)), 1)

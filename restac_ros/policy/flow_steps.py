"""How many Euler steps a chunk takes: as many as the checkpoint was trained to be sampled with."""

from restac_ros.model.checkpoint.provenance import Origin
from restac_ros.policy.errors import PolicyError

USUAL_FLOW_STEPS = 10
"""Euler steps of a chunk of a network that learnt the flow itself, as published."""

FEWEST_UNDISTILLED = 3
"""Fewest steps that such a network is sampled with: below, most of what it learnt of curved flows is lost."""


def flow_steps_of(origin: Origin, wanted: int | None, source: str) -> int:
    """Return the Euler steps that chunks of a checkpoint are planned with.

    Args:
        origin: of the checkpoint.
        wanted: by the operator; None: as the checkpoint was trained.
        source: the checkpoint, for messages.

    Raises:
        PolicyError: the checkpoint was not trained to be sampled with so many.
    """
    distilled = origin.flow_steps
    if wanted is None:
        return distilled or USUAL_FLOW_STEPS
    if distilled is not None and wanted != distilled:
        raise PolicyError(
            f'{source}: flow_steps: found {wanted}, expected {distilled}: the checkpoint was distilled to '
            f'{distilled}. Leave the number to the checkpoint (0), or take the one it was distilled from'
        )
    if distilled is None and wanted < FEWEST_UNDISTILLED:
        raise PolicyError(
            f'{source}: flow_steps: found {wanted}, expected at least {FEWEST_UNDISTILLED}: the checkpoint '
            f'was not trained for so few. `restac-ros distil --steps {max(wanted, 1)}` makes one that is'
        )
    return wanted

"""Putting base weights into a model that has leaves of its own."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from restac_ros.model.checkpoint.errors import CheckpointError
from restac_ros.model.checkpoint.params import Shapes, shorten

TOUCH_LEAVES = r'tactile|gate(/|$)|fusion_self_attn'
"""Leaves of touch and the gate (searched anywhere in the name)."""

NEW_LEAVES = rf'lora|{TOUCH_LEAVES}'
"""Leaves that a pi0.5 base may lack: adapters, touch and the gate (searched anywhere in the name)."""


@dataclass(frozen=True)
class MergePlan:
    """Which leaves of a model come from the base and which keep their own values; made from shapes alone."""

    load: tuple[str, ...]
    keep: tuple[str, ...]
    drop: tuple[str, ...]


def plan_merge(
    model: Shapes,
    base: Mapping[str, tuple[int, ...]],
    *,
    source: str,
    new_leaves: str = NEW_LEAVES,
    keep_own: str | None = None,
) -> MergePlan:
    """Decide for every leaf, before any content is read.

    Args:
        model: leaves of the model.
        base: leaves the base offers.
        source: name of the base, for messages.
        new_leaves: pattern of model leaves that the base may lack.
        keep_own: pattern of model leaves that keep their own values although the base has them.

    Raises:
        CheckpointError: leaves of another shape, or missing ones that `new_leaves` does not cover; all named.
    """
    offered = {name for name in model if name in base and not (keep_own and re.search(keep_own, name))}
    if wrong := [n for n in sorted(offered) if tuple(base[n]) != tuple(model[n])]:
        shapes = shorten(f'{n} is {tuple(base[n])}, expected {tuple(model[n])}' for n in wrong)
        raise CheckpointError(
            f'{source}: {len(wrong)} leaves do not fit the model: {shapes}. '
            'Choose the preset with the sizes of this checkpoint'
        )
    keep = tuple(name for name in model if name not in offered)
    absent = [name for name in keep if name not in base and not re.search(new_leaves, name)]
    if absent:
        raise CheckpointError(
            f'{source}: {len(absent)} leaves of the model are missing: {shorten(absent)}. Only leaves '
            f'matching {new_leaves!r} may be new; this is a checkpoint of another architecture'
        )
    drop = tuple(name for name in base if name not in offered)
    return MergePlan(tuple(name for name in model if name in offered), keep, drop)

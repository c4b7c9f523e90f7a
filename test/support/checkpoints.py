"""Reads whole checkpoints, which the package itself reads in parts."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from restac_ros.model.checkpoint.params import AS_STORED, CastRule, Leaf
from restac_ros.model.checkpoint.store import Checkpoint, load_info, load_params


def load_checkpoint(
    path: Path,
    *,
    cast: CastRule = AS_STORED,
    consume: Callable[[np.ndarray], Leaf] | None = None,
    checksums: bool = True,
) -> Checkpoint:
    """Return a checkpoint with all its parameters in memory."""
    info = load_info(path, checksums=checksums)
    return Checkpoint(path, info, load_params(path, info.config, cast=cast, consume=consume))

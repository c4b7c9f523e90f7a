"""Parameters outside the model: a flat dict from slash-joined leaf names to arrays."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from restac_ros.model.checkpoint.errors import CheckpointError
from restac_ros.model.int8 import Int8Weight

Leaf = np.ndarray | jax.Array | Int8Weight
"""One parameter, on the host or on a device."""

Params = dict[str, Leaf]
"""Leaf name, for example 'PaliGemma/llm/final_norm/scale', to its array."""

Shapes = Mapping[str, tuple[int, ...]]
"""Leaf name to its shape."""

LOAD_DTYPES: dict[str, np.dtype] = {'float32': np.dtype(np.float32), 'bfloat16': np.dtype(jnp.bfloat16)}
"""The two dtypes in which parameters are loaded."""

SCALE_SUFFIX = '_scale'
"""What the name of a leaf of 8-bit integers is followed by in that of its scales."""

MAX_LEAF_BYTES = 32 << 30
"""No leaf of a known model comes near; a larger one in a file's header is damage, not a model."""

MAX_NAMED = 8
"""Leaves that an error message names."""


@dataclass(frozen=True)
class CastRule:
    """In which dtype each leaf is loaded.

    Attributes:
        dtype: 'float32', 'bfloat16', or None for the stored dtype.
        float32_leaves: pattern (searched in the name) of floating leaves that stay in float32 whatever
            `dtype` says: the tactile encoder and the gate, whose published arithmetic is float32, and scales.
    """

    dtype: str | None = None
    float32_leaves: str = rf'^(tactile|gate)(/|$)|{SCALE_SUFFIX}$'

    def __post_init__(self) -> None:
        if self.dtype is not None and self.dtype not in LOAD_DTYPES:
            raise CheckpointError(f'dtype = {self.dtype!r}; expected one of {sorted(LOAD_DTYPES)} or None')

    def __call__(self, name: str, stored: np.dtype) -> np.dtype:
        """Return the dtype of leaf `name`; integer and boolean leaves keep theirs."""
        if self.dtype is None or not jnp.issubdtype(stored, jnp.floating):
            return np.dtype(stored)
        if re.search(self.float32_leaves, name):
            return LOAD_DTYPES['float32']
        return LOAD_DTYPES[self.dtype]


AS_STORED = CastRule()
"""No conversion."""


def check_leaf_size(source: str, name: str, shape: Iterable[int], itemsize: int) -> None:
    """Refuse a leaf whose header asks for an absurd amount of memory, before allocating any.

    Raises:
        CheckpointError: negative dimensions, or more than MAX_LEAF_BYTES.
    """
    num_bytes = itemsize
    for side in shape:
        if side < 0:
            raise CheckpointError(f'{source}: leaf {name!r} has a negative dimension: {tuple(shape)}')
        num_bytes *= side
    if num_bytes > MAX_LEAF_BYTES:
        raise CheckpointError(
            f'{source}: leaf {name!r} of shape {tuple(shape)} would take {num_bytes / 2**30:.1f} GiB, more '
            f'than the {MAX_LEAF_BYTES >> 30} GiB allowed; the file is damaged or of another model'
        )


def num_bytes(params: Mapping[str, Leaf]) -> int:
    """Total size in bytes."""
    return sum(leaf.nbytes for leaf in params.values())


def shorten(names: Iterable[str]) -> str:
    """Name the first MAX_NAMED of `names` and count the rest, for error messages."""
    listed = sorted(names)
    rest = f' and {len(listed) - MAX_NAMED} more' if len(listed) > MAX_NAMED else ''
    return ', '.join(listed[:MAX_NAMED]) + rest

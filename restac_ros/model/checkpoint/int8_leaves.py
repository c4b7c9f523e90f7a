"""Which leaves become 8-bit integers, how, and how they lie in a checkpoint: beside each its scales.

The integers keep the leaf's name; `NAME_scale` holds the scales, in float32. Which leaves are integers is
what the files say: any of them may stay as it was.
"""

import re
from collections.abc import Mapping
from typing import cast

import jax
import numpy as np

from restac_ros.model.checkpoint.array_store import StoredArray
from restac_ros.model.checkpoint.errors import CheckpointError
from restac_ros.model.checkpoint.initial import fan_in_axes
from restac_ros.model.checkpoint.params import SCALE_SUFFIX, Params, shorten
from restac_ros.model.int8 import Int8Weight, to_integers

INT8_LEAVES = (
    r'^PaliGemma/(llm/.*(einsum(_1)?/w|gating_einsum|linear|input_embedding|Dense_0/kernel)'
    r'|img/(head|Transformer/.+)/kernel)$'
)
"""Every large matrix of SigLIP and Gemma; touch, gate, norms, biases and the ends of the expert stay."""

_SLAB_BYTES = 64 << 20


def becomes_int8(name: str) -> bool:
    """Whether quantising replaces this leaf."""
    return re.search(INT8_LEAVES, name) is not None


def scale_shape(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of a weight's scales: 1 along the axes that its product sums over."""
    axes = fan_in_axes(name)
    return tuple(1 if axis - len(shape) in axes else side for axis, side in enumerate(shape))


def quantised(name: str, leaf: np.ndarray) -> Int8Weight:
    """Return a leaf as integers, rounded to the nearest, each output channel's largest value at 127.

    Args:
        name: of the leaf, which says over which axes its product sums.
        leaf: floating, on the host; it is read in pieces along its first axis.
    """
    axes = fan_in_axes(name)
    values = np.empty(leaf.shape, np.int8)
    scale = np.empty(scale_shape(name, leaf.shape), np.float32)
    whole = -leaf.ndim in axes  # the first axis is summed over, too: no pieces
    rows = leaf.shape[0] if whole else max(1, _SLAB_BYTES // max(1, 4 * leaf[0].size))
    for first in range(0, leaf.shape[0], rows):
        integers, step = to_integers(leaf[first : first + rows], axes)
        values[first : first + rows] = integers
        scale[first : first + (1 if whole else rows)] = step
    return Int8Weight(values, scale)


def with_scales(params: Params) -> Params:
    """Return leaves as they are stored: integers, and their scales as leaves of their own."""
    stored: Params = {}
    for name, leaf in params.items():
        if isinstance(leaf, Int8Weight):
            stored |= {name: leaf.values, f'{name}{SCALE_SUFFIX}': leaf.scale}
        else:
            stored[name] = leaf
    return stored


def without_scales(params: Params, *, integer_products: bool = False) -> Params:
    """Return stored leaves as the network takes them; no value is copied."""
    scales = {name: f'{name}{SCALE_SUFFIX}' for name in params if f'{name}{SCALE_SUFFIX}' in params}
    network: Params = {}
    for name, leaf in params.items():
        if name in scales:
            values, scale = cast(jax.Array, leaf), cast(jax.Array, params[scales[name]])
            network[name] = Int8Weight(values, scale, integer_products)
        elif name not in scales.values():
            network[name] = leaf
    return network


def check_scales(arrays: Mapping[str, StoredArray], source: str) -> list[str]:
    """Return the names of the scales among stored leaves.

    Raises:
        CheckpointError: integers without scales, or with those of another shape.
    """
    integers = {name: array for name, array in arrays.items() if array.dtype == np.int8}
    for name, array in integers.items():
        scale = arrays.get(f'{name}{SCALE_SUFFIX}')
        expected = scale_shape(name, array.shape)
        if scale is None or scale.shape != expected or scale.dtype != np.float32:
            found = 'none' if scale is None else f'{scale.dtype} {scale.shape}'
            raise CheckpointError(
                f'{source}: leaf {name!r} holds 8-bit integers: found scales {found}, expected float32 '
                f'{expected}; quantise the original checkpoint again'
            )
    return [f'{name}{SCALE_SUFFIX}' for name in integers]


def refuse_int8(arrays: Mapping[str, np.dtype], source: str) -> None:
    """Refuse weights of integers where they are to be trained or combined.

    Raises:
        CheckpointError: some are; names them.
    """
    if integers := [name for name, dtype in arrays.items() if dtype == np.int8]:
        raise CheckpointError(
            f'{source}: found {len(integers)} leaves of 8-bit integers ({shorten(integers)}), expected '
            'floating ones: this checkpoint is quantised; give the one that it was made from'
        )

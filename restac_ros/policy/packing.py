"""Several arrays as one buffer of bytes, so that they cross to a device, or back, in one transfer."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, UInt8

_ALIGNMENT = 8


class Packing:
    """Where each array of a tree lies in the buffer.

    Args:
        tree: arrays, or their shapes and dtypes.
    """

    def __init__(self, tree: Any) -> None:
        self._tree: Any
        leaves, self._tree = jax.tree.flatten(tree)
        self._leaves = [(tuple(leaf.shape), np.dtype(leaf.dtype)) for leaf in leaves]
        sizes = [int(np.prod(shape)) * dtype.itemsize for shape, dtype in self._leaves]
        starts = np.cumsum([0, *(-(-size // _ALIGNMENT) * _ALIGNMENT for size in sizes)]).tolist()
        self._spans = [slice(start, start + size) for start, size in zip(starts, sizes, strict=False)]
        self.size = max(_ALIGNMENT, starts[-1])

    @property
    def abstract(self) -> jax.ShapeDtypeStruct:
        """Shape and dtype of the buffer."""
        return jax.ShapeDtypeStruct((self.size,), jnp.uint8)

    def pack(self, tree: Any) -> UInt8[np.ndarray, ' n']:
        """Return a new buffer with a tree of host arrays.

        Raises:
            ValueError: another tree, or arrays of another shape or dtype.
        """
        leaves, found = jax.tree.flatten(tree)
        arrays = [np.asarray(leaf) for leaf in leaves]
        shapes = [(array.shape, array.dtype) for array in arrays]
        if found != self._tree or shapes != self._leaves:
            raise ValueError(f'inputs: found {shapes}, expected {self._leaves}')
        buffer = np.zeros(self.size, np.uint8)
        for span, array in zip(self._spans, arrays, strict=True):
            buffer[span] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        return buffer

    def unpack(self, buffer: np.ndarray) -> Any:
        """Return the tree of a buffer on the host, as views of it."""
        leaves = [
            buffer[span].view(dtype).reshape(shape)
            for span, (shape, dtype) in zip(self._spans, self._leaves, strict=True)
        ]
        return jax.tree.unflatten(self._tree, leaves)

    def unpack_on_device(self, buffer: UInt8[Array, ' n']) -> Any:
        """Return the tree of a buffer inside a compiled program."""
        leaves = []
        for span, (shape, dtype) in zip(self._spans, self._leaves, strict=True):
            part = buffer[span]
            if dtype == np.bool_:
                leaves.append(part.reshape(shape).astype(bool))
            elif dtype.itemsize == 1:
                leaves.append(jax.lax.bitcast_convert_type(part.reshape(shape), dtype))
            else:
                leaves.append(jax.lax.bitcast_convert_type(part.reshape(*shape, dtype.itemsize), dtype))
        return jax.tree.unflatten(self._tree, leaves)

    def pack_on_device(self, tree: Any) -> UInt8[Array, ' n']:
        """Return the buffer of a tree inside a compiled program."""
        parts = []
        for leaf in jax.tree.leaves(tree):
            plain = leaf.astype(jnp.uint8) if leaf.dtype == jnp.bool_ else leaf
            flat = jax.lax.bitcast_convert_type(plain, jnp.uint8).reshape(-1)
            parts.append(jnp.pad(flat, (0, -flat.size % _ALIGNMENT)))
        return jnp.concatenate(parts)

"""Weights as 8-bit integers, symmetric in [-127, 127], with a scale of each output channel.

The scale multiplies the product, not the weight: what is read from memory stays one byte a value.
"""

import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Float32, Int8

from restac_ros.model.present import present

LARGEST = 127
"""Of the integers; -128 has no counterpart and is not used."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Int8Weight:
    """An integer weight; a stack of layers is one with leading axes, in a scan, too.

    Attributes:
        values: integers.
        scale: of the same rank, with length 1 along the axes that a product sums over.
        integer_products: activations become integers, too, token by token: for devices whose integer products
            are the faster ones.
    """

    values: Int8[Array | np.ndarray, '...']
    scale: Float32[Array | np.ndarray, '...']
    integer_products: bool = field(default=False, metadata={'static': True})

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the weight."""
        return self.values.shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.values.ndim

    @property
    def size(self) -> int:
        """Number of values, without scales."""
        return self.values.size

    @property
    def nbytes(self) -> int:
        """Bytes of values and scales."""
        return self.values.nbytes + self.scale.nbytes

    @property
    def dtype(self) -> Any:
        """int8."""
        return self.values.dtype

    def __getitem__(self, index: Any) -> 'Int8Weight':
        """Return a part along leading axes, such as one layer, or a table's rows by number."""
        return Int8Weight(self.values[index], self.scale[index], self.integer_products)

    def astype(self, dtype: Any) -> Array:
        """Return the weight that the integers stand for, one number a value."""
        return jnp.asarray(self.values.astype(jnp.float32) * self.scale, dtype)


type Weight = Array | Int8Weight


def dense(weight: Weight) -> Array:
    """Return a weight as one array: itself, or in float32 what its integers stand for."""
    return weight.astype(jnp.float32) if isinstance(weight, Int8Weight) else weight


def to_integers[A: (np.ndarray, Array)](weight: A, axes: tuple[int, ...]) -> tuple[A, A]:
    """Round a weight; return integers and scales, on the host or the device, where the weight is.

    Each output channel's largest value becomes 127; `axes` are those that its product sums over.
    """
    place: Any = jnp if isinstance(weight, jax.Array) else np
    exact = weight.astype(place.float32)
    peak = place.abs(exact).max(axis=axes, keepdims=True)
    step = place.where(peak > 0, peak / LARGEST, place.float32(1))
    return place.rint(exact / step).astype(place.int8), step


def apply_weight(equation: str, x: Float[Array, '...'], weight: Weight) -> Float[Array, '...']:
    """Multiply tokens by a weight, in x's dtype.

    Args:
        equation: 'inputs,weight->outputs', an einsum without ellipsis.
        x: tokens.
        weight: cast to x's dtype; of integers, the scales multiply what comes out.
    """
    if not isinstance(weight, Int8Weight):
        return jnp.einsum(equation, x, weight.astype(x.dtype))
    letters = _Letters(*re.split(',|->', equation))
    scale = letters.at_output(jnp.asarray(weight.scale), letters.weight)
    if not weight.integer_products:
        return (jnp.einsum(equation, x, weight.values.astype(x.dtype)) * scale).astype(x.dtype)
    summed = tuple(axis for axis, letter in enumerate(letters.inputs) if letter not in letters.outputs)
    peak = jnp.max(jnp.abs(x.astype(jnp.float32)), axis=summed, keepdims=True)
    step = jnp.where(peak > 0, peak / LARGEST, 1.0)
    integers = jnp.round(x.astype(jnp.float32) / step).astype(jnp.int8)
    sums = jnp.einsum(equation, integers, weight.values, preferred_element_type=jnp.int32)
    return (sums.astype(jnp.float32) * letters.at_output(step, letters.inputs) * scale).astype(x.dtype)


def apply_linear(
    layer: nnx.Linear | nnx.LinearGeneral, equation: str, x: Float[Array, '...']
) -> Float[Array, '...']:
    """Call a linear layer with a bias, whose kernel may be integers; `equation` is that of the kernel."""
    kernel = layer.kernel[...]
    if not isinstance(kernel, Int8Weight):
        return layer(x)
    x = x.astype(layer.dtype)
    return apply_weight(equation, x, kernel) + present(layer.bias, 'bias')[...].astype(x.dtype)


class _Letters(NamedTuple):
    inputs: str
    weight: str
    outputs: str

    def at_output(self, factor: Float[Array, '...'], letters: str) -> Float[Array, '...']:
        """Arrange a factor, whose axes have `letters` and length 1 where summed, to multiply the outputs."""
        kept = [letter for letter in self.outputs if letter in letters]
        shape = dict(zip(letters, factor.shape, strict=True))
        squeezed = factor.reshape([shape[letter] for letter in letters if letter in self.outputs])
        order = [letter for letter in letters if letter in self.outputs]
        arranged = jnp.transpose(squeezed, [order.index(letter) for letter in kept])
        return arranged.reshape([shape.get(letter, 1) for letter in self.outputs])

"""Layer stacks: one module whose parameters carry a leading layer axis, run by a scan.

The leading axis is openpi's checkpoint layout; the scan keeps compile time independent of depth.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from flax import nnx
from jaxtyping import Array, Int

Body = Callable[[Any, Any, Any], tuple[Any, Any]]
"""(layer, carry, per-layer input) -> (carry, per-layer output), as in `jax.lax.scan`."""


def stack_layers[M: nnx.Module](make: Callable[[nnx.Rngs], M], depth: int, rngs: nnx.Rngs) -> M:
    """One module with the parameters of `depth` independently initialised layers stacked on axis 0."""

    @nnx.split_rngs(splits=depth)
    @nnx.vmap(in_axes=0, out_axes=0)
    def build(layer_rngs: nnx.Rngs) -> M:
        return make(layer_rngs)

    return build(rngs)


def scan_layers(layers: nnx.Module, body: Body, carry: Any, inputs: Any = None) -> tuple[Any, Any]:
    """Run `body` through the stacked layers, each with its slice of `inputs`.

    Under differentiation nothing inside a layer is stored: the backward pass recomputes it from the carry.
    """
    graph, parameters = nnx.split(layers)

    def step(carry: Any, sliced: tuple[Any, Any]) -> tuple[Any, Any]:
        layer_parameters, layer_input = sliced
        return body(nnx.merge(graph, layer_parameters), carry, layer_input)

    rematerialised = jax.checkpoint(step, prevent_cse=False, policy=jax.checkpoint_policies.nothing_saveable)
    return jax.lax.scan(rematerialised, carry, (parameters, inputs))


def layers_apart(layers: nnx.Module, depth: int) -> list[nnx.State]:
    """Return each layer's parameters of a stack on the CPU as arrays of their own, in the stack's memory.

    A product with a slice of a stack copies the slice first, which takes longer than the product where one
    token reads it. Only leaves of a layer that do not begin at a multiple of 64 bytes are copied, once: here.
    """
    stacked = jax.tree.map(np.asarray, nnx.split(layers)[1])
    return [
        jax.tree.map(lambda leaf, index=index: jax.device_put(leaf[index], may_alias=True), stacked)
        for index in range(depth)
    ]


def layer_of[M: nnx.Module](layers: M, parameters: nnx.State) -> M:
    """One layer of a stack, with parameters of its own."""
    return nnx.merge(nnx.split(layers)[0], parameters)


def layer_at[M: nnx.Module](layers: M, index: int | Int[Array, '']) -> M:
    """One layer of a stack, for inference that does not run all of them."""
    graph, parameters = nnx.split(layers)
    return nnx.merge(graph, jax.tree.map(lambda leaf: leaf[index], parameters))

"""Between an nnx model and its parameters as named arrays."""

import functools
from collections.abc import Callable, Iterable, Mapping

import jax
import numpy as np
from flax import nnx

from restac_ros.model.checkpoint.errors import CheckpointError
from restac_ros.model.checkpoint.initial import initial_leaf
from restac_ros.model.checkpoint.params import AS_STORED, CastRule, Leaf, Params, Shapes, shorten
from restac_ros.model.config import ModelConfig
from restac_ros.model.restac import create_model

TACTILE_PART = 'tactile'
"""Name of the tactile encoder among a policy's parts."""


def abstract_leaves(config: ModelConfig) -> dict[str, jax.ShapeDtypeStruct]:
    """Name, shape and dtype of every leaf (parameters, batch statistics, codebooks); allocates nothing."""
    _, state = _abstract(config)
    return {name: variable.get_value() for name, (_, variable) in _by_name(state).items()}


def leaf_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every leaf."""
    return {name: leaf.shape for name, leaf in abstract_leaves(config).items()}


def to_params(state: nnx.State) -> Params:
    """Leaves of a model's state by name."""
    return {name: variable.get_value() for name, (_, variable) in _by_name(state).items()}


def check_leaves(
    expected: Shapes, found: Shapes, *, source: str, stated_by: str = 'model_config.json'
) -> None:
    """Compare stored leaves with those of a configuration, before any of them is read.

    Args:
        expected: shapes of the configuration's leaves.
        found: shapes of the stored ones.
        source: where these are, for messages.
        stated_by: file of the configuration.

    Raises:
        CheckpointError: missing, unexpected or misshapen leaves; all are named.
    """
    missing = [name for name in expected if name not in found]
    unexpected = [name for name in found if name not in expected]
    wrong = [
        f'{name} is {tuple(found[name])}, expected {shape}'
        for name, shape in expected.items()
        if name in found and tuple(found[name]) != shape
    ]
    if missing or unexpected or wrong:
        faults = {'missing': missing, 'unexpected': unexpected, 'of another shape': wrong}
        told = '; '.join(f'{len(names)} {what}: {shorten(names)}' for what, names in faults.items() if names)
        raise CheckpointError(f'{source}: parameters do not fit {stated_by}: {told}')


def assemble(
    config: ModelConfig, params: Mapping[str, Leaf], *, source: str
) -> tuple[nnx.GraphDef, nnx.State]:
    """The model as (graph, state), ready for `nnx.merge`, holding `params` themselves (no copy).

    Raises:
        CheckpointError: the parameters are not the configuration's; see `check_leaves`.
    """
    check_leaves(leaf_shapes(config), {name: leaf.shape for name, leaf in params.items()}, source=source)
    graph, state = _abstract(config)
    flat = [(path, variable.replace(params[name])) for name, (path, variable) in _by_name(state).items()]
    return graph, nnx.from_flat_state(flat)


def initial_params(
    config: ModelConfig,
    names: Iterable[str],
    seed: int,
    *,
    cast: CastRule = AS_STORED,
    everything: bool = False,
    consume: Callable[[np.ndarray], Leaf] | None = None,
) -> Params:
    """Initial values of the named leaves; see `initial_leaf`.

    Args:
        config: the model.
        names: which leaves.
        seed: of all random draws.
        cast: dtype of the result.
        everything: move constants too (demonstration), so that no input is ignored.
        consume: applied to each leaf as it is made, for example a transfer to the device.
    """
    leaves = abstract_leaves(config)
    params: Params = {}
    for name in names:
        dtype = cast(name, leaves[name].dtype)
        leaf = initial_leaf(name, leaves[name].shape, dtype, seed, everything=everything)
        params[name] = consume(leaf) if consume else leaf
    return params


def model_paths(config: ModelConfig) -> tuple[nnx.GraphDef, dict[str, tuple[tuple, nnx.Variable]]]:
    """The model without leaves, and by leaf name its path and an empty variable to fill."""
    graph, state = _abstract(config)
    return graph, _by_name(state)


@functools.lru_cache(maxsize=8)  # half a second for every call; whoever fills a variable takes a copy
def _abstract(config: ModelConfig) -> tuple[nnx.GraphDef, nnx.State]:
    return nnx.split(nnx.eval_shape(lambda: create_model(config, nnx.Rngs(0))))


def _by_name(state: nnx.State) -> dict[str, tuple[tuple, nnx.Variable]]:
    """Slash-joined name to path and variable, in a fixed order."""
    flat = nnx.to_flat_state(state)
    return {'/'.join(map(str, path)): (path, variable) for path, variable in flat}

"""Unit-Align with the decoders that train it, as named leaves."""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from restac_ros.model.checkpoint.initial import initial_leaf
from restac_ros.model.tactile.config import TactileConfig
from restac_ros.model.tactile.decoders import EventDecoder, TactileImageDecoder
from restac_ros.model.tactile.unit_align import UnitAlign
from restac_ros.training.step import NamedLeaves

UNIT = 'unit'
"""Name of the encoder among the parts; the others stay behind when it is deployed."""


class TrainingVariable(nnx.Variable):
    """What training remembers beside weights; reached by no gradient."""


class Trainee(nnx.Module):
    """What is trained.

    Args:
        config: sizes.
        recent: event vectors that are remembered, for dead codes to restart at.
        rngs: of the weights.
    """

    def __init__(self, config: TactileConfig, recent: int, rngs: nnx.Rngs) -> None:
        z_channels, code_dim = config.encoder.z_channels, config.quantizer.code_dim
        self.unit = UnitAlign(config, rngs)
        self.image_decoder = TactileImageDecoder(config.encoder, rngs)
        self.event_decoder = EventDecoder(config.event, z_channels, code_dim, rngs)
        self.recent = TrainingVariable(jnp.zeros((recent, code_dim)))
        self.restarts = TrainingVariable(jnp.zeros((), jnp.int32))
        self.residual_square = TrainingVariable(jnp.ones(()))


_MEMORY = {'recent': 0.0, 'restarts': 0.0, 'residual_square': 1.0}
"""What a Trainee remembers at the start; its weights start as those of the policy do."""


class TraineeLeaves:
    """The graph of a Trainee, and its leaves by slash-joined name.

    Args:
        config, recent: of the Trainee.
    """

    def __init__(self, config: TactileConfig, recent: int) -> None:
        self.config = config
        self.graph, state = nnx.split(nnx.eval_shape(lambda: Trainee(config, recent, nnx.Rngs(0))))
        self._places = {'/'.join(map(str, path)): (path, leaf) for path, leaf in nnx.to_flat_state(state)}

    def initial(self, seed: int) -> NamedLeaves:
        """Draw new leaves, without compiling a program for every shape."""
        drawn: NamedLeaves = {}
        for name, (_, leaf) in self._places.items():
            shape, dtype = leaf.get_value().shape, leaf.get_value().dtype
            if name in _MEMORY:
                drawn[name] = jnp.full(shape, _MEMORY[name], dtype)
            else:
                drawn[name] = jnp.asarray(initial_leaf(name, shape, dtype, seed, everything=False))
        return drawn

    def names(self, parts: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Names below the given parts: those that gradients train, and those that move beside them."""
        below = [name for name in self._places if any(f'{name}/'.startswith(f'{part}/') for part in parts)]
        trained = tuple(name for name in below if isinstance(self._places[name][1], nnx.Param))
        return trained, tuple(name for name in below if name not in trained)

    def model(self, leaves: Mapping[str, jax.Array]) -> Trainee:
        """Return the module holding these leaves."""
        flat = [(path, leaf.replace(leaves[name])) for name, (path, leaf) in self._places.items()]
        model: Trainee = nnx.merge(self.graph, nnx.from_flat_state(flat))
        return model

    def unit(self, leaves: Mapping[str, jax.Array]) -> UnitAlign:
        """Return the trained encoder alone."""
        return self.model(leaves).unit


def leaves_of(module: nnx.Module) -> NamedLeaves:
    """Leaves of a module by slash-joined name."""
    return {'/'.join(map(str, path)): leaf.get_value() for path, leaf in nnx.to_flat_state(nnx.state(module))}

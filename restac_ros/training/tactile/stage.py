"""One stage of the training: what it trains, its loss, its health; and a step of it as a pure function."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from restac_ros.model.observation import pixels_to_float
from restac_ros.training.step import NamedLeaves, TrainingState
from restac_ros.training.tactile.config import StageName
from restac_ros.training.tactile.samples import TouchBatch
from restac_ros.training.tactile.trainee import Trainee, TraineeLeaves, leaves_of

type FrameValues = dict[str, np.ndarray]
"""Values per frame, by name."""


class TouchStage(Protocol):
    """A stage; everything outside its `parts` is frozen, so that no gradient can reach it."""

    @property
    def name(self) -> StageName:
        """Name of the stage."""
        ...

    @property
    def parts(self) -> tuple[str, ...]:
        """Parts of the model whose leaves it trains or moves."""
        ...

    @property
    def reads_views(self) -> bool:
        """Whether it reads the cameras."""
        ...

    def loss(
        self, model: Trainee, batch: TouchBatch, step: Int[Array, ''], key: PRNGKeyArray
    ) -> tuple[Float[Array, ''], dict[str, Array]]:
        """Return the loss and numbers to report; may move the parts' variables that are no parameters."""
        ...

    def measure(self, model: Trainee, batch: TouchBatch) -> dict[str, Array]:
        """Return values per frame, as in deployment."""
        ...

    def health(self, measured: FrameValues) -> dict[str, float]:
        """Return numbers that show whether the stage has learnt, from values over many frames."""
        ...

    def describe(self, health: Mapping[str, float]) -> str:
        """Return the health in words."""
        ...

    def before(self, step: int, measured: Callable[[int], FrameValues]) -> NamedLeaves:
        """Return leaves to replace before a step; `measured(n)` gives values of n frames or more."""
        ...


@dataclass(frozen=True)
class StageStep:
    """What a step computes; everything here is static under jit.

    Attributes:
        stage: which.
        leaves: the model without its leaves.
        transformation: optimiser of the trained leaves.
        seed: of dropout and restarts.
    """

    stage: TouchStage
    leaves: TraineeLeaves
    transformation: optax.GradientTransformation
    seed: int

    def start(self, leaves: Mapping[str, Array]) -> TrainingState:
        """Return the state before the first step."""
        trained, moving = self.leaves.names(self.stage.parts)
        own = {name: jnp.array(leaves[name]) for name in trained}
        return {
            'step': jnp.zeros((), jnp.int32),
            'trained': own,
            'moving': {name: jnp.array(leaves[name]) for name in moving},
            'optimizer': self.transformation.init(own),
        }

    def frozen(self, leaves: Mapping[str, Array]) -> NamedLeaves:
        """Return the leaves that the stage leaves as they are."""
        trained, moving = self.leaves.names(self.stage.parts)
        return {name: leaf for name, leaf in leaves.items() if name not in {*trained, *moving}}

    def __call__(
        self, state: TrainingState, frozen: NamedLeaves, batch: TouchBatch
    ) -> tuple[TrainingState, dict[str, Array]]:
        """Update the state; the result's numbers are scalars."""
        key = jax.random.fold_in(jax.random.key(self.seed), state['step'])

        def loss(trained: NamedLeaves) -> tuple[Array, tuple[dict[str, Array], NamedLeaves]]:
            model = self.leaves.model({**frozen, **state['moving'], **trained})
            value, numbers = self.stage.loss(model, _as_float(batch), state['step'], key)
            after = leaves_of(model)
            return value, (numbers, {name: after[name] for name in state['moving']})

        (value, (numbers, moving)), gradient = jax.value_and_grad(loss, has_aux=True)(state['trained'])
        updates, optimizer = self.transformation.update(gradient, state['optimizer'], state['trained'])
        norm = optax.tree.norm(gradient)
        after = {
            'step': state['step'] + 1,
            'trained': optax.apply_updates(state['trained'], updates),
            'moving': moving,
            'optimizer': optimizer,
        }
        finite = jnp.isfinite(value) & jnp.isfinite(norm)
        return after, {**numbers, 'loss': value, 'gradient_norm': norm, 'finite': finite}

    def measure(self, leaves: NamedLeaves, batch: TouchBatch) -> dict[str, Array]:
        """Return the stage's values per frame."""
        return self.stage.measure(self.leaves.model(leaves), _as_float(batch))


def _as_float(batch: TouchBatch) -> TouchBatch:
    """Pixels in [-1, 1], as the policy gives them to the encoder."""
    views = None if batch.views is None else pixels_to_float(jnp.asarray(batch.views))
    return batch._replace(tactile=pixels_to_float(jnp.asarray(batch.tactile)), views=views)

"""A small policy cloned from the cell's expert, with touch or without: does the task need touch at all?

An expert without touch that fails proves nothing, since a learned policy may find the hole through other
channels: the compliant arm gives way towards it, and the pose shows that. So a perceptron is trained on what
the expert saw and did, with and without the grasp's displacement, and both are run in closed loop.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import optax

from restac_ros.geometry.pose import Pose
from restac_ros.installation import GraphError
from restac_ros.sim.cell.cell import DOWN_XYZW, Cell, CellState
from restac_ros.sim.cell.expert import Expert
from restac_ros.sim.cell.parameters import draw_scene
from restac_ros.sim.cell.trial import Percept, Senses, SensorNoise, run_trial

_HIDDEN = 96
_BATCH = 256
_LEARNING_RATE = 2e-3
type _Weights = list[tuple[jax.Array, jax.Array]]


def clone_inputs(percept: Percept, touch: bool) -> np.ndarray:
    """Return a clone's inputs: housing from TCP in x and y, and the TCP's height, m, [3].

    With touch the grasp's displacement follows.
    """
    place_m = np.array([*(percept.housing_m - percept.pose.position_m[:2]), percept.pose.position_m[2]])
    return np.concatenate([place_m, percept.mount]) if touch else place_m


@dataclass(frozen=True)
class Demonstrations:
    """Percepts of successful attempts of the expert, and its targets relative to the measured pose [n, 3]."""

    percepts: Sequence[Percept]
    actions_m: np.ndarray
    episodes: int


def demonstrate(cell: Cell, seeds: Sequence[int], noise: SensorNoise) -> Demonstrations:
    """Record the expert with touch, FPS times a second, in one scene for each seed; failures are left out.

    Raises:
        GraphError: none succeeded.
    """
    percepts: list[Percept] = []
    actions_m: list[np.ndarray] = []
    episodes = 0
    for seed in seeds:
        rows: list[tuple[Percept, np.ndarray]] = []

        def watch(percept: Percept, target: Pose, state: CellState, rows: list = rows) -> None:
            rows.append((percept, target.position_m - percept.pose.position_m))

        scene = draw_scene(seed)
        if run_trial(
            cell, scene, Expert(cell=cell.parameters), Senses(scene, noise, seed), watch=watch
        ).success:
            percepts += [percept for percept, _ in rows]
            actions_m += [action for _, action in rows]
            episodes += 1
    if not episodes:
        raise GraphError(f'the expert succeeded in none of {len(seeds)} scenes: nothing to learn from')
    return Demonstrations(percepts, np.array(actions_m), episodes)


class Clone:
    """A perceptron of two hidden layers, as an actor."""

    def __init__(self, weights: _Weights, scales: dict[str, np.ndarray], touch: bool) -> None:
        self._weights = [(np.asarray(kernel), np.asarray(bias)) for kernel, bias in weights]
        self._scales, self._touch = scales, touch

    def act(self, percept: Percept) -> Pose:
        """Return the target that the expert would have chosen."""
        values = (clone_inputs(percept, self._touch) - self._scales['mean']) / self._scales['std']
        for kernel, bias in self._weights[:-1]:
            values = np.tanh(values @ kernel + bias)
        kernel, bias = self._weights[-1]
        action_m = (values @ kernel + bias) * self._scales['action_std'] + self._scales['action_mean']
        return Pose(percept.pose.position_m + action_m, DOWN_XYZW)


def clone_expert(shown: Demonstrations, touch: bool, steps: int, seed: int) -> Clone:
    """Train by regression on the expert's actions, Adam with a cosine schedule."""
    inputs = np.array([clone_inputs(percept, touch) for percept in shown.percepts])
    actions = shown.actions_m
    scales = {
        'mean': inputs.mean(0),
        'std': inputs.std(0),
        'action_mean': actions.mean(0),
        'action_std': actions.std(0),
    }
    x = jnp.asarray((inputs - scales['mean']) / scales['std'])
    y = jnp.asarray((actions - scales['action_mean']) / scales['action_std'])
    key = jax.random.key(seed)
    sizes = (x.shape[1], _HIDDEN, _HIDDEN, y.shape[1])
    weights = [
        (jax.random.normal(jax.random.fold_in(key, i), (a, b)) / np.sqrt(a), jnp.zeros(b))
        for i, (a, b) in enumerate(pairwise(sizes))
    ]
    return Clone(_trained(weights, x, y, steps, jax.random.fold_in(key, len(sizes))), scales, touch)


def _trained(weights: _Weights, x: jax.Array, y: jax.Array, steps: int, key: jax.Array) -> _Weights:
    optimiser = optax.adam(optax.cosine_decay_schedule(_LEARNING_RATE, steps))

    def loss(weights: _Weights, rows: jax.Array) -> jax.Array:
        values = x[rows]
        for kernel, bias in weights[:-1]:
            values = jnp.tanh(values @ kernel + bias)
        return jnp.mean((values @ weights[-1][0] + weights[-1][1] - y[rows]) ** 2)

    def step(carry: tuple, key: jax.Array) -> tuple:
        weights, state = carry
        rows = jax.random.randint(key, (_BATCH,), 0, len(x))
        updates, state = optimiser.update(jax.grad(loss)(weights, rows), state)
        return (optax.apply_updates(weights, updates), state), None

    carry = (weights, optimiser.init(weights))
    (weights, _), _ = jax.jit(lambda carry, keys: jax.lax.scan(step, carry, keys))(
        carry, jax.random.split(key, steps)
    )
    return weights

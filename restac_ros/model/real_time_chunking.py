"""Real-time chunking inside the sampler: a new chunk that continues the actions already decided.

Two ways. Inpainting by guidance (Black, Galliker and Levine 2025, arXiv 2506.07339; pseudoinverse guidance of
Song et al. 2023) needs no training: each Euler step's velocity is corrected towards the decided actions.
Conditioning (Black et al. 2025, arXiv 2512.05964) needs training: the decided actions are part of the input,
at flow time 0, and cost nothing at run time.

The papers run flow time from 0 at noise to 1 at data; here, as in `flow_matching`, 1 is noise and 0 is data,
and velocities point from data to noise. Everything is pure and may run inside jit; delays and weights are
arrays, so that changing them compiles nothing anew.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

MAX_GUIDANCE_WEIGHT = 5.0  # beta of the paper, which found 5 best for 5 and more Euler steps

type ChunkingKind = Literal['receding_horizon', 'rtc_guided', 'rtc_trained']
"""How a chunk is made to follow the one before: not at all, by guidance, or by conditioning."""

type Actions = Float[Array, 'B T D']


class Guidance(NamedTuple):
    """Actions to be drawn towards.

    Attributes:
        actions: in the network's units (normalised, relative to the new observation); what stands where the
            weight is 0 doesn't matter.
        weights: 0 (free) .. 1 (decided) of each step, or of each step and dimension.
        max_weight: beta, the bound on the guidance.
    """

    actions: Actions
    weights: Float[Array, 'B T _']
    max_weight: Float[Array, ''] | float = MAX_GUIDANCE_WEIGHT


class Conditioning(NamedTuple):
    """Actions to be kept: `actions` as in `Guidance`, where `decided` is true."""

    actions: Actions
    decided: Bool[Array, 'B T']


type Constraint = Guidance | Conditioning


# Guidance.


def guidance_weight(
    time: Float[Array, ''], max_weight: float | Float[Array, ''] = MAX_GUIDANCE_WEIGHT
) -> Float[Array, '']:
    """min(beta, (1 - tau) / (tau r^2)) with tau = 1 - time and r^2 = (1 - tau)^2 / (tau^2 + (1 - tau)^2).

    Infinite without the bound at both ends; 2, the least, half way.
    """
    square = jnp.square(time) + jnp.square(1.0 - time)
    product = time * (1.0 - time)
    # Compared before dividing, as the product is 0 at both ends.
    free = square < max_weight * product
    return jnp.where(free, square / jnp.where(free, product, 1.0), max_weight)


def guide[Step](
    velocity: Callable[[Actions, Step], Actions], guidance: Guidance
) -> Callable[[Actions, tuple[Float[Array, ''], Step]], Actions]:
    """A velocity that pulls the sample towards the guidance's actions (equations 2 to 4).

    The clean actions expected at x are x - time * v(x); their weighted error is propagated back to x by one
    vector-Jacobian product of the network.

    Args:
        velocity: v(x, step), the network.
        guidance: where to, and how strongly.

    Returns:
        guided(x, (time, step)): for `flow_matching.integrate`, with its steps zipped with their times.
    """
    decided, weights, max_weight = guidance

    def guided(x: Actions, inputs: tuple[Float[Array, ''], Step]) -> Actions:
        time, step = inputs

        def clean(x: Actions) -> tuple[Actions, Actions]:
            v = velocity(x, step).astype(x.dtype)
            return x - time * v, v

        expected, pull_back, v = jax.vjp(clean, x, has_aux=True)
        # Chosen, not only multiplied: what is free may hold anything, even NaN.
        error = jnp.where(weights > 0, weights * (decided - expected), 0.0)
        (correction,) = pull_back(error.astype(expected.dtype))
        return v - guidance_weight(time, max_weight).astype(x.dtype) * correction

    return guided


# Conditioning.


def sample_delay(key: PRNGKeyArray, batch: int, max_delay: int) -> Int[Array, ' B']:
    """Delays to train with, 0 .. max_delay steps, each as often as the others."""
    if max_delay < 0:
        raise ValueError(f'max_delay: found {max_delay}, expected 0 or more steps')
    return jax.random.categorical(key, jnp.zeros(max_delay + 1), shape=(batch,))


def is_decided(delay: Int[Array, ' B'], horizon: int) -> Bool[Array, 'B T']:
    """True for the first `delay` steps of each chunk."""
    return jnp.arange(horizon) < delay[:, None]


def with_decided(x: Actions, actions: Actions, decided: Bool[Array, 'B T']) -> Actions:
    """`x` with the decided actions, clean, in their place: input of training, start of sampling."""
    return jnp.where(decided[..., None], actions.astype(x.dtype), x)


def code_by_token[Code](decided: Bool[Array, 'B T'], clean: Code, now: Code) -> Code:
    """Flow-time codes [B, T, ...] of tokens: `clean` [1, ...] where decided, else `now` [...]; pytrees."""

    def choose(clean: Array, now: Array) -> Array:
        return jnp.where(jnp.expand_dims(decided, range(2, 2 + now.ndim)), clean[0], now)

    return jax.tree.map(choose, clean, now)


def keep_decided[Step](
    velocity: Callable[[Actions, Step], Actions], decided: Bool[Array, 'B T']
) -> Callable[[Actions, Step], Actions]:
    """A velocity that leaves decided steps where they are.

    Args:
        velocity: v(x, step); it must know flow time 0 for the decided steps, as in training.
    """

    def conditioned(x: Actions, step: Step) -> Actions:
        v = velocity(x, step)
        return jnp.where(decided[..., None], 0.0, v).astype(v.dtype)

    return conditioned

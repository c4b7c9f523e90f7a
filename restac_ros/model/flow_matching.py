"""Flow matching between noise and actions (Lipman et al. 2023, arXiv 2210.02747), in pi0's convention.

Flow time is 1 at noise and 0 at data: x_t = t * noise + (1 - t) * actions, and the velocity to learn is
noise - actions. Sampling integrates from 1 down to 0.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

MIN_PERIOD = 4e-3
MAX_PERIOD = 4.0


def sample_time(key: PRNGKeyArray, batch: int) -> Float[Array, ' B']:
    """Training flow times, Beta(1.5, 1) * 0.999 + 0.001: more of them near noise (pi0)."""
    return jax.random.beta(key, 1.5, 1.0, (batch,)) * 0.999 + 0.001


def interpolate(
    actions: Float[Array, 'B T D'], noise: Float[Array, 'B T D'], time: Float[Array, ' B']
) -> tuple[Float[Array, 'B T D'], Float[Array, 'B T D']]:
    """Return x_t and the velocity target."""
    t = time[:, None, None]
    return t * noise + (1 - t) * actions, noise - actions


def time_embedding(time: Float[Array, ' N'], width: int) -> Float[Array, 'N W']:
    """Sines, then cosines, of `time` at periods spaced geometrically from 0.004 to 4."""
    fraction = jnp.linspace(0.0, 1.0, width // 2)
    period = MIN_PERIOD * (MAX_PERIOD / MIN_PERIOD) ** fraction
    angle = time[:, None] * (1.0 / period * 2 * jnp.pi)
    return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)


def step_loss(
    squares: Float[Array, 'B T D'], step_mask: Bool[Array, 'B T'] | None = None
) -> Float[Array, 'B T']:
    """Squared velocity error of each action step, averaged over the action dimensions.

    Args:
        squares: squared errors of the velocity, of the robot's own dimensions: padding counts if it is there.
        step_mask: False for steps past the end of an episode, whose loss is zero; None counts all.
    """
    loss = jnp.mean(squares, axis=-1)
    return loss if step_mask is None else jnp.where(step_mask, loss, 0.0)


def euler_times(num_steps: int) -> Float[Array, ' n']:
    """Flow times at which Euler's method evaluates the velocity: 1, 1 - 1/n, ..., 1/n."""
    if num_steps < 1:
        raise ValueError(f'num_steps: found {num_steps}, expected at least 1')
    return 1.0 - jnp.arange(num_steps, dtype=jnp.float32) / num_steps


def euler_step[Step](
    velocity: Callable[[Float[Array, 'B T D'], Step], Float[Array, 'B T D']],
    x: Float[Array, 'B T D'],
    at: Step,
    num_steps: int,
) -> Float[Array, 'B T D']:
    """One of `num_steps` steps from noise to actions."""
    return x - velocity(x, at).astype(x.dtype) / num_steps


def integrate[Step](
    velocity: Callable[[Float[Array, 'B T D'], Step], Float[Array, 'B T D']],
    noise: Float[Array, 'B T D'],
    steps: Step,
    num_steps: int,
    unroll: bool = False,
) -> Float[Array, 'B T D']:
    """Euler's method from noise to actions; `steps` is a pytree whose leading axis is the step.

    `unroll` compiles all steps one after the other, without a loop, which a GPU's host would drive.
    """

    def step(x: Float[Array, 'B T D'], inputs: Step) -> tuple[Float[Array, 'B T D'], None]:
        return euler_step(velocity, x, inputs, num_steps), None

    return jax.lax.scan(step, noise, steps, length=num_steps, unroll=num_steps if unroll else 1)[0]

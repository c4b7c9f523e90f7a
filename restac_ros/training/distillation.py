"""Fewer flow steps: a student learns to go in one Euler step where its teacher goes in several.

Knowledge distillation of an iterative sampler (Luhman and Luhman 2021, arXiv 2101.02388), with stops on the
way where the student has more than one step (Salimans and Ho 2022, arXiv 2202.00512). Of SnapFlow (arXiv
2604.05656) this keeps the frozen language expert, and its prefix for several noises; the teacher is the
checkpoint itself at all its steps, so that targets are exact and the network needs no second flow time.

Touch, gate and fusion belong to both: what is trained is what turns noise into actions.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from restac_ros.model import flow_matching
from restac_ros.model.intermediates import Intermediates
from restac_ros.model.pi05 import TimeCode, VelocityField
from restac_ros.model.prefix import PrefixCache

TEACHER = 'teacher/'
"""What the names of the teacher's own leaves begin with, among those that are frozen."""


@dataclass(frozen=True)
class Distillation:
    """How a student is taught.

    Attributes:
        steps: Euler steps of the student.
        teacher_steps: of the teacher; a multiple.
        noises: that are drawn for each sample, on one prefix.
    """

    steps: int
    teacher_steps: int
    noises: int = 1


def distilled_errors(
    how: Distillation,
    student: Any,
    teacher: Any,
    prefix: PrefixCache,
    reading: Intermediates | None,
    state: Float[Array, 'B D'],
    key: PRNGKeyArray,
) -> Float[Array, 'B T D']:
    """Squared errors of a student's velocity, mean over the noises, float32.

    The target is the teacher's mean velocity between two of its stops.

    Args:
        how: steps of both, and noises.
        student, teacher: networks that differ in the action expert and its projections alone.
        prefix, reading: of the batch, the same for both; `reading` has passed through `correct`.
        state: normalised.
        key: of noise and stops.
    """
    config = teacher.config
    plan = teacher.plan_sampling(how.teacher_steps)
    shown = teacher.velocity_field(prefix, reading, state, plan.expert)
    learnt = student.velocity_field(prefix, reading, state)
    noise_key, stop_key = jax.random.split(key)
    batch = state.shape[0]
    noise = jax.random.normal(noise_key, (how.noises, batch, config.action_horizon, config.action_dim))
    stop = jax.random.randint(stop_key, (how.noises, batch), 0, how.steps)

    def squares(noise: Float[Array, 'B T D'], stop: Int[Array, ' B']) -> Float[Array, 'B T D']:
        path = jax.lax.stop_gradient(trajectory(shown, noise, plan.code))[:: how.teacher_steps // how.steps]
        x_t, after = (path[which, jnp.arange(batch)] for which in (stop, stop + 1))
        code = student.time_code(1.0 - stop.astype(jnp.float32) / how.steps)
        error = learnt(x_t, code).astype(jnp.float32) - (x_t - after) * how.steps
        return jnp.square(error)

    return jnp.mean(jax.vmap(squares)(noise, stop), axis=0)


def trajectory(
    velocity: VelocityField, noise: Float[Array, 'B T D'], code: TimeCode
) -> Float[Array, 'n+1 B T D']:
    """Return every stop of Euler's method, from noise to actions; `code` is of the n flow times.

    The last is what `flow_matching.integrate` returns.
    """
    num_steps = code.embedding.shape[0]

    def stop(x: Float[Array, 'B T D'], at: TimeCode) -> tuple[Float[Array, 'B T D'], Float[Array, 'B T D']]:
        def here(x: Float[Array, 'B T D'], at: TimeCode) -> Float[Array, 'B T D']:
            return velocity(x, jax.tree.map(lambda leaf: leaf[None], at))

        x = flow_matching.euler_step(here, x, at, num_steps)
        return x, x

    _, stops = jax.lax.scan(stop, noise, code)
    return jnp.concatenate([noise[None], stops])

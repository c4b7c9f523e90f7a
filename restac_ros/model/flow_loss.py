"""Errors of the velocity that training learns, and their loss: one pass of the network."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from restac_ros.model import flow_matching
from restac_ros.model import real_time_chunking as rtc
from restac_ros.model.joint_pass import ALONE, Beside, JointPass
from restac_ros.model.observation import Observation
from restac_ros.model.pi05 import Pi05
from restac_ros.model.tactile.interface import TactileCode


class FlowErrors(NamedTuple):
    """Squared errors of a batch.

    Attributes:
        squares: of each action step and dimension, float32.
        asked: False for steps that a delay has decided.
        joint: the pass that they are from.
    """

    squares: Float[Array, 'B T D']
    asked: Bool[Array, 'B T']
    joint: JointPass


def flow_errors(
    network: Pi05,
    observation: Observation,
    actions: Float[Array, 'B T D'],
    noise: Float[Array, 'B T D'],
    time: Float[Array, ' B'],
    touch: TactileCode | None = None,
    delay: Int[Array, ' B'] | None = None,
    beside: Beside = ALONE,
) -> FlowErrors:
    """Compare the network's velocity between noise and actions with the true one.

    With a `delay` (training-time real-time chunking, arXiv 2512.05964; `sample_delay` draws it) the first so
    many steps are given clean, and not asked.
    """
    x_t, target = flow_matching.interpolate(actions, noise, time)
    asked = jnp.ones(actions.shape[:2], bool)
    decided = None
    if delay is not None:
        decided = rtc.is_decided(delay, actions.shape[1])
        x_t, asked = rtc.with_decided(x_t, actions, decided), ~decided
    joint = network.run_jointly(observation, x_t, time, touch, decided, beside)
    return FlowErrors(jnp.square(joint.velocity.astype(jnp.float32) - target), asked, joint)


def compute_loss(
    network: Pi05,
    observation: Observation,
    actions: Float[Array, 'B T D'],
    noise: Float[Array, 'B T D'],
    time: Float[Array, ' B'],
    *,
    touch: TactileCode | None = None,
    step_mask: Bool[Array, 'B T'] | None = None,
    delay: Int[Array, ' B'] | None = None,
) -> Float[Array, 'B T']:
    """Flow-matching loss of each action step over all dimensions; average it over the steps that exist.

    `step_mask` is False for steps past an episode's end. With a `delay` see `flow_errors`: average over
    `step_mask & ~is_decided(delay, T)` then.
    """
    errors = flow_errors(network, observation, actions, noise, time, touch, delay)
    valid = errors.asked if step_mask is None else step_mask & errors.asked
    return flow_matching.step_loss(errors.squares, valid) + network.auxiliary_loss(errors.joint.reading)

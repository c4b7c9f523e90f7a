"""Errors of the velocity that training learns, before they are averaged: one pass of the network."""

from typing import NamedTuple, Protocol

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from restac_ros.model import flow_matching
from restac_ros.model import real_time_chunking as rtc
from restac_ros.model.joint_pass import ALONE, Beside, JointPass
from restac_ros.model.observation import Observation
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


class VelocityNetwork(Protocol):
    """What a network must offer: its velocity at x_t, from the joint pass over prefix and suffix."""

    def run_jointly(
        self,
        observation: Observation,
        x_t: Float[Array, 'B T D'],
        time: Float[Array, ' B'],
        touch: TactileCode | None = None,
        decided: Bool[Array, 'B T'] | None = None,
        beside: Beside = ALONE,
    ) -> JointPass:
        """Return the velocity, and what led to it."""


def flow_errors(
    network: VelocityNetwork,
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

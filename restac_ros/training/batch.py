"""A batch of samples as arrays: what travels to the device."""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from restac_ros.model.joint_pass import TextTarget
from restac_ros.model.observation import Observation

type Array = jax.Array | np.ndarray


class Lesson(NamedTuple):
    """A question and its answer in tokens: which subtask comes next."""

    prompt: Int[Array, 'B P']
    prompt_mask: Bool[Array, 'B P']
    target: TextTarget


class Batch(NamedTuple):
    """Network inputs and targets; B is the batch, T the horizon, D the network's action dimensions.

    Pixels are uint8 until they are on the device.
    """

    observation: Observation
    actions: Float[Array, 'B T D']  # normalised deltas, padded with zeros
    step_mask: Bool[Array, 'B T']  # False past an episode's end
    source: Int[Array, ' B']  # which data set
    place: Int[Array, 'B 2']  # episode and frame, to name a sample that something is wrong with
    subtask: Lesson | None = None  # None: no mode that teaches it
    codes: TextTarget | None = None  # the actions as tokens behind the observation's prompt; None: not taught

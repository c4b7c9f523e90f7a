"""A batch of samples as arrays: what travels to the device."""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from restac_ros.model.observation import Observation

type Array = jax.Array | np.ndarray


class Batch(NamedTuple):
    """Network inputs and targets; B is the batch, T the horizon, D the network's action dimensions.

    Pixels are uint8 until they are on the device.
    """

    observation: Observation
    actions: Float[Array, 'B T D']  # normalised deltas, padded with zeros
    step_mask: Bool[Array, 'B T']  # False past an episode's end
    source: Int[Array, ' B']  # which data set
    place: Int[Array, 'B 2']  # episode and frame, to name a sample that something is wrong with

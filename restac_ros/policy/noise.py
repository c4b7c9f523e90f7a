"""Where the integration of a chunk starts: standard normal noise, the same for the same seed and index."""

import numpy as np
from jaxtyping import Float32

from restac_ros.model.config import ModelConfig
from restac_ros.policy.errors import PolicyError


def draw_noise(config: ModelConfig, seed: int, index: int) -> Float32[np.ndarray, 'T D']:
    """Return the noise of draw `index`; equal seeds and indices give equal noise."""
    shape = (config.action_horizon, config.action_dim)
    return np.random.default_rng([seed, index]).standard_normal(shape, np.float32)


def check_noise(config: ModelConfig, noise: np.ndarray) -> Float32[np.ndarray, 'T D']:
    """Check noise [T, D], and return it unchanged.

    Raises:
        PolicyError: another shape or dtype, or not finite.
    """
    shape = (config.action_horizon, config.action_dim)
    noise = np.asarray(noise)
    if noise.shape != shape or noise.dtype != np.float32 or not np.isfinite(noise).all():
        raise PolicyError(f'noise: found {noise.dtype} {noise.shape}, expected finite float32 {shape}')
    return noise

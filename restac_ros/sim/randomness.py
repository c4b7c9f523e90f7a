"""Random numbers of a simulated scene: each purpose has its own, independent of all others."""

import zlib

import numpy as np


def random_for(seed: int, purpose: str) -> np.random.Generator:
    """Return the generator of one purpose in the scene of `seed`; equal seed and purpose give equal numbers.

    Two purposes that shared one would tell of each other: a sensor's noise, of where the hole is.
    """
    return np.random.default_rng([seed, zlib.crc32(purpose.encode())])

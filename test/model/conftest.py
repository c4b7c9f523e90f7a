"""Networks with the parameters of reference files, or with noise."""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx

from golden import Golden, load_into_model, read_golden
from restac_ros.model.checkpoint.network import abstract_leaves, initial_params
from restac_ros.model.config import ModelConfig
from restac_ros.model.pi05 import Pi05


def _make_random(config: ModelConfig, seed: int = 0) -> Pi05:
    """A model with noise on every parameter: fresh heads and modulations are zero and hide inputs."""
    names = abstract_leaves(config)
    return load_into_model(config, initial_params(config, names, seed, everything=True))


def _as_pure[**P, R](model: Pi05, method: Callable[..., R]) -> Callable[P, R]:
    """`method(model, ...)`, jitted with the parameters as an argument."""
    graph, state = nnx.split(model)
    jitted = jax.jit(lambda state, *args: method(nnx.merge(graph, state), *args))
    return functools.partial(jitted, state)


@pytest.fixture(scope='session')
def load_parameters() -> Callable[[ModelConfig, Mapping[str, np.ndarray]], Pi05]:
    """See `load_into_model`."""
    return load_into_model


@pytest.fixture(scope='session')
def make_random() -> Callable[..., Pi05]:
    """See `_make_random`."""
    return _make_random


@pytest.fixture(scope='session')
def as_pure() -> Callable[..., Callable[..., Any]]:
    """See `_as_pure`."""
    return _as_pure


@pytest.fixture(scope='session')
def golden(golden_dir: Path) -> Callable[[str], Golden]:
    """Reads test/golden/NAME.npz, once."""
    return functools.cache(lambda name: read_golden(golden_dir / f'{name}.npz'))


@pytest.fixture(scope='session')
def golden_224(shared_dir: Path) -> Golden:
    """openpi's pi0.5 on 224-pixel images; too large to travel with the repository."""
    return read_golden(shared_dir / 'golden' / 'openpi_pi05_dummy_224.npz')

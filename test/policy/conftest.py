"""What the policy's tests share: the robot's contract and a network small enough to compile in seconds."""

from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest

from micro_network import MICRO
from restac_ros.contract.load import load_contract
from restac_ros.contract.schema import Contract
from restac_ros.model.config import ModelConfig
from restac_ros.policy.init_checkpoint import init_checkpoint


@pytest.fixture(scope='session')
def contract(repository: Path) -> Contract:
    return load_contract(repository / 'config' / 'contract.yaml')


@pytest.fixture(scope='session')
def micro() -> ModelConfig:
    return MICRO


@pytest.fixture(scope='session')
def checkpoint(contract: Contract, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random checkpoint of the micro network."""
    path = tmp_path_factory.mktemp('checkpoints') / 'micro'
    init_checkpoint(MICRO, contract, path)
    return path


@pytest.fixture(scope='session')
def compile_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Compiled programs shared by the tests of one run, and by nobody else."""
    names = (
        'jax_compilation_cache_dir',
        'jax_persistent_cache_min_compile_time_secs',
        'jax_persistent_cache_min_entry_size_bytes',
    )
    before = {name: getattr(jax.config, name) for name in names}
    yield tmp_path_factory.mktemp('compiled')
    for name, value in before.items():
        jax.config.update(name, value)


class Inputs:
    """One plausible set of raw inputs; `rng` makes another."""

    def __init__(self, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        cameras = ('main', 'handeye', 'side')
        self.images = {name: rng.integers(0, 256, (224, 224, 3), np.uint8) for name in cameras}
        self.tactile = rng.integers(0, 256, (128, 160, 3), np.uint8)
        self.action_prev = rng.normal(0, 0.01, 7).astype(np.float32)
        self.state = np.array([0.5, 0.1, 0.4, 3.1, 0.1, -0.2, 0.04], np.float32)


@pytest.fixture
def inputs() -> Inputs:
    return Inputs()

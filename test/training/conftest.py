"""A small data set in which only touch tells the right action, and a run on it."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import jax
import pytest
import yaml

from restac_ros.contract.load import parse_contract
from restac_ros.contract.schema import Contract
from restac_ros.training.config import CONFIGS, DataConfig, TrainConfig
from restac_ros.training.data.episodes import Episodes, open_episodes
from restac_ros.training.tactile.prepare import PreparedTactile, prepare_tactile
from restac_ros.training.tactile.trainer import TactileOutcome
from restac_ros.training.touch_task import make_touch_task
from tactile_runs import SHORT_TACTILE, TactileNumbers, train_tactile

EPISODES = 4
type TactileRun = tuple[PreparedTactile, TactileOutcome, TactileNumbers]


@pytest.fixture(scope='session', autouse=True)
def _compiled_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The same step is compiled in several tests and processes: it is taken from a cache of this run."""
    folder = str(tmp_path_factory.mktemp('compiled'))
    settings = {'jax_compilation_cache_dir': folder, 'jax_persistent_cache_min_compile_time_secs': 0.0}
    before = {name: getattr(jax.config, name) for name in settings}
    os.environ['JAX_COMPILATION_CACHE_DIR'] = folder
    for name, value in settings.items():
        jax.config.update(name, value)
    yield
    del os.environ['JAX_COMPILATION_CACHE_DIR']
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.fixture(scope='session')
def contract(repository: Path) -> Contract:
    return parse_contract((repository / 'config' / 'contract.yaml').read_text())


@pytest.fixture(scope='session')
def touch_data(tmp_path_factory: pytest.TempPathFactory, contract: Contract) -> Path:
    """A data set of the touch task; tests only read it."""
    root = tmp_path_factory.mktemp('touch') / 'data'
    assert list(make_touch_task(root, contract, EPISODES)) == list(range(EPISODES))
    return root


@pytest.fixture(scope='session')
def episodes(touch_data: Path) -> Episodes:
    return open_episodes(touch_data)


@pytest.fixture(scope='session')
def tactile_run(touch_data: Path, tmp_path_factory: pytest.TempPathFactory) -> TactileRun:
    """A short training of Unit-Align on the touch data, and its numbers."""
    config = replace(SHORT_TACTILE, to=tmp_path_factory.mktemp('tactile'))
    prepared = prepare_tactile(config, [touch_data])
    return prepared, *train_tactile(prepared)


@pytest.fixture
def run_of(touch_data: Path, tmp_path: Path) -> Callable[..., TrainConfig]:
    """run_of(steps=4, ...) -> a short run of the tiny configuration on the touch data."""

    def make(**changes: object) -> TrainConfig:
        short = replace(
            CONFIGS['tiny'],
            data=DataConfig(datasets=(touch_data,), validation_share=0.3),
            to=tmp_path / 'run',
            steps=4,
            batch_size=4,
            log_every=1,
            validate_every=2,
            validation_batches=1,
            save_every=2,
        )
        return replace(short, **changes)

    return make


@pytest.fixture
def contract_with(repository: Path) -> Callable[..., Contract]:
    """contract_with(fps=10) -> the shipped contract with top-level values changed."""

    def make(**changes: object) -> Contract:
        values = yaml.safe_load((repository / 'config' / 'contract.yaml').read_text())
        return parse_contract(yaml.safe_dump(values | changes))

    return make

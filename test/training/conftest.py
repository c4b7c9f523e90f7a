"""A small data set in which only touch tells the right action, and a run on it."""

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from jax._src import compiler  # the public switch, jax_disable_most_optimizations, slows the steps too much
from jax.experimental.compilation_cache import compilation_cache

from micro import MICRO, add_micro_preset
from restac_ros.contract.load import parse_contract
from restac_ros.contract.schema import Contract
from restac_ros.training.config import CONFIGS, AugmentationConfig, DataConfig, TrainConfig
from restac_ros.training.data.episodes import Episodes, open_episodes
from restac_ros.training.deploy import write_checkpoint
from restac_ros.training.distributed import on_host
from restac_ros.training.prepare import Prepared, prepare
from restac_ros.training.tactile.prepare import PreparedTactile, prepare_tactile
from restac_ros.training.tactile.trainer import TactileOutcome
from restac_ros.training.touch_task import make_touch_task
from restac_ros.training.trainer import Outcome, deployable
from tactile_runs import SHORT_TACTILE, TactileNumbers, train_tactile
from training_run import Numbers, train

EPISODES = 4
type TactileRun = tuple[PreparedTactile, TactileOutcome, TactileNumbers]


@pytest.fixture(scope='session')
def common_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the workers of one run of the tests have in common."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if 'PYTEST_XDIST_WORKER' in os.environ else own


@contextmanager
def one_at_a_time(path: Path) -> Iterator[bool]:
    """Of several workers, the first makes what is at `path`, and is given True; the others wait for it."""
    with path.with_suffix('.lock').open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = path.with_suffix('.done')
        yield not done.exists()
        done.touch()


@pytest.fixture(scope='package', autouse=True)
def _compiled_once(common_folder: Path) -> Iterator[None]:
    """The same step is compiled in several tests and processes: it is taken from a cache of this run."""
    folder = str(common_folder / 'compiled')
    settings = {'jax_compilation_cache_dir': folder, 'jax_persistent_cache_min_compile_time_secs': 0.0}
    before = {name: getattr(jax.config, name) for name in settings}
    os.environ['JAX_COMPILATION_CACHE_DIR'] = folder
    for name, value in settings.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    yield
    del os.environ['JAX_COMPILATION_CACHE_DIR']
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, bool, bool]:
    """Compile with less effort in this folder, as the programs that tests start do: the bits are the same."""

    def options(*given: object, **named: object) -> object:
        found = as_users(*given, **named)
        found.executable_build_options.debug_options.xla_backend_optimization_level = 1
        return found

    as_users = compiler.get_compile_options
    with pytest.MonkeyPatch.context() as patch:
        if item.path.is_relative_to(Path(__file__).parent):
            patch.setattr(compiler, 'get_compile_options', options)
        return (yield)


@pytest.fixture(scope='session')
def contract(repository: Path) -> Contract:
    return parse_contract((repository / 'config' / 'contract.yaml').read_text())


@pytest.fixture(scope='session')
def touch_data(common_folder: Path, contract: Contract) -> Path:
    """A data set of the touch task; tests only read it."""
    root = common_folder / 'data'
    with one_at_a_time(root) as first:
        if first:
            assert list(make_touch_task(root, contract, EPISODES)) == list(range(EPISODES))
    return root


@pytest.fixture(scope='session')
def second_data(common_folder: Path, contract: Contract) -> Path:
    """Another data set of the touch task; tests only read it."""
    root = common_folder / 'second'
    with one_at_a_time(root) as first:
        if first:
            assert list(make_touch_task(root, contract, 3, seed=9)) == [0, 1, 2]
    return root


@pytest.fixture(scope='session')
def episodes(touch_data: Path) -> Episodes:
    return open_episodes(touch_data)


@pytest.fixture(scope='session')
def short_run(touch_data: Path, second_data: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    """Four steps of the tiny configuration, with a smaller network and changed images, on two data sets."""
    add_micro_preset()
    return replace(
        CONFIGS['tiny'],
        preset=MICRO,
        augmentation=AugmentationConfig(),
        data=DataConfig(datasets=(touch_data, second_data), weights=(3.0, 1.0), validation_share=0.3),
        to=tmp_path_factory.mktemp('run'),
        steps=4,
        batch_size=4,
        log_every=1,
        validate_every=2,
        validation_batches=1,
        save_every=2,
    )


@pytest.fixture(scope='session')
def prepared(short_run: TrainConfig) -> Prepared:
    """The short run, ready to begin; tests change copies."""
    return prepare(short_run)


@pytest.fixture(scope='session')
def finished(prepared: Prepared) -> tuple[Outcome, Numbers]:
    """How the short run ends, and what it reports."""
    return train(prepared)


@pytest.fixture(scope='session')
def deployed(prepared: Prepared, finished: tuple[Outcome, Numbers]) -> Path:
    """The checkpoint of the short run."""
    outcome, _ = finished
    return write_checkpoint(prepared, on_host(deployable(outcome.state)), outcome.step)


@pytest.fixture(scope='session')
def tactile_run(touch_data: Path, tmp_path_factory: pytest.TempPathFactory) -> TactileRun:
    """A short training of Unit-Align on the touch data, and its numbers."""
    config = replace(SHORT_TACTILE, to=tmp_path_factory.mktemp('tactile'))
    prepared = prepare_tactile(config, [touch_data])
    return prepared, *train_tactile(prepared)


@pytest.fixture
def run_of(short_run: TrainConfig, touch_data: Path, tmp_path: Path) -> Callable[..., TrainConfig]:
    """run_of(steps=9, verdict='good', ...) -> the short run on one data set, with values changed."""

    def make(**changes: object) -> TrainConfig:
        of_data = {name: changes.pop(name) for name in list(changes) if name in DataConfig.__annotations__}
        data = replace(short_run.data, **{'datasets': (touch_data,), 'weights': (), **of_data})
        return replace(short_run, **{'to': tmp_path / 'run', 'data': data, **changes})

    return make


@pytest.fixture
def numbers_with(touch_data: Path, tmp_path: Path) -> Callable[..., Path]:
    """numbers_with(column, change) -> the touch data without videos, each episode's rows [n, 7] changed.

    `change(values, episode)` returns them.
    """

    def make(column: str, change: Callable[[np.ndarray, int], np.ndarray]) -> Path:
        root = tmp_path / 'changed'
        shutil.copytree(touch_data, root, ignore=shutil.ignore_patterns('videos'))
        for path in sorted((root / 'data').glob('*/*.parquet')):
            table = pq.read_table(path)
            values = np.array(table[column].to_pylist(), np.float32)
            changed = np.asarray(change(values, table['episode_index'][0].as_py()), np.float32)
            column_array = pa.FixedSizeListArray.from_arrays(pa.array(changed.ravel()), 7)
            pq.write_table(table.set_column(table.column_names.index(column), column, column_array), path)
        return root

    return make


@pytest.fixture
def info_with(touch_data: Path, tmp_path: Path) -> Callable[..., Path]:
    """info_with(change) -> the touch data without videos; `change(info)` edits what meta/info.json says."""

    def make(change: Callable[[dict], object]) -> Path:
        root = tmp_path / 'described'
        shutil.copytree(touch_data, root, ignore=shutil.ignore_patterns('videos'))
        path = root / 'meta' / 'info.json'
        info = json.loads(path.read_text())
        change(info)
        path.write_text(json.dumps(info))
        return root

    return make


@pytest.fixture
def contract_with(repository: Path) -> Callable[..., Contract]:
    """contract_with(fps=10) -> the shipped contract with top-level values changed."""

    def make(**changes: object) -> Contract:
        values = yaml.safe_load((repository / 'config' / 'contract.yaml').read_text())
        return parse_contract(yaml.safe_dump(values | changes))

    return make

"""What all tests share. Reference data, which is optional, lies in RESTAC_SHARED or beside the checkout."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
QUICK_XLA = '--xla_backend_optimization_level=1'
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
os.environ.setdefault('HF_HUB_OFFLINE', '1')


@pytest.fixture(scope='session')
def repository() -> Path:
    """Root of the source tree."""
    return REPOSITORY


@pytest.fixture(scope='session', autouse=True)
def _programs_that_tests_start_compile_sooner() -> None:
    """With a third of the effort less; what this process compiles, golden numbers above all, is as users'."""
    import jax

    jax.devices()  # from here on, this process does not read the flags any more
    os.environ['XLA_FLAGS'] = f'{os.environ.get("XLA_FLAGS", "")} {QUICK_XLA}'.strip()


@pytest.fixture(scope='session', autouse=True)
def _hangup_as_in_a_terminal() -> Iterator[None]:
    """Under nohup, SIGHUP is ignored, which programs inherit and respect: tests close terminals."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture(scope='session')
def ros_domain() -> Iterator[int]:
    """The ROS domain of this test run, which no other uses; nodes on other machines are not discovered."""
    from restac_ros.bench.ros_domain import own_domain

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
        yield own_domain()


@pytest.fixture(scope='session')
def slow_contract_file(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped contract with streams of 100 Hz at most, so that recordings are small."""
    from fuzz_subjects import slow
    from restac_ros.contract.load import dump_contract, load_contract

    path = tmp_path_factory.mktemp('contract') / 'contract.yaml'
    path.write_text(dump_contract(slow(load_contract(repository / 'config' / 'contract.yaml'))))
    return path


@pytest.fixture(scope='session')
def golden_dir() -> Path:
    """Small golden files that travel with the repository."""
    return REPOSITORY / 'test' / 'golden'


@pytest.fixture(scope='session')
def shared_dir() -> Path:
    """Large golden files, real sensor streams and their tools; the test is skipped where they are absent."""
    folder = Path(os.environ.get('RESTAC_SHARED', REPOSITORY.parent / 'shared'))
    if not (folder / 'golden').is_dir():
        pytest.skip(f'no reference data at {folder}; set RESTAC_SHARED to use some')
    return folder


@pytest.fixture(scope='session')
def make_real_bag(shared_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes a bag of really recorded streams: make_real_bag('--seconds', '3') -> directory, once per call."""
    made: dict[tuple[str, ...], Path] = {}

    def make(*arguments: str) -> Path:
        if arguments not in made:
            out = tmp_path_factory.mktemp('real') / 'bag'
            tool = shared_dir / 'tools' / 'make_real_bag.py'
            subprocess.run([sys.executable, str(tool), str(out), *arguments], check=True, capture_output=True)
            made[arguments] = out
        return made[arguments]

    return make

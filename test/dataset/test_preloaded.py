"""Libraries that workers of a conversion share are loaded without collecting garbage, and stay shared."""

import gc
import sys
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from restac_ros.dataset import preloaded
from restac_ros.dataset.engines import start_engine

gc.unfreeze()  # what importing `preloaded` has frozen in this process, which goes on with other tests


@pytest.fixture(autouse=True)
def _nothing_stays_frozen() -> Iterator[None]:
    yield
    gc.unfreeze()


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a library that notes whether garbage is collected while it is loaded."""
    (tmp_path / 'noting_library.py').write_text('import gc\n\ncollects = gc.isenabled()\n')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(preloaded, 'LIBRARIES', ('noting_library',))
    yield 'noting_library'
    sys.modules.pop('noting_library', None)


def test_no_garbage_is_collected_while_libraries_are_loaded_and_afterwards_what_is_new(library: str) -> None:
    gc.unfreeze()
    preloaded.load()
    assert sys.modules[library].collects is False
    assert gc.isenabled()
    assert gc.get_freeze_count() > 0  # workers do not walk through what is loaded, so that it stays shared


def test_garbage_is_collected_again_when_a_library_cannot_be_loaded(
    library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preloaded, 'LIBRARIES', (library, 'no_such_library'))
    with pytest.raises(ImportError, match='no_such_library'):
        preloaded.load()
    assert gc.isenabled()


def test_the_server_of_workers_is_given_modules_that_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it cannot import it leaves out without a word, and every worker would load LeRobot for itself."""
    given: list[str] = []
    monkeypatch.setattr(ForkServerContext, 'set_forkserver_preload', lambda _, names: given.extend(names))
    with start_engine('processes', 2, 2, None, lambda *_: None):
        pass
    assert given == [preloaded.__name__], 'the module that has been imported here'

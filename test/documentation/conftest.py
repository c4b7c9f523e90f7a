"""A folder in which the pages of a story are followed, one after the other."""

from pathlib import Path

import pytest

from documentation import Workspace


@pytest.fixture(scope='module')
def workspace(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    pytest.importorskip('restac_ros.msg', reason='the messages are not built: `make build`')
    return Workspace(tmp_path_factory.mktemp('reader'), repository)

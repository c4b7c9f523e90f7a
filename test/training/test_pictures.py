"""Pictures of the tables are mapped, not held: what a process reads of them is the system's to drop."""

import errno
import os
import pickle
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from restac_ros.training.data.episodes import Episodes, open_episodes
from restac_ros.training.data.tables import data_files
from restac_ros.training.errors import TrainingError


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go."""
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
    return tmp_path


def column_bytes(root: Path, column: str) -> int:
    return sum(pq.read_table(path, columns=[column]).nbytes for path in data_files(root))


def test_a_picture_leaves_the_column_out_of_the_memory_of_the_process(touch_data: Path, spool: Path) -> None:
    episodes = open_episodes(touch_data)
    assert episodes.tactile is not None
    size, before = column_bytes(touch_data, episodes.tactile), pa.total_allocated_bytes()
    image = episodes.tactile_image(2, 7)
    assert pa.total_allocated_bytes() - before < size / 2
    assert list(spool.iterdir()) == [], 'the file has no name that could stay behind'
    travelled = pickle.loads(pickle.dumps(episodes))
    np.testing.assert_array_equal(travelled.tactile_image(2, 7), image)


def test_files_and_row_groups_are_read_in_their_order(
    touch_data: Path, tmp_path: Path, spool: Path, episodes: Episodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch of pictures may end within an episode, a row group or a file."""
    episodes.tactile_image(0, 0)
    monkeypatch.setattr('restac_ros.training.data.tables._PICTURES_AT_ONCE', 7)
    read = open_episodes(touch_data)
    for span in read.tables.spans.values():
        for frame in range(0, span.length, 5):
            np.testing.assert_array_equal(
                read.tactile_image(span.index, frame), episodes.tactile_image(span.index, frame)
            )


def test_a_full_disk_is_refused_with_the_remedy(
    touch_data: Path, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    episodes = open_episodes(touch_data)
    monkeypatch.setattr(pa.ipc, 'new_file', full)
    with pytest.raises(TrainingError, match=rf'{spool}: the pictures of .*No space left.*TMPDIR'):
        episodes.tactile_image(0, 0)
    assert list(spool.iterdir()) == []

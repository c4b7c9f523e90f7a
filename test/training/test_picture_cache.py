"""Decoded images are made once, whoever starts at the same time, for all who may read the directory."""

import errno
import os
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from restac_ros.training.config import LoaderConfig
from restac_ros.training.data import picture_cache
from restac_ros.training.data.episodes import Episodes
from restac_ros.training.data.picture_cache import cache_key, with_cache, with_cache_of
from restac_ros.training.errors import TrainingError

_HOLD = """
import fcntl, sys, time
file = open(sys.argv[1], 'w')
fcntl.flock(file, fcntl.LOCK_EX)
print('held', flush=True)
time.sleep(600)
"""


class CountedPictures:
    """Pictures that count how often each is decoded."""

    def __init__(self, stored: Any) -> None:
        self._stored, self.reads = stored, Counter[tuple[str, int, int]]()

    def camera(self, column: str, span: Any, frame: int) -> Any:
        self.reads[column, span.index, frame] += 1
        return self._stored.camera(column, span, frame)

    def touch(self, column: str, span: Any, frame: int) -> Any:
        self.reads[column, span.index, frame] += 1
        return self._stored.touch(column, span, frame)


@pytest.fixture
def counted(episodes: Episodes) -> Episodes:
    return replace(episodes, pictures=CountedPictures(episodes.pictures))


def nothing(*_: object) -> None:
    pass


def test_of_two_that_start_together_one_decodes_and_the_other_waits(
    counted: Episodes, tmp_path: Path
) -> None:
    lines: list[str] = []
    begin = threading.Barrier(2)

    def make(_: int) -> Episodes:
        begin.wait()
        return with_cache(counted, tmp_path, 1, nothing, lines.append)

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(make, range(2))
    assert one.pictures == other.pictures
    assert set(counted.pictures.reads.values()) == {1}
    assert len(counted.pictures.reads) == len(counted.state) * len(counted.image_columns)
    (line,) = lines
    assert line.endswith(f'another process decodes its images into {tmp_path}: waiting for it')


def test_the_lock_of_a_process_that_dies_is_free_and_its_leftovers_go(
    counted: Episodes, tmp_path: Path
) -> None:
    key, waits = cache_key(counted), threading.Event()
    leftover = tmp_path / f'.{key}.making123'
    leftover.mkdir()
    (leftover / 'half.npy').touch()
    command = [sys.executable, '-c', _HOLD, str(tmp_path / f'.{key}.lock')]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder,
        ThreadPoolExecutor(1) as pool,
    ):
        assert holder.stdout is not None
        assert holder.stdout.readline() == 'held\n'
        made = pool.submit(with_cache, counted, tmp_path, 2, nothing, lambda _: waits.set())
        assert waits.wait(60)
        assert not counted.pictures.reads
        holder.kill()
        made.result(60)
    assert {path.name for path in tmp_path.iterdir()} == {key, f'.{key}.lock'}


def test_a_cache_is_as_open_to_others_as_the_umask_lets_it_be(episodes: Episodes, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with_cache(episodes, tmp_path, 2, nothing)
    finally:
        os.umask(before)
    folder = tmp_path / cache_key(episodes)
    assert folder.stat().st_mode & 0o777 == 0o750
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o640}


def test_a_disk_that_is_full_is_refused_with_the_remedy(
    episodes: Episodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr('os.posix_fallocate', full)
    with pytest.raises(TrainingError, match=r'No space left.*choose another directory as --loader\.cache'):
        with_cache(episodes, tmp_path, 2, nothing)
    assert [path.suffix for path in tmp_path.iterdir()] == ['.lock']


def test_a_directory_that_cannot_be_made_is_refused(episodes: Episodes, tmp_path: Path) -> None:
    (tmp_path / 'file').touch()
    with pytest.raises(TrainingError, match=r'cannot be written: .*choose another directory'):
        with_cache(episodes, tmp_path / 'file' / 'cache', 2, nothing)


def test_other_decoding_has_another_key(episodes: Episodes, monkeypatch: pytest.MonkeyPatch) -> None:
    before = cache_key(episodes)
    monkeypatch.setattr(picture_cache, '_DECODING', picture_cache._DECODING + 1)
    assert cache_key(episodes) != before


def test_data_sets_are_cached_where_the_loader_asks_for_it(counted: Episodes, tmp_path: Path) -> None:
    lines: list[str] = []
    assert with_cache_of(LoaderConfig(), [counted], lines.append) == [counted]
    (cached,) = with_cache_of(LoaderConfig(cache=tmp_path), [counted], lines.append)
    assert cached.pictures == picture_cache.CachedPictures(tmp_path / cache_key(counted))
    total = len(counted.state)
    assert lines[-1] == f'{counted.name}: {total} of {total} frames decoded into {tmp_path}'

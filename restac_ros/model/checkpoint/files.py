"""Directories that appear whole or not at all, and the sizes and checksums of what they hold."""

import contextlib
import os
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path

from restac_ros.git_lfs import what_it_is
from restac_ros.model.checkpoint.errors import CheckpointError
from restac_ros.whole_files import read_bounded

_BLOCK_BYTES = 8 << 20


def check_absent(path: Path) -> None:
    """Refuse a path that is taken: at once, not after the minutes that its content takes to make.

    Raises:
        CheckpointError: `path` exists.
    """
    if path.exists():
        raise CheckpointError(f'{path}: already exists and stays as it is. Choose another path or remove it')


@contextlib.contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """Yield a directory beside `path` that takes its name when the block ends well, and vanishes otherwise.

    Raises:
        CheckpointError: `path` exists.
    """
    path = Path(path).absolute()
    check_absent(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f'{path.name}.partial-{os.getpid()}')
    partial.mkdir()
    try:
        yield partial
        _flush(partial)
        partial.rename(path)  # fails, and keeps the other, if somebody else made `path` meanwhile
        _flush_directory(path.parent)
    finally:
        if partial.exists():
            shutil.rmtree(partial)


@contextlib.contextmanager
def replaced_directory(path: Path) -> Iterator[Path]:
    """Yield a directory that takes the place of the one at `path` when the block ends well.

    The old one is removed after that; should the machine stop between, it lies beside as `NAME.replaced-N`.
    """
    path = Path(path).absolute()
    fresh, aside = (path.with_name(f'{path.name}.{word}-{os.getpid()}') for word in ('new', 'replaced'))
    with new_directory(fresh) as partial:
        yield partial
    if path.exists():
        path.rename(aside)
    fresh.rename(path)
    _flush_directory(path.parent)
    if aside.exists():
        shutil.rmtree(aside)


def inventory(directory: Path, *, skip: str) -> dict[str, dict[str, int]]:
    """Size and CRC-32 of every file below `directory`, except the one named `skip` at the top."""
    files = sorted(path for path in directory.rglob('*') if path.is_file())
    return {
        path.relative_to(directory).as_posix(): {'size': path.stat().st_size, 'crc32': crc32(path)}
        for path in files
        if path != directory / skip
    }


def verify(directory: Path, listed: dict[str, dict[str, int]], *, checksums: bool) -> None:
    """Compare the files below `directory` with an inventory.

    Raises:
        CheckpointError: the first file that is missing, of another size or of another content.
    """
    root = directory.resolve()
    for relative, expected in listed.items():
        path = directory / relative
        if not path.resolve().is_relative_to(root):
            raise CheckpointError(f'{directory}: the inventory names {relative!r}, outside of the checkpoint')
        if not path.is_file():
            raise CheckpointError(f'{path}: missing. The checkpoint is incomplete; copy it again')
        if path.stat().st_size != expected['size']:
            raise CheckpointError(
                f'{path}: found {path.stat().st_size} bytes, expected {expected["size"]}. '
                f'The file is truncated or changed ({what_it_is(path)}); copy the checkpoint again'
            )
        if checksums and crc32(path) != expected['crc32']:
            raise CheckpointError(
                f'{path}: content does not match its checksum. The file is damaged; copy the checkpoint again'
            )


def crc32(path: Path) -> int:
    """CRC-32 of a file, read in blocks."""
    value = 0
    with path.open('rb') as stream:
        while block := stream.read(_BLOCK_BYTES):
            value = zlib.crc32(block, value)
    return value


def read_small(path: Path, max_bytes: int) -> bytes:
    """Read a file that is expected to be small.

    Raises:
        CheckpointError: missing, or larger than `max_bytes`.
    """
    remedy = 'the checkpoint is incomplete or damaged: copy it again'
    return read_bounded(path, max_bytes, CheckpointError, remedy=remedy)


def _flush(directory: Path) -> None:
    """Ask the operating system to put every file and directory below on disk before the rename."""
    for path in directory.rglob('*'):
        if path.is_file():
            with path.open('rb') as stream:
                os.fsync(stream.fileno())
        else:
            _flush_directory(path)


def _flush_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""A directory that changes as a whole or not at all, whatever stops the program that changes it.

The new state is built beside the old one, sharing unchanged files by hard links (copies where there are
none), and then takes its place in one step. What an interrupted attempt has left is removed by the next.
"""

import ctypes
import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from restac_ros.dataset.bag.rosbag2_layout import sync_path
from restac_ros.dataset.dataset_place import dataset_place, link_or_copy, remove_directory
from restac_ros.dataset.errors import DatasetError

AT_FDCWD = -100
RENAME_EXCHANGE = 2
NO_EXCHANGE = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP}  # old kernels, some network file systems


@contextmanager
def transaction(root: Path, is_rewritten: Callable[[str], bool]) -> Iterator[Path]:
    """Give a copy of `root` to change; on leaving without an exception the copy becomes `root`.

    The copy does not exist yet where `root` is absent or empty; one that was removed changes nothing.
    What decides the change is read from the copy: before it is there, another process may still write `root`.
    `is_rewritten(relative path)` names the files that may be changed in place and are therefore copied; all
    others are hard links, which may be removed or replaced, but must not be opened for writing.

    Raises:
        DatasetError: another process has a transaction on `root`, it is a file, or holds linked directories.
    """
    root = dataset_place(root)
    staging, previous = (root.with_name(f'.{root.name}.{kind}') for kind in ('staging', 'previous'))
    with writing_lock(root):
        _remove_leftovers(root, staging, previous)
        if root.exists() and not root.is_dir():
            raise DatasetError(f'{root} is a file. Give a directory, or a name that is still free.')
        try:
            if not _is_free(root):
                _share(root, staging, is_rewritten)
            yield staging
            if staging.exists():
                _sync_new_files(staging)
                _put_in_place(staging, root, previous)
        finally:
            _remove_leftovers(root, staging, previous)


@contextmanager
def writing_lock(root: Path) -> Iterator[None]:
    """Lock out other writers until this block, or the process, ends; refuse while there is another."""
    root.parent.mkdir(parents=True, exist_ok=True)
    with root.with_name(f'.{root.name}.lock').open('a+') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            owner = file.read().strip() or 'unknown'
            raise DatasetError(f'{root} is being written by process {owner}: wait, or stop it.') from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def shards_lock(root: Path) -> AbstractContextManager[None]:
    """Lock a data set for one program that changes it in several steps."""
    return writing_lock(root.with_name(f'{root.name}.shards'))


def directory_state(root: Path) -> tuple[int, int, int]:
    """Return what is another after every transaction on `root`: inode, and times of changes in ns."""
    state = root.stat()
    return state.st_ino, state.st_mtime_ns, state.st_ctime_ns


def _is_free(root: Path) -> bool:
    return not root.exists() or not any(root.iterdir())


def _remove_leftovers(root: Path, staging: Path, previous: Path) -> None:
    """Undo what an unfinished attempt has left; `root` is whole before and after each step."""
    if previous.exists() and not root.exists():
        previous.rename(root)
    for leftover in (staging, previous):
        remove_directory(leftover)


def _share(root: Path, staging: Path, is_rewritten: Callable[[str], bool]) -> None:
    def copy(source: str, target: str) -> None:
        if is_rewritten(Path(source).relative_to(root).as_posix()):
            shutil.copy2(source, target)
        else:
            link_or_copy(source, target)

    for folder, names, _ in os.walk(root):
        if linked := next((path for name in names if (path := Path(folder, name)).is_symlink()), None):
            raise DatasetError(
                f'{linked} is a link to {os.readlink(linked)}: what is written there could not be undone. '
                'Move the data set as a whole, and make a link to it.'
            )
    shutil.copytree(root, staging, copy_function=copy)


def _sync_new_files(staging: Path) -> None:
    """Files must reach the disk before the name that makes them valid does."""
    for folder, _, names in os.walk(staging):
        for name in names:
            path = Path(folder, name)
            if not path.is_symlink() and path.stat().st_nlink == 1:
                sync_path(path)
        sync_path(Path(folder))


def _put_in_place(staging: Path, root: Path, previous: Path) -> None:
    """Exchange the directories in one step; where the system can't, in two that the next call can undo."""
    if _is_free(root):
        staging.rename(root)
    elif not exchange(staging, root):
        root.rename(previous)
        staging.rename(root)
    sync_path(root.parent)


def exchange(one: Path, other: Path) -> bool:
    """Swap two directories atomically (renameat2, Linux 3.15); return False where the file system can't."""
    library = ctypes.CDLL(None, use_errno=True)
    if library.renameat2(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in NO_EXCHANGE:
        return False
    raise OSError(code, os.strerror(code), str(one), None, str(other))

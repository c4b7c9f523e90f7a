"""Files of videos held open: few enough for what the process may open, however many files and threads."""

import os
import resource
import threading
import weakref
from pathlib import Path
from typing import NamedTuple, Self

from restac_ros.training.errors import TrainingError

_MOST_FILES = 1 << 16  # where the system sets no lower limit
_POOLS: weakref.WeakSet['OpenFiles'] = weakref.WeakSet()
_CHANGING = threading.Lock()


def open_file_limit() -> int:
    """Files that this process may open; its soft limit is raised to the hard one, as far as is reasonable."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limits = [_MOST_FILES if limit == resource.RLIM_INFINITY else limit for limit in (soft, hard)]
    wanted = min(limits[1], _MOST_FILES)
    if limits[0] < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):  # some sandboxes forbid it
            return limits[0]
    return wanted


def share_of_files() -> int:
    """Files that all descriptors of the process together may hold open, and as many all containers."""
    return max(1, open_file_limit() // 4)


class FileIdentity(NamedTuple):
    """What tells a file from another that has taken its path: size in bytes, and time of writing in ns.

    An inode would not do: where there are no hard links, appending copies all files and keeps only these.
    """

    size: int
    written_ns: int

    @classmethod
    def of(cls, file: Path | int) -> Self:
        """Read that of a path or a descriptor."""
        state = os.stat(file)
        return cls(state.st_size, state.st_mtime_ns)

    def check(self, path: Path, file: Path | int) -> None:
        """Refuse another file at the path.

        Raises:
            TrainingError: another program has replaced it, or written to it.
            OSError: there is none.
        """
        if FileIdentity.of(file) != self:
            raise TrainingError(
                f'{path} is another file than when the data set was opened: the data set was changed '
                'while it is read: start again'
            )


class OpenFile:
    """A file to read from at any place, by any thread; closed when nothing refers to it any more."""

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        # A __del__ would run after its modules are gone when the interpreter ends, which closes files itself.
        weakref.finalize(self, os.close, self.descriptor).atexit = False


class OpenFiles:
    """Open files by path, for all threads that read one data set.

    Those of all data sets together keep to `share_of_files`: the fullest lets go what it opened longest ago,
    which is closed when no thread reads from it any more.
    """

    def __init__(self) -> None:
        self._kept: dict[Path, OpenFile] = {}
        with _CHANGING:
            _POOLS.add(self)

    def get(self, path: Path, identity: FileIdentity) -> OpenFile:
        """Return the open file of a path.

        Raises:
            TrainingError: it is another one than that of this identity.
            OSError: it cannot be opened.
        """
        with _CHANGING:
            if path not in self._kept:
                _make_room()
                opened = OpenFile(path)
                identity.check(path, opened.descriptor)
                self._kept[path] = opened
            return self._kept[path]


def _make_room() -> None:
    most = share_of_files()
    while sum(len(pool._kept) for pool in _POOLS) >= most:
        kept = max((pool._kept for pool in _POOLS), key=len)
        del kept[next(iter(kept))]

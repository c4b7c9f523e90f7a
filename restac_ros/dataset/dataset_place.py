"""Resolves where a data set lies, and links files into several directories."""

import errno
import os
import shutil
from pathlib import Path

from restac_ros.dataset.errors import DatasetError

PATTERN_CHARACTERS = '*?[]'  # the library `datasets` reads file names with them as patterns
# Another file system, or one without hard links (exFAT, some network shares), or one link too many.
NO_LINK = {
    errno.EACCES,
    errno.EINVAL,
    errno.EMLINK,
    errno.ENOSYS,
    errno.ENOTSUP,
    errno.EPERM,
    errno.EXDEV,
}


def dataset_place(path: Path | str) -> Path:
    """Return the absolute path of a data set, with `~` and all symbolic links followed.

    A data set is replaced as a whole: were a link to it replaced, it would be split in two.

    Raises:
        DatasetError: LeRobot cannot open a data set of that name, or a link leads to a disk that is absent.
    """
    given = Path(path).expanduser().absolute()
    for part in (given, *given.parents):
        if part.is_symlink() and not part.exists() and not Path(os.path.realpath(part)).parent.is_dir():
            raise DatasetError(
                f'{part} is a link to {os.readlink(part)}, whose directory does not exist: mount the disk, '
                'or correct the link.'
            )
    place = Path(os.path.realpath(given))
    if found := [character for character in PATTERN_CHARACTERS if character in str(place)]:
        raise DatasetError(
            f'{place} contains {" ".join(found)}: LeRobot reads such names as patterns and cannot open the '
            'data set. Rename the directory, or give another path.'
        )
    return place


def link_or_copy(source: Path | str, target: Path | str) -> None:
    """Make `target`, which must not exist, the same file as `source`; a copy where no link is possible."""
    original = os.path.realpath(source)
    try:
        os.link(original, target)
    except OSError as error:
        if error.errno not in NO_LINK:
            raise
        shutil.copy2(original, target)


def remove_directory(path: Path) -> None:
    """Remove a directory with all it holds, if there is one; of a link only the link."""
    if path.is_symlink():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)

"""Finds what an interrupted writer has left: LeRobot inside a data set, conversions of ours beside it."""

from pathlib import Path

from restac_ros.dataset.dataset_place import dataset_place
from restac_ros.dataset.transaction import writing_lock

TEMPORARY = {'.png', '.tiff', '.mp4'}
BESIDE = ('staging', 'previous', 'shards')


def find_leftovers(root: Path) -> list[Path]:
    """Find directories of temporary files.

    Raises:
        DatasetError: a living process writes the data set.
    """
    for locked in (root, root.with_name(f'{root.name}.shards')):
        if locked.with_name(f'.{locked.name}.lock').exists():
            with writing_lock(locked):
                pass
    beside = [root.with_name(f'.{root.name}.{kind}') for kind in BESIDE]
    inside = [root / 'images', *sorted(root.glob('tmp*'))]
    return [path for path in beside if path.is_dir() or path.is_symlink()] + [
        path for path in inside if _is_temporary(path)
    ]


def _is_temporary(path: Path) -> bool:
    """Return whether a directory holds only LeRobot's pictures to encode, or videos to move."""
    if not path.is_dir():
        return False
    suffixes = {file.suffix for file in path.rglob('*') if file.is_file()}
    return bool(suffixes) and suffixes <= TEMPORARY  # empty ones it leaves in whole data sets too


def restore_interrupted(root: Path) -> bool:
    """Give a data set its name back that an interrupted write had taken; return whether it had.

    That can only happen where the file system cannot exchange directories.
    """
    root = dataset_place(root)
    previous = root.with_name(f'.{root.name}.previous')
    if root.exists() or not previous.is_dir():
        return False
    with writing_lock(root):
        previous.rename(root)
    return True

"""Recognises what a clone without git-lfs holds instead of large files."""

from pathlib import Path

POINTER = b'version https://git-lfs'


def pointer_fault(path: Path) -> str:
    """What to do when a file is a Git LFS pointer, as the end of a sentence on it; '' when it is none."""
    try:
        with path.open('rb') as file:
            is_pointer = file.read(len(POINTER)) == POINTER
    except OSError:
        return ''
    return 'is a Git LFS pointer, not the file itself: bring it with `git lfs pull`' if is_pointer else ''

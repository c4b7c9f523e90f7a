"""Pointers that `git clone` leaves in place of files where Git LFS is absent."""

from pathlib import Path

SIGNATURE = b'version https://git-lfs'
POINTER = 'it is a Git LFS pointer'


def what_it_is(path: Path) -> str:
    """Return what a file that cannot be read begins with, or that it is a pointer, with the remedy."""
    try:
        with path.open('rb') as file:
            head = file.read(len(SIGNATURE))
    except OSError as error:
        return f'it cannot be opened ({error.strerror})'
    if head == SIGNATURE:
        return f'{POINTER}, not the content: run `git lfs pull` in {path.parent}'
    return f'it begins with {head[:8]!r}'

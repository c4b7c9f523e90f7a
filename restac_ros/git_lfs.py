"""Recognises the pointers that a clone without Git LFS holds in place of large files."""

from pathlib import Path

POINTER = b'version https://git-lfs'


def pointer_fault(path: Path) -> str:
    """Return the end of a sentence on a file that is a Git LFS pointer, with the remedy; else ''."""
    if _head(path) != POINTER:
        return ''
    return 'is a Git LFS pointer, not the file itself: bring it with `git lfs pull`'


def what_it_is(path: Path) -> str:
    """Return a clause on a file that cannot be read: it is a pointer, or what it begins with."""
    return f'it {pointer_fault(path) or f"begins with {_head(path)[:8]!r}"}'


def _head(path: Path) -> bytes:
    try:
        with path.open('rb') as file:
            return file.read(len(POINTER))
    except OSError:
        return b''

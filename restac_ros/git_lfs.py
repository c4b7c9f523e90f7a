"""Recognises what a clone without Git LFS holds in place of large files."""

from pathlib import Path

POINTER = b'version https://git-lfs'


def pointer_fault(path: Path) -> str:
    """What to do when a file is a Git LFS pointer, as the end of a sentence on it; '' when it is none."""
    if _head(path) != POINTER:
        return ''
    return 'is a Git LFS pointer, not the file itself: bring it with `git lfs pull`'


def what_it_is(path: Path) -> str:
    """What a file that cannot be read is, in a clause on 'it': a pointer, or what it begins with."""
    return f'it {pointer_fault(path) or f"begins with {_head(path)[:8]!r}"}'


def _head(path: Path) -> bytes:
    try:
        with path.open('rb') as file:
            return file.read(len(POINTER))
    except OSError:
        return b''

"""Recognises a recording by what its files hold, wherever they lie and whatever they are called."""

import hashlib
from pathlib import Path

_ENDINGS = ('.mcap', '.db3', '.zstd')
_BLOCK_BYTES = 64 * 1024
BLOCKS = 64  # per file, evenly spaced from its first to its last byte: 4 MiB of any size


def fingerprint(path: Path, start_ns: int | None = None, end_ns: int | None = None) -> str:
    """Return SHA-256 over the sizes and samples of a bag's files; the times, when given, follow it.

    Raises:
        OSError: a file cannot be read.
    """
    total = hashlib.sha256()
    for file in bag_files(path):
        size = file.stat().st_size
        total.update(f'{size}\n'.encode())
        last = max(0, size - _BLOCK_BYTES)
        with file.open('rb') as stream:
            for offset in sorted({last * block // (BLOCKS - 1) for block in range(BLOCKS)}):
                stream.seek(offset)
                total.update(stream.read(_BLOCK_BYTES))
    part = '' if start_ns is None and end_ns is None else f':{start_ns}-{end_ns}'
    return total.hexdigest() + part


def bag_files(path: Path) -> list[Path]:
    """Return the files that hold a bag's messages, by size and then name."""
    if path.is_file():
        return [path]
    files = [file for file in path.iterdir() if file.name.endswith(_ENDINGS) and file.is_file()]
    return sorted(files, key=lambda file: (file.stat().st_size, file.name))

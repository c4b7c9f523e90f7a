"""Recognises a recording by what its files hold, wherever they lie and whatever they are called."""

import hashlib
import json
from pathlib import Path

from restac_ros.dataset.dataset_files import ABOUT

DELETED = 'deleted.json'  # in our folder of a data set
_ENDINGS = ('.mcap', '.db3', '.zstd')
_BLOCK_BYTES = 64 * 1024
BLOCKS = 64  # per file, evenly spaced from its first to its last byte: 4 MiB of any size


def fingerprint(path: Path, start_ns: int | None = None, end_ns: int | None = None) -> str:
    """SHA-256 over the sizes and samples of a bag's files; the times, when given, stand behind it.

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
    """The files that hold a bag's messages, by size and then name: its name in the directory is free."""
    if path.is_file():
        return [path]
    files = [file for file in path.iterdir() if file.name.endswith(_ENDINGS) and file.is_file()]
    return sorted(files, key=lambda file: (file.stat().st_size, file.name))


def converted_recordings(root: Path) -> dict[str, int]:
    """Which recordings a data set holds: episode by fingerprint."""
    found = {}
    for file in sorted((root / ABOUT / 'episodes').glob('episode_*.json')):
        about = json.loads(file.read_text(encoding='utf-8'))
        if about.get('fingerprint'):
            found[about['fingerprint']] = about['episode_index']
    return found


def deleted_recordings(root: Path) -> set[str]:
    """Fingerprints of recordings whose episodes were deleted from a data set."""
    path = root / ABOUT / DELETED
    return set(json.loads(path.read_text(encoding='utf-8'))['fingerprints']) if path.is_file() else set()

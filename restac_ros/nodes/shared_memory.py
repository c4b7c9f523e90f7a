"""Removes shared memory segments, 64 MiB each, that killed processes left behind."""

import fcntl
import re
import time
from pathlib import Path

SHARED_MEMORY = Path('/dev/shm')
SETTLED_S = 60.0  # a starting process creates its lock file before it locks it
_LOCK_FILE = re.compile(r'fastrtps_[0-9a-f]{16}_el')


def remove_dead_segments(directory: Path = SHARED_MEMORY, settled_s: float = SETTLED_S) -> int:
    """Remove Fast DDS segments whose owner is dead; return the freed bytes.

    A living owner holds a lock on the file NAME_el beside its segment NAME; the kernel drops the lock when
    the owner dies, however it dies. Segments of other users are left alone.
    """
    freed = 0
    for lock_file in sorted(directory.glob('fastrtps_*_el')):
        if _LOCK_FILE.fullmatch(lock_file.name):
            freed += _remove_if_dead(lock_file, settled_s)
    return freed


def _remove_if_dead(lock_file: Path, settled_s: float) -> int:
    segment = lock_file.with_name(lock_file.name.removesuffix('_el'))
    try:
        if time.time() - lock_file.stat().st_mtime < settled_s:
            return 0
        with lock_file.open('rb') as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            size = segment.stat().st_size
            segment.unlink()
            lock_file.unlink()
            return size
    except OSError:  # locked, another user's, or removed meanwhile
        return 0

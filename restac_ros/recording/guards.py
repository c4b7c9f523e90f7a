"""Guards disk and memory: a recording is ended in order before either runs out."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import psutil

from restac_ros.dataset.errors import JournalError
from restac_ros.dataset.journal import check_free_disk


def available_memory_bytes() -> int:
    """Memory that programs can use without swapping, by the kernel's estimate."""
    return int(psutil.virtual_memory().available)


class Room(NamedTuple):
    """Free disk, and shortages of disk and memory with their remedy; '' while there is enough."""

    free_disk_bytes: int
    disk_shortage: str
    memory_shortage: str

    @property
    def shortage(self) -> str:
        """The first shortage, or ''."""
        return self.disk_shortage or self.memory_shortage


class Guards:
    """The least disk and memory that must be free, in bytes; 0 switches a guard off."""

    def __init__(
        self,
        directory: Path,
        min_disk_bytes: int,
        min_memory_bytes: int,
        free_disk: Callable[[Path, int], int] = check_free_disk,
        available_memory: Callable[[], int] = available_memory_bytes,
    ) -> None:
        """Guard the disk of `directory`; `free_disk` raises JournalError when there is less than asked."""
        self._directory = directory
        self._min_disk_bytes, self._min_memory_bytes = min_disk_bytes, min_memory_bytes
        self._free_disk, self._available_memory = free_disk, available_memory

    def check(self) -> Room:
        """How much disk is free, and what is short."""
        free_bytes = self._free_disk(self._directory, 0)
        try:
            self._free_disk(self._directory, self._min_disk_bytes)
        except JournalError as error:
            return Room(free_bytes, str(error), self._memory_shortage())
        return Room(free_bytes, '', self._memory_shortage())

    def _memory_shortage(self) -> str:
        if not self._min_memory_bytes:
            return ''
        if (available := self._available_memory()) >= self._min_memory_bytes:
            return ''
        needed = f'{self._min_memory_bytes / 1e9:.2f} GB needed (min_free_memory_gb)'
        return f'{available / 1e9:.2f} GB of memory left of {needed}. End other programs.'

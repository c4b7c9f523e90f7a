"""A disk that is small, full or read-only: a tmpfs where we may mount one, else limits and permissions."""

import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

FILLER = 'filler'


@dataclass(frozen=True)
class SmallDisk:
    """Where it lies, and whether it is a file system of its own."""

    path: Path
    is_mounted: bool

    def fill(self, leave_bytes: int) -> None:
        """Leave so much room, if it is a file system of its own."""
        if self.is_mounted:
            size = max(0, shutil.disk_usage(self.path).free - leave_bytes)
            with (self.path / FILLER).open('wb') as file:
                os.posix_fallocate(file.fileno(), 0, size)

    def make_room(self) -> None:
        """Undo `fill`."""
        (self.path / FILLER).unlink(missing_ok=True)

    def limit(self, pid: int, file_bytes: int) -> None:
        """Let a process write no file larger than that, where the disk itself cannot be full."""
        if not self.is_mounted:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (file_bytes, resource.RLIM_INFINITY))

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """While the block lasts nothing can be written; undone afterwards."""
        self._allow_writing(False)
        try:
            yield
        finally:
            self._allow_writing(True)

    def _allow_writing(self, allowed: bool) -> None:
        if self.is_mounted:
            option = f'remount,{"rw" if allowed else "ro"}'
            subprocess.run(['mount', '-o', option, str(self.path)], check=True, capture_output=True)
            return
        for folder, _, files in os.walk(self.path):
            os.chmod(folder, 0o755 if allowed else 0o555)
            for name in files:
                os.chmod(Path(folder, name), 0o644 if allowed else 0o444)


@contextmanager
def small_disk(path: Path, size_bytes: int) -> Iterator[SmallDisk]:
    """A new, empty disk at `path`; gone afterwards."""
    path.mkdir(parents=True)
    line = ['mount', '-t', 'tmpfs', '-o', f'size={size_bytes}', 'restac-bench', str(path)]
    mounted = os.geteuid() == 0 and subprocess.run(line, check=False, capture_output=True).returncode == 0
    try:
        yield SmallDisk(path, mounted)
    finally:
        if mounted:
            subprocess.run(['umount', '--lazy', str(path)], check=True, capture_output=True)

"""Measures the machine that will record: disk, memory, shared memory."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import psutil

from restac_ros.model.device import policy_device
from restac_ros.runtime.doctor_checks import MachineSeen

_SHARED_MEMORY = Path('/dev/shm')
_BLOCK_BYTES = 2**20


def measure_machine(journal_dir: Path | None, write_bytes: int, steady_ns: Callable[[], int]) -> MachineSeen:
    """Measure the machine; the disk only where a journal directory is given. No file is left."""
    speed, free, problem = None, None, ''
    if journal_dir is not None:
        folder = next(each for each in [journal_dir, *journal_dir.absolute().parents] if each.is_dir())
        try:
            free = shutil.disk_usage(folder).free
            speed = _write_speed(folder, min(write_bytes, free // 2), steady_ns)
        except OSError as error:
            problem = f'{folder} cannot be written: {error.strerror or error}'
    device = policy_device()
    return MachineSeen(
        journal_dir=str(journal_dir or ''),
        write_bytes_per_s=speed,
        disk_free=free,
        disk_problem=problem,
        ram_available=psutil.virtual_memory().available,
        shared_memory_free=shutil.disk_usage(_SHARED_MEMORY).free if _SHARED_MEMORY.is_dir() else None,
        device=device.name,
        device_problem=device.problem,
        device_remedy=device.remedy,
    )


def _write_speed(folder: Path, size: int, steady_ns: Callable[[], int]) -> float:
    """Measure the speed of writing a temporary file to the disk, bytes/s."""
    block = os.urandom(_BLOCK_BYTES)  # random, as zeros would be fast on a compressing file system
    count = max(1, size // _BLOCK_BYTES)
    with tempfile.TemporaryFile(dir=folder) as file:
        begun_ns = steady_ns()
        for _ in range(count):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
        return count * _BLOCK_BYTES * 1e9 / max(steady_ns() - begun_ns, 1)

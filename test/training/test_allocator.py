"""Memory of a training step is kept for the next one."""

import subprocess
import sys

FREED_AND_ASKED_FOR_AGAIN = """
import ctypes, resource
from restac_ros.training.allocator import keep_freed_memory

keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
size = 100 << 20


def faults_of_a_step():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = libc.malloc(size)
    ctypes.memset(block, 1, size)
    libc.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


print(faults_of_a_step(), faults_of_a_step())
"""


def test_what_a_step_frees_is_not_returned_to_the_kernel() -> None:
    found = subprocess.run(
        [sys.executable, '-c', FREED_AND_ASKED_FOR_AGAIN], check=True, capture_output=True, text=True
    )
    first, second = (int(word) for word in found.stdout.split())
    assert second < first / 4

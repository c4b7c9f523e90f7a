"""Memory of a training step is kept for the next one."""

import ctypes
import subprocess
import sys

import pytest

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


def is_possible() -> bool:
    """Whether the C library keeps so large blocks; asking a process of its own changes nothing here."""
    asking = 'import ctypes, sys; sys.exit(not ctypes.CDLL(None).mallopt(-3, 2**31 - 1))'
    return (
        hasattr(ctypes.CDLL(None), 'mallopt')
        and not subprocess.run([sys.executable, '-c', asking]).returncode
    )


@pytest.mark.skipif(not is_possible(), reason='needs glibc 2.35 or newer')
def test_what_a_step_frees_is_not_returned_to_the_kernel() -> None:
    found = subprocess.run(
        [sys.executable, '-c', FREED_AND_ASKED_FOR_AGAIN], check=True, capture_output=True, text=True
    )
    first, second = (int(word) for word in found.stdout.split())
    assert second < first / 4

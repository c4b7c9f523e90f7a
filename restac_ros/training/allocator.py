"""What the C library does with memory that a training step frees."""

import ctypes

import jax

# Parameters of mallopt(3), as numbered by glibc.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_LARGEST = 2**31 - 1


def keep_freed_memory() -> None:
    """Keep what one step frees for the next one, in the whole process, where steps are computed on the CPU.

    There, XLA allocates the buffers of every step anew. By default glibc returns large ones to the kernel,
    which clears each page again: some 50,000 page faults a second, a sixth of the time of a small network.
    The process keeps the most that it ever needed. Nothing happens without glibc 2.35 or newer, whose bounds
    have room for such blocks.
    """
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    if jax.default_backend() != 'cpu' or mallopt is None or not mallopt(_MMAP_THRESHOLD, _LARGEST):
        return
    mallopt(_ARENA_MAX, 1)  # the others' blocks are bounded by 64 MiB, above which nothing is kept
    mallopt(_TRIM_THRESHOLD, _LARGEST)

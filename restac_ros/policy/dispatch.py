"""Room for three calls at once on the CPU, and for others on a GPU."""

import os

import jax

PREALLOCATE = 'XLA_PYTHON_CLIENT_PREALLOCATE'
POOL_SIZE = 'PJRT_NPROC'  # environment variable that XLA reads when JAX is first used


def make_room_for_calls() -> None:
    """Keep the three calls from waiting for each other, in the whole process.

    XLA's pool has as many threads as there are cores, and a call under way may hold one until it ends: on two
    cores a prefix and a chunk hold up every tactile frame meanwhile. So there is one thread more, which the
    system shares the cores with, and a call's work begins in the thread that calls instead of in the pool.
    Accelerators have queues of their own; there, memory is allocated when needed, not three quarters at once.

    Takes effect only before JAX is first used; what the environment sets is kept.
    """
    os.environ.setdefault(PREALLOCATE, 'false')
    os.environ.setdefault(POOL_SIZE, str(len(os.sched_getaffinity(0)) + 1))
    jax.config.update('jax_cpu_enable_async_dispatch', False)

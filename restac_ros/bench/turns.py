"""Calls timed in turn: what else runs on the machine slows neighbours alike."""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax


class Spent(NamedTuple):
    """Time of one call. `cpu_s` counts all threads of this process: a busy machine changes it less."""

    wall_s: float
    cpu_s: float


def in_turns(calls: Sequence[Callable[[], Any]], rounds: int, warm_ups: int = 0) -> list[tuple[Spent, ...]]:
    """Return the duration of each call in each round after the warm-ups; JAX results are awaited."""
    return [tuple(map(spent, calls)) for _ in range(warm_ups + rounds)][warm_ups:]


def spent(call: Callable[[], Any]) -> Spent:
    """Call once and return the time that it took."""
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    jax.block_until_ready(call())
    return Spent(time.perf_counter() - wall_s, time.process_time() - cpu_s)

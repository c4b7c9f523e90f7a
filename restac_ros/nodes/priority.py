"""Threads of lower priority, so that on few cores computing does not delay messages."""

import os
import threading
from collections.abc import Callable


def lower_priority(niceness: int) -> None:
    """Lower the priority of the calling thread and of those it starts (Linux: nice value per thread)."""
    thread = threading.get_native_id()
    os.setpriority(os.PRIO_PROCESS, thread, max(niceness, os.getpriority(os.PRIO_PROCESS, thread)))


def call_niced[T](niceness: int, action: Callable[[], T]) -> T:
    """Call `action` in a thread of lower priority and wait for it; its exception is raised here.

    Thread pools that libraries create meanwhile inherit the priority, and keep it.
    """
    results: list[T] = []
    failures: list[BaseException] = []

    def run() -> None:
        lower_priority(niceness)
        try:
            results.append(action())
        except BaseException as failure:  # noqa: BLE001  raised again in the caller's thread
            failures.append(failure)

    thread = threading.Thread(target=run, name='niced')
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]

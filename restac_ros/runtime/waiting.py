"""How the loops wait: the threads and events that they are made of, handed in as the clocks are."""

import threading
from collections.abc import Callable
from typing import NamedTuple, Protocol


class WakeEvent(Protocol):
    """What a thread waits for; `threading.Event` is one."""

    def set(self) -> None:
        """Wake all waiting threads."""

    def clear(self) -> None:
        """Have the next to wait wait."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, or for `timeout` seconds; return whether it is set."""


class WorkerThread(Protocol):
    """A thread that can be started once; `threading.Thread` is one."""

    @property
    def ident(self) -> int | None: ...

    def start(self) -> None: ...

    def is_alive(self) -> bool: ...

    def join(self) -> None: ...


class Waiting(NamedTuple):
    """Makes events and threads.

    Attributes:
        event: returns a new event, not set.
        thread: returns a thread of this name that will run the function.
    """

    event: Callable[[], WakeEvent]
    thread: Callable[[str, Callable[[], None]], WorkerThread]


def _system_thread(name: str, run: Callable[[], None]) -> threading.Thread:
    return threading.Thread(target=run, name=name, daemon=True)


SYSTEM_WAITING = Waiting(threading.Event, _system_thread)
"""The operating system's, which wait in real time."""

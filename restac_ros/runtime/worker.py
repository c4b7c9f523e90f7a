"""A thread that repeats one step and reports its failure."""

import traceback
from collections.abc import Callable
from pathlib import Path

from restac_ros.runtime.waiting import SYSTEM_WAITING, Waiting


class Worker:
    """Calls `step` repeatedly until stopped; `step` begins with `wait`.

    An exception of `step` ends the worker: its traceback goes to stderr, a sentence to `on_failure`.
    """

    def __init__(
        self,
        name: str,
        step: Callable[[], None],
        on_failure: Callable[[str], None],
        waiting: Waiting = SYSTEM_WAITING,
    ) -> None:
        self.name = name
        self.wake = waiting.event()
        self.stopping = False
        self._step = step
        self._on_failure = on_failure
        self._thread = waiting.thread(name, self._run)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wait(self, timeout_s: float | None = None) -> None:
        """Wait until `wake` is set, and clear it, or until the time is over. Check `stopping` afterwards."""
        self.wake.wait(timeout_s)
        self.wake.clear()

    def ask_to_stop(self) -> None:
        """Begin no further step; `join` waits for the running one."""
        self.stopping = True
        self.wake.set()

    @property
    def is_alive(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._thread.is_alive()

    def join(self) -> None:
        """Wait until the thread has ended, if it was ever started."""
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        _name_thread(self.name)
        try:
            while not self.stopping:
                self._step()
        except Exception as error:  # noqa: BLE001  no failure of a thread may be silent
            traceback.print_exc()
            self._on_failure(f'{self.name} failed: unexpected {type(error).__name__}: {error}')


def _name_thread(name: str) -> None:
    """Name the calling thread for `top -H` and the benchmarks, which Python 3.12 does not do."""
    Path('/proc/thread-self/comm').write_text(name[:15], encoding='ascii')

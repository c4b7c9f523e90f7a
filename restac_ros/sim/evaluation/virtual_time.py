"""Threads in simulated time: one at a time runs, and waiting costs simulated time only.

So the loops of `runtime/`, which are threads, run unchanged and with the same result on any machine: the next
to run is always the one that is due first, and of several the one that began to wait first.
"""

import heapq
import itertools
import threading
from collections.abc import Callable

from restac_ros.runtime.waiting import Waiting


class StuckError(RuntimeError):
    """A simulated thread waits for something that no other thread will do."""


class VirtualTime:
    """Time in ns, moved by `run_until`, which, like `join`, is called by the thread that made it."""

    def __init__(self, start_ns: int) -> None:
        self._now_ns = start_ns
        self._due: list[tuple[int, int, SimulatedThread, int]] = []
        self._numbers = itertools.count()
        self._running: SimulatedThread | None = None
        self._handed_back = threading.Semaphore(0)

    def now_ns(self) -> int:
        """Return the time."""
        return self._now_ns

    @property
    def waiting(self) -> Waiting:
        """Makes events and threads of this time."""
        return Waiting(lambda: SimulatedEvent(self), lambda name, run: SimulatedThread(self, name, run))

    def run_until(self, time_ns: int) -> None:
        """Let all threads run that are due by `time_ns`, which is the time afterwards."""
        while self._due and self._due[0][0] <= time_ns:
            self.run_next()
        self._now_ns = max(self._now_ns, time_ns)

    def run_next(self) -> None:
        """Let the thread run that is due next, until it waits or ends.

        Raises:
            StuckError: none is due.
        """
        if not self._due:
            raise StuckError('every simulated thread waits for an event that nobody sets')
        due_ns, _, thread, turn = heapq.heappop(self._due)
        if turn != thread.turns:  # something else has woken it since
            return
        self._now_ns = max(self._now_ns, due_ns)
        self._running = thread
        thread.turns += 1
        thread.go.release()
        try:
            self._handed_back.acquire()
        except BaseException:  # an interrupt: two threads must not run at once, also while all are stopped
            self._handed_back.acquire()
            raise
        finally:
            self._running = None

    def sleep(self, duration_ns: int) -> None:
        """Wait in the calling simulated thread."""
        self.wake_at(self._now_ns + duration_ns, self.running)
        self.hand_back()

    @property
    def running(self) -> 'SimulatedThread':
        """The simulated thread that runs: the caller's.

        Raises:
            StuckError: the caller is none.
        """
        if self._running is None:
            raise StuckError('only a simulated thread can wait in simulated time')
        return self._running

    def wake_at(self, time_ns: int, thread: 'SimulatedThread') -> None:
        """Let a thread that waits run at `time_ns`, unless it is woken earlier."""
        heapq.heappush(self._due, (time_ns, next(self._numbers), thread, thread.turns))

    def hand_back(self) -> None:
        """Wait in the calling simulated thread until it is woken."""
        thread = self.running
        self._handed_back.release()
        thread.go.acquire()

    def ended(self) -> None:
        """Note that the running thread is over."""
        self._handed_back.release()


class SimulatedThread:
    """A thread that runs only when its time lets it.

    Attributes:
        go: released for each of its turns.
        turns: how many it has had.
    """

    def __init__(self, time: VirtualTime, name: str, run: Callable[[], None]) -> None:
        self.go, self.turns = threading.Semaphore(0), 0
        self._time, self._run, self._ended = time, run, False
        self._thread = threading.Thread(target=self._turn_by_turn, name=name, daemon=True)

    @property
    def ident(self) -> int | None:
        """None before `start`."""
        return self._thread.ident

    def start(self) -> None:
        """Let it run from now on, when its turn comes."""
        self._thread.start()
        self._time.wake_at(self._time.now_ns(), self)

    def is_alive(self) -> bool:
        """Whether it has been started and has not ended."""
        return self.ident is not None and not self._ended

    def join(self) -> None:
        """Let simulated time go on until it has ended; StuckError where it never would."""
        while not self._ended:
            self._time.run_next()
        self._thread.join()

    def _turn_by_turn(self) -> None:
        self.go.acquire()
        try:
            self._run()
        finally:
            self._ended = True
            self._time.ended()


class SimulatedEvent:
    """What simulated threads wait for; any thread may set it."""

    def __init__(self, time: VirtualTime) -> None:
        self._time, self._is_set = time, False
        self._waiters: list[SimulatedThread] = []

    def set(self) -> None:
        """Run the waiting threads next."""
        self._is_set = True
        waiters, self._waiters = self._waiters, []
        for thread in waiters:
            self._time.wake_at(self._time.now_ns(), thread)

    def clear(self) -> None:
        """Have the next to wait wait."""
        self._is_set = False

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, or for `timeout` simulated seconds; return whether it is set."""
        if self._is_set:
            return True
        thread = self._time.running
        self._waiters.append(thread)
        if timeout is not None:
            self._time.wake_at(self._time.now_ns() + round(timeout * 1e9), thread)
        self._time.hand_back()
        if thread in self._waiters:
            self._waiters.remove(thread)
        return self._is_set

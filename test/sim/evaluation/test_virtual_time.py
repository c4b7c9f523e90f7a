"""Simulated threads: one at a time, in the order in which they are due, and no real time goes by."""

import signal
from collections.abc import Iterator

import pytest

from restac_ros.runtime.worker import Worker
from restac_ros.sim.evaluation.virtual_time import StuckError, VirtualTime

MS = 10**6


def test_threads_run_in_the_order_in_which_they_are_due() -> None:
    time, seen = VirtualTime(0), []

    def every(period_ms: int) -> None:
        while True:
            seen.append((period_ms, time.now_ns() // MS))
            time.sleep(period_ms * MS)

    for period_ms in (30, 20):
        time.waiting.thread(str(period_ms), lambda period_ms=period_ms: every(period_ms)).start()
    time.run_until(60 * MS)
    assert seen == [(30, 0), (20, 0), (20, 20), (30, 30), (20, 40), (30, 60), (20, 60)]
    assert time.now_ns() == 60 * MS


def test_an_event_wakes_who_waits_at_that_time_and_else_the_wait_ends_in_time() -> None:
    time, seen = VirtualTime(0), []
    event = time.waiting.event()

    def wait() -> None:
        seen.append((event.wait(), time.now_ns() // MS))
        event.clear()
        seen.append((event.wait(0.5), time.now_ns() // MS))

    thread = time.waiting.thread('waits', wait)
    thread.start()
    time.run_until(70 * MS)
    event.set()
    thread.join()
    assert seen == [(True, 70), (False, 570)]
    assert not thread.is_alive()


def test_a_wait_that_was_ended_by_an_event_does_not_end_a_later_one() -> None:
    time, seen = VirtualTime(0), []
    event = time.waiting.event()

    def wait() -> None:
        event.wait(0.1)
        event.clear()
        seen.append(time.now_ns() // MS)
        event.wait(1.0)
        seen.append(time.now_ns() // MS)

    time.waiting.thread('waits', wait).start()
    time.run_until(50 * MS)
    event.set()
    time.run_until(2000 * MS)
    assert seen == [50, 1050]


def test_a_worker_of_the_runtime_runs_in_simulated_time_and_says_why_it_failed() -> None:
    time, failures = VirtualTime(0), []

    def step() -> None:
        worker.wait(0.25)
        if time.now_ns() >= 1000 * MS:
            raise ValueError('it is late')

    worker = Worker('steps', step, failures.append, time.waiting)
    worker.start()
    time.run_until(3000 * MS)
    worker.join()
    assert failures == ['steps failed: unexpected ValueError: it is late']


def test_waiting_for_what_never_comes_is_an_error_and_no_hang() -> None:
    time = VirtualTime(0)
    event = time.waiting.event()
    thread = time.waiting.thread('waits', event.wait)
    thread.start()
    with pytest.raises(StuckError, match='nobody sets'):
        thread.join()
    with pytest.raises(StuckError, match='only a simulated thread'):
        time.sleep(MS)
    event.set()
    thread.join()


@pytest.fixture
def _interruptible() -> Iterator[None]:
    """As at a terminal; a process that a shell runs in the background ignores SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures('_interruptible')
def test_an_interrupt_comes_through_and_all_can_be_stopped_in_order_afterwards() -> None:
    time, seen, interrupted = VirtualTime(0), [], []

    def step() -> None:
        worker.wait(0.1)
        if time.now_ns() >= 300 * MS and not interrupted:
            interrupted.append(True)
            signal.raise_signal(signal.SIGINT)
        seen.append(time.now_ns() // MS)

    worker = Worker('steps', step, seen.append, time.waiting)
    worker.start()
    with pytest.raises(KeyboardInterrupt):
        time.run_until(1000 * MS)
    assert seen == [100, 200, 300]
    worker.ask_to_stop()
    worker.join()
    assert seen == [100, 200, 300, 300]

"""The thread of the set-points on clocks of the test's own: events are noted, never waited for."""

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from restac_ros.contract.load import load_contract
from restac_ros.control.chunk import ChunkRules
from restac_ros.control.limits import MotionLimits
from restac_ros.control.streaming import ChunkUse, Measured, StreamerConfig
from restac_ros.control.supervisor import Fault, Health, Phase
from restac_ros.geometry.pose import Pose
from restac_ros.runtime.pacer import Pacer
from restac_ros.runtime.set_point_loop import SetPointLoop, SupervisionChange

MS = 10**6
POSE = Pose(np.array([0.5, 0.0, 0.3]), np.array([1.0, 0.0, 0.0, 0.0]))


class Inputs:
    def health(self, now_ns: int) -> Health:
        return Health(now_ns)

    def measured(self, now_ns: int) -> Measured:
        return Measured(now_ns, POSE)


def test_a_late_tick_delays_none_of_the_next_ones_and_none_is_made_up_for() -> None:
    pacer = Pacer(10 * MS, 0)
    assert pacer.remaining_ns(0) == 0
    pacer.ticked(1 * MS)
    assert pacer.remaining_ns(1 * MS) == 9 * MS
    pacer.ticked(37 * MS)  # 27 ms late
    assert pacer.remaining_ns(37 * MS) == 3 * MS


def test_a_clock_that_stands_still_waits_and_one_set_back_starts_anew() -> None:
    pacer = Pacer(10 * MS, 1000 * MS)
    pacer.ticked(1000 * MS)
    assert pacer.remaining_ns(1000 * MS) == pacer.remaining_ns(1000 * MS) == 10 * MS
    assert pacer.remaining_ns(100 * MS) == 0


@pytest.fixture
def make_loop(repository: Path) -> Callable[..., SetPointLoop]:
    contract = load_contract(repository / 'config' / 'contract.yaml')
    config = StreamerConfig(MotionLimits.from_contract(contract), ChunkRules.from_contract(contract))

    def make(clock: list[int], published: list, notify: Callable[[], None] = lambda: None) -> SetPointLoop:
        return SetPointLoop(
            config,
            10 * MS,
            Inputs(),
            lambda point, now_ns: published.append(now_ns),
            notify,
            lambda: clock[0],
            lambda: clock[0],
            lambda text: pytest.fail(text),
        )

    return make


def test_what_changes_is_an_event_and_nothing_else_is(make_loop: Callable[..., SetPointLoop]) -> None:
    clock, published, notified = [10**18], [], []
    loop = make_loop(clock, published, lambda: notified.append(clock[0]))
    for _ in range(5):
        clock[0] += 10 * MS
        loop.tick()
    assert (list(loop.events), notified) == ([], [])
    loop.report(Fault.HALT, 'on request')
    clock[0] += 10 * MS
    loop.tick()
    [event] = loop.events
    assert isinstance(event, SupervisionChange)
    assert event.after.phase is Phase.HALTED
    assert notified == [clock[0]]
    assert not any(isinstance(event, ChunkUse) for event in loop.events)


def test_it_ticks_by_the_clock_it_is_given_as_fast_as_that_runs(
    make_loop: Callable[..., SetPointLoop],
) -> None:
    """Simulated time at many times the system's: the thread is woken by the clock, not by its own waiting."""
    clock, ticked = [10**18], threading.Semaphore(0)
    loop = make_loop(clock, [])
    tick = loop.tick

    def counted() -> None:
        tick()
        ticked.release()

    loop.tick = counted
    loop.start()
    assert ticked.acquire(timeout=240)
    assert not ticked.acquire(timeout=0.02), 'the clock stands still'
    for _ in range(50):
        clock[0] += 10 * MS
        loop.worker.wake.set()
        assert ticked.acquire(timeout=240)
    loop.stop(ramp=False)

"""The thread of the set-points: ticks the streamer, publishes, and never waits for another thread.

Nothing that can block runs in it: what follows from a tick (a log line, a diagnosis, a goal of the gripper)
is an event for another thread.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol

from restac_ros.control.chunk import Chunk
from restac_ros.control.gripper import GripperRequest
from restac_ros.control.streaming import ChunkUse, Measured, SetPoint, Streamer, StreamerConfig
from restac_ros.control.supervisor import Fault, Health, Supervision
from restac_ros.runtime.latency import Latencies
from restac_ros.runtime.pacer import Pacer
from restac_ros.runtime.worker import Worker

# jitter: how far from one period two ticks are apart. tick: the work of one. chunk: observation to receipt.
# watch: how late the thread is that receives chunks, the robot's mode and requests.
_STAGES = ('jitter', 'tick', 'chunk', 'watch')
MAX_WAIT_S = 0.1  # a simulated clock may stand still
MAX_EVENTS = 256


class StreamerInputs(Protocol):
    """What is known besides chunks; called by the thread of the set-points, must not block."""

    def health(self, now_ns: int) -> Health:
        """What has been received by now."""

    def measured(self, now_ns: int) -> Measured | None:
        """The newest measured pose; None where it is unknown."""


class SupervisionChange(NamedTuple):
    """The phase has changed, or a further fault is latched."""

    before: Supervision
    after: Supervision


class SetPointLoop:
    """Owns the streamer: every access holds `lock`, for microseconds.

    Attributes:
        events: changes in the order of their ticks, for the thread that `notify` wakes.
        gripper: what is asked of the gripper as of the last tick; None while it must not be commanded.
    """

    def __init__(
        self,
        config: StreamerConfig,
        period_ns: int,
        inputs: StreamerInputs,
        publish: Callable[[SetPoint, int], None],
        notify: Callable[[], None],
        now_ns: Callable[[], int],
        pace_ns: Callable[[], int],
        on_failure: Callable[[str], None],
    ) -> None:
        self.streamer = Streamer(config)
        self.lock = threading.Lock()
        self.latencies = Latencies(pace_ns, *_STAGES)
        self.events: deque[SupervisionChange | ChunkUse] = deque(maxlen=MAX_EVENTS)
        self.gripper: GripperRequest | None = None
        self._inputs, self._publish, self._notify = inputs, publish, notify
        self._now_ns, self._pace_ns = now_ns, pace_ns
        self._pacer = Pacer(period_ns, pace_ns())
        self._use = ChunkUse()
        self._last_tick_ns: int | None = None
        self.worker = Worker('set-points', self._step, on_failure)

    def start(self) -> None:
        """Begin to tick."""
        self.worker.start()

    def stop(self, ramp: bool) -> None:
        """End the thread; with `ramp`, come to a hold: the controller keeps the last target for ever."""
        self.worker.ask_to_stop()
        self.worker.join()
        if not ramp:
            return
        self.streamer.let_go()
        period_s = self._pacer.period_ns * 1e-9
        for _ in range(round(self.streamer.config.limits.stop_ns * 1e-9 / period_s) + 2):
            if self.streamer.motion is None:
                return
            self.tick()
            if self.streamer.motion is not None and self.streamer.motion.standing:
                return
            time.sleep(period_s)

    def offer(self, chunk: Chunk) -> str | None:
        """Offer a chunk. Return why it is not executed; None if it is."""
        now_ns = self._now_ns()
        with self.lock:
            refusal = self.streamer.offer(chunk, now_ns)
        if refusal is None:
            self.latencies.add('chunk', now_ns - chunk.stamp_ns)
        return refusal

    def report(self, fault: Fault, detail: str) -> None:
        """Note a fault; the next tick acts on it."""
        with self.lock:
            self.streamer.report(fault, detail)

    def resume(self) -> str | None:
        """Resume after a halt. Return why that is refused; None if it is not."""
        with self.lock:
            before = self.streamer.supervision
            refusal = self.streamer.resume(self._now_ns())
            self._note_change(before)
        return refusal

    def tick(self) -> None:
        """One set-point, or none while silent."""
        begun_ns, now_ns = self._pace_ns(), self._now_ns()
        health = self._inputs.health(now_ns)
        with self.lock:
            streamer, before = self.streamer, self.streamer.supervision
            point = streamer.tick(health, self._inputs.measured(now_ns) if streamer.starting else None)
            self.gripper = point.gripper if point else None
            self._note_change(before)
            use = streamer.use
        if point is not None:
            self._publish(point, now_ns)
        if use[1:] != self._use[1:]:  # all but the time
            self._use = use
            self._note(use)
        if self._last_tick_ns is not None:
            self.latencies.add('jitter', abs(begun_ns - self._last_tick_ns - self._pacer.period_ns))
        self._last_tick_ns = begun_ns
        self.latencies.add('tick', self._pace_ns() - begun_ns)

    def _step(self) -> None:
        if remaining_ns := self._pacer.remaining_ns(self._pace_ns()):
            self.worker.wait(min(remaining_ns * 1e-9, MAX_WAIT_S))
            return
        self.tick()
        self._pacer.ticked(self._pace_ns())

    def _note_change(self, before: Supervision) -> None:
        after = self.streamer.supervision
        if after.phase is not before.phase or after.latched != before.latched:
            self._note(SupervisionChange(before, after))

    def _note(self, event: SupervisionChange | ChunkUse) -> None:
        self.events.append(event)
        self._notify()

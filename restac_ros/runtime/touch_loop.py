"""Compares each tactile frame with what the latest prefix predicts; a rising gate triggers a replan."""

from collections.abc import Callable

import numpy as np

from restac_ros.framing.frame import Frame
from restac_ros.policy.errors import CALL_REFUSED
from restac_ros.policy.products import Prefix
from restac_ros.runtime.clocks import age_ns
from restac_ros.runtime.complaints import Complaint
from restac_ros.runtime.holding import Reasons, invalid_streams, refused, too_old
from restac_ros.runtime.prefix_loop import PrefixLoop
from restac_ros.runtime.runtime_products import LoopContext, ReadyPrefix, TouchReading
from restac_ros.runtime.surprise import SurpriseTrigger
from restac_ros.runtime.worker import Worker


class TouchLoop:
    """Keeps the latest touch.

    Attributes:
        latest: the newest touch; None before the first, and after a refused one.
        reasons: why the last attempt failed; empty after a success.
        on_surprise: called with a touch whose gate has risen, see `SurpriseTrigger`.
    """

    def __init__(self, context: LoopContext, prefixes: PrefixLoop, stream: str) -> None:
        self.latest: TouchReading | None = None
        self.reasons: Reasons = {}
        self.on_surprise: Callable[[TouchReading], None] = lambda reading: None
        self._context, self._prefixes, self._stream = context, prefixes, stream
        self._trigger = SurpriseTrigger(context.settings.surprise)
        self.worker = Worker('touch', self._step, context.outputs.failed, context.waiting)
        context.frames.signal([stream], self.worker.wake)

    def unfit(self, reading: TouchReading, time_ns: int) -> Reasons:
        """Return why no chunk can rest on this touch at `time_ns`; empty when one can."""
        age, limit = age_ns(reading.touch.stamp_ns, time_ns), self._context.settings.max_touch_age_ns
        return too_old('touch', age, self._usual_age_ns(), limit)

    def _usual_age_ns(self) -> int:
        """Return the oldest usual age: as the contract allows, plus encoding, and use until the next is."""
        context = self._context
        oldest_ns = context.policy.contract.streams[self._stream].max_age_ns
        return oldest_ns + 2 * context.latencies['tactile'].recent_max_ns

    def _step(self) -> None:
        free_ns = self._context.clocks.now_ns()
        self.worker.wait()
        ready = self._prefixes.latest
        if self.worker.stopping or ready is None:
            return
        self._context.touch_idle.clear()
        try:
            self._read(ready, free_ns)
        finally:
            self._context.touch_idle.set()

    def _read(self, ready: ReadyPrefix, free_ns: int) -> None:
        contract = self._context.policy.contract
        frame = self._context.timed_frame('frame_tactile', [self._stream, *contract.state_streams])
        reasons = invalid_streams(contract, frame.streams, every=True)
        if not reasons and frame.action_prev is None:
            reasons = {'action_prev': Complaint('missing', '; '.join(frame.reasons))}
        if not reasons and frame.action_prev is not None:
            try:
                self._encode(frame, frame.action_prev, ready.prefix, free_ns)
            except CALL_REFUSED as error:
                self.latest, reasons = None, refused('touch', error)
        self.reasons = reasons

    def _encode(self, frame: Frame, action_prev: np.ndarray, prefix: Prefix, free_ns: int) -> None:
        context = self._context
        stamp_ns, receive_ns = frame.streams[self._stream].times_ns()
        with context.latencies.timed('tactile') as timing:
            touch = context.policy.encode_tactile(frame.tactile[self._stream], prefix, action_prev, stamp_ns)
        known_ns = context.clocks.now_ns()
        reading = TouchReading(
            touch, prefix.prompt, prefix.prompt_revision, receive_ns, known_ns, timing.duration_ns
        )
        self.latest, self.reasons = reading, {}
        if self._trigger.rises(touch.gate, context.clocks.pace_ns()):
            context.counts.surprises += 1
            self.on_surprise(reading)
        context.outputs.touch(reading)
        context.counts.count_touch(touch)
        self._count_latencies(receive_ns, free_ns, timing.duration_ns)

    def _count_latencies(self, receive_ns: int, free_ns: int, duration_ns: int) -> None:
        published_ns, latencies = self._context.clocks.now_ns(), self._context.latencies
        latencies.add('touch_to_gate', published_ns - receive_ns)
        latencies.add('touch_overhead', published_ns - max(receive_ns, free_ns) - duration_ns)

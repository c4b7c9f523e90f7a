"""Every tactile frame against what the latest prefix lets expect; a gate that rises calls for a replan."""

from collections.abc import Callable
from time import monotonic_ns

from restac_ros.framing.frame import Frame
from restac_ros.policy.errors import PolicyError
from restac_ros.policy.products import Prefix
from restac_ros.runtime.complaints import Complaint
from restac_ros.runtime.holding import Reasons, invalid_streams, pending, refused, too_old
from restac_ros.runtime.prefix_loop import PrefixLoop
from restac_ros.runtime.runtime_products import ReadyPrefix, TouchReading, Workplace
from restac_ros.runtime.surprise import SurpriseTrigger
from restac_ros.runtime.worker import Worker


class TouchLoop:
    """Keeps the latest touch.

    Attributes:
        latest: the last touch that came out; None before, and after one that was refused.
        reasons: why the last attempt gave none.
        on_surprise: called with a touch whose gate has risen, see `SurpriseTrigger`.
    """

    def __init__(self, place: Workplace, prefixes: PrefixLoop) -> None:
        self.latest: TouchReading | None = None
        self.reasons: Reasons = {}
        self.on_surprise: Callable[[TouchReading], None] = lambda reading: None
        self._place, self._prefixes = place, prefixes
        self._trigger = SurpriseTrigger(place.settings.surprise)
        self._stream = place.policy.tactile_stream
        self.worker = Worker('touch', self._step, place.outputs.failed)
        place.frames.signal([self._stream], self.worker.wake)

    def unfit(self, reading: TouchReading | None, time_ns: int) -> Reasons:
        """Why no chunk can rest on this touch at `time_ns`; empty when one can."""
        if reading is None:
            return pending('touch')
        return too_old('touch', time_ns - reading.touch.stamp_ns, self._limit_ns())

    def _limit_ns(self) -> int:
        """If not set: a frame as old as the contract allows, its encoding, and its use until the next is."""
        place = self._place
        if place.settings.max_touch_age_ns is not None:
            return place.settings.max_touch_age_ns
        oldest_ns = place.policy.contract.streams[self._stream].max_age_ns
        return oldest_ns + 2 * place.latencies['tactile'].recent_max_ns

    def _step(self) -> None:
        free_ns = self._place.now_ns()
        self.worker.wait()
        ready = self._prefixes.latest
        if self.worker.stopping or ready is None:
            return
        self._place.touch_idle.clear()
        try:
            self._feel(ready, free_ns)
        finally:
            self._place.touch_idle.set()

    def _feel(self, ready: ReadyPrefix, free_ns: int) -> None:
        contract = self._place.policy.contract
        frame = self._place.timed_frame(
            'frame_tactile', [self._stream, contract.pose_stream, contract.gripper_stream]
        )
        reasons = invalid_streams(contract, frame.streams, every=True)
        if not reasons and frame.action_prev is None:
            reasons = {'action_prev': Complaint('missing', '; '.join(frame.reasons))}
        if not reasons:
            try:
                self._encode(frame, ready.prefix, free_ns)
            except PolicyError as error:
                self.latest, reasons = None, refused('touch', error)
        self.reasons = reasons

    def _encode(self, frame: Frame, prefix: Prefix, free_ns: int) -> None:
        place, status = self._place, frame.streams[self._stream]
        with place.latencies.timed('tactile') as timing:
            touch = place.policy.encode_tactile(
                frame.tactile[self._stream], prefix, frame.action_prev, status.stamp_ns
            )
        known_ns = place.now_ns()
        reading = TouchReading(touch, status.receive_ns, known_ns, timing.duration_ns)
        self.latest, self.reasons = reading, {}
        if self._trigger.rises(touch.gate, monotonic_ns()):
            place.counts.surprises += 1
            self.on_surprise(reading)
        place.outputs.touch(reading)
        place.counts.count_touch(touch)
        published_ns = place.now_ns()
        place.latencies.add('touch_to_gate', published_ns - status.receive_ns)
        begun_ns = max(status.receive_ns, free_ns)
        place.latencies.add('touch_overhead', published_ns - begun_ns - timing.duration_ns)

"""Chunks, from the latest of everything: at the replan rate, and at once when the gate has risen."""

import time
from collections import deque

from restac_ros.framing.frame import Frame
from restac_ros.policy.errors import PolicyError
from restac_ros.policy.products import Prefix
from restac_ros.runtime.complaints import Complaint
from restac_ros.runtime.holding import (
    NOT_YET,
    START_GRACE_NS,
    Reasons,
    invalid_streams,
    merged,
    pending,
    refused,
)
from restac_ros.runtime.prefix_loop import PrefixLoop
from restac_ros.runtime.runtime_products import (
    PlannedChunk,
    ReadyPrefix,
    ReplanTrigger,
    TouchReading,
    Workplace,
)
from restac_ros.runtime.touch_loop import TouchLoop
from restac_ros.runtime.worker import Worker


class ActLoop:
    """Plans. A policy without touch has no `touches`."""

    def __init__(self, place: Workplace, prefixes: PrefixLoop, touches: TouchLoop | None) -> None:
        self._place, self._prefixes, self._touches = place, prefixes, touches
        contract = place.policy.contract
        self._state_streams = (contract.pose_stream, contract.gripper_stream)
        self._surprises: deque[TouchReading] = deque(maxlen=1)  # of several the last; its ends are atomic
        self._begun_ns = self._due_ns = time.monotonic_ns()
        self.worker = Worker('act', self._step, place.outputs.failed)
        if touches:
            touches.on_surprise = self._take_surprise

    def _take_surprise(self, reading: TouchReading) -> None:
        """Replan at once, from this touch. Called in the touch loop's thread."""
        self._surprises.append(reading)
        self.worker.wake.set()

    def _step(self) -> None:
        begun_ns, surprise = self._await_replan()
        if self.worker.stopping:
            return
        with self._place.latencies.timed('frame_state'):
            frame, statuses = self._place.frames.look(self._state_streams)
        ready = self._prefixes.latest
        reading = surprise or (self._touches.latest if self._touches else None)
        reasons = merged(
            [
                # What only decoding shows stands in `frame.streams`, and in the other loops' reasons.
                invalid_streams(self._place.policy.contract, statuses | dict(frame.streams)),
                self._prefixes.reasons,
                self._touches.reasons if self._touches else {},
            ]
        )
        reasons = reasons or self._unfit(frame, ready, reading)
        if not reasons:
            trigger = ReplanTrigger.GATE if surprise else ReplanTrigger.PERIOD
            try:
                self._plan(frame, ready.prefix, reading, trigger, begun_ns)
            except PolicyError as error:
                reasons = refused('act', error)
        if reasons:
            self._place.counts.count_hold(reasons)
        self._place.outputs.holding(self._after_grace(reasons))

    def _await_replan(self) -> tuple[int, TouchReading | None]:
        """Until the next tick, or a surprise: when this turn could begin, and the surprise.

        Ticks that were missed are left out, so that the rhythm stays; a surprise begins it anew.
        """
        period_ns, free_ns = self._place.settings.replan_period_ns, time.monotonic_ns()
        self._due_ns += max(0, free_ns - self._due_ns) // period_ns * period_ns
        while True:
            surprise, now_ns = self._surprises.pop() if self._surprises else None, time.monotonic_ns()
            begun_ns = now_ns if surprise else max(self._due_ns, free_ns)
            if surprise or now_ns >= self._due_ns or self.worker.stopping:
                self._due_ns = (now_ns if surprise else self._due_ns) + period_ns
                return begun_ns, surprise
            self.worker.wait((self._due_ns - now_ns) * 1e-9)

    def _unfit(self, frame: Frame, ready: ReadyPrefix | None, reading: TouchReading | None) -> Reasons:
        """Why a chunk can't rest on these, all streams being valid."""
        if frame.state is None:
            return {'state': Complaint('missing', f'no state: {"; ".join(frame.reasons)}')}
        if ready is None:
            return pending('prefix')
        reasons = self._prefixes.unfit(ready, frame.time_ns)
        if self._touches is None:
            return reasons
        return reasons | (
            pending('touch') if reading is None else self._touches.unfit(reading, frame.time_ns)
        )

    def _plan(
        self,
        frame: Frame,
        prefix: Prefix,
        reading: TouchReading | None,
        trigger: ReplanTrigger,
        begun_ns: int,
    ) -> None:
        place, touch = self._place, reading.touch if reading else None
        continuation = None
        if place.continuity:
            surprised = trigger is ReplanTrigger.GATE
            continuation = place.continuity.next(frame.time_ns, frame.state, surprised)
        with place.latencies.timed('act') as timing:
            chunk = place.policy.act(prefix, touch, frame.state, continuation=continuation)
        planned = PlannedChunk(
            chunk=chunk,
            chunk_id=place.counts.chunks,
            trigger=trigger,
            stamp_ns=frame.time_ns,
            valid_until_ns=frame.time_ns + place.settings.chunk_validity_ns,
            prefix_age_ns=frame.time_ns - prefix.stamp_ns,
            tactile_age_ns=frame.time_ns - touch.stamp_ns if touch else None,
            inference_ns=timing.duration_ns,
        )
        place.counts.count_chunk(trigger, in_prefix=self._prefixes.busy)
        place.outputs.chunk(planned)
        place.latencies.add('act_overhead', time.monotonic_ns() - begun_ns - timing.duration_ns)
        published_ns = place.now_ns()
        place.latencies.add('camera_to_chunk', published_ns - prefix.stamp_ns)
        if trigger is ReplanTrigger.GATE:
            place.latencies.add('gate_rise_to_chunk', published_ns - reading.known_ns)
            place.latencies.add('contact_to_chunk', published_ns - reading.received_ns)

    def _after_grace(self, reasons: Reasons) -> Reasons:
        """At the beginning nothing has come yet and nothing is ready: that is no news."""
        if time.monotonic_ns() - self._begun_ns >= START_GRACE_NS:
            return reasons
        return {subject: found for subject, found in reasons.items() if found.kind not in NOT_YET}

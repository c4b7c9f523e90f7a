"""The policy at its three rates: prefix, touch and act, each a thread over the latest of the others.

    cameras --frame--> encode_prefix --> latest prefix ------------+
                                             |                     v
    tactile --frame------------------> encode_tactile --> latest touch --> act at the replan rate --> chunk

No chunk is planned while a required stream is invalid, or while prefix or touch are older than they may be.
Every product carries the stamps of what it was made from.
"""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import NamedTuple

from restac_ros.framing.frame import Frame
from restac_ros.nodes.complaints import Complaint
from restac_ros.nodes.holding import (
    NOT_YET,
    START_GRACE_NS,
    Reasons,
    invalid_streams,
    merged,
    pending,
    refused,
    too_old,
)
from restac_ros.nodes.latency import Latencies
from restac_ros.nodes.live_frames import LiveFrames
from restac_ros.nodes.worker import Worker
from restac_ros.policy.errors import PolicyError
from restac_ros.policy.policy import Policy
from restac_ros.policy.products import Chunk, Prefix, Touch

STAGES = (
    'frame_cameras',  # choosing, decoding and resizing, per prefix
    'frame_tactile',  # the same, per tactile frame, with state and action_prev
    'frame_state',  # per chunk
    'prefix',
    'tactile',
    'act',
    'touch_to_gate',  # receipt of a tactile frame to its gate's publication
    'camera_to_chunk',  # capture of the oldest image used to its chunk's publication
)


@dataclass(frozen=True)
class RuntimeSettings:
    """Deployment choices. A maximal age of None is derived: see `_limit_ns`."""

    replan_period_ns: int
    chunk_validity_ns: int
    max_prefix_age_ns: int | None = None
    max_touch_age_ns: int | None = None


class PlannedChunk(NamedTuple):
    """A chunk and the times behind it. `tactile_age_ns` is None for a policy without touch."""

    chunk: Chunk
    chunk_id: int
    stamp_ns: int
    valid_until_ns: int
    prefix_age_ns: int
    tactile_age_ns: int | None
    inference_ns: int


class TouchReading(NamedTuple):
    """A touch and when it was published."""

    touch: Touch
    published_ns: int
    inference_ns: int


@dataclass(frozen=True)
class Outputs:
    """Where results go; called from the workers' threads.

    `holding` gets all present reasons at every replan (none: a chunk was published). `failed` gets a sentence
    when a worker has died: nothing follows then.
    """

    chunk: Callable[[PlannedChunk], None]
    touch: Callable[[TouchReading], None]
    holding: Callable[[Reasons], None]
    failed: Callable[[str], None]


@dataclass
class RunCounts:
    """What a run has made so far; `held` counts replans without a chunk."""

    prefixes: int = 0
    touches: int = 0
    chunks: int = 0
    held: int = 0
    gate_min: float | None = None
    gate_max: float | None = None
    saturated: int = 0
    hold_reasons: dict[str, int] = field(default_factory=dict)

    def count_touch(self, touch: Touch) -> None:
        """Count a touch and its gate."""
        self.touches += 1
        self.saturated += touch.saturated
        self.gate_min = touch.gate if self.gate_min is None else min(self.gate_min, touch.gate)
        self.gate_max = touch.gate if self.gate_max is None else max(self.gate_max, touch.gate)

    def count_hold(self, reasons: Reasons) -> None:
        """Count a replan without a chunk."""
        self.held += 1
        for subject, complaint in reasons.items():
            name = f'{subject} {complaint.kind}'
            self.hold_reasons[name] = self.hold_reasons.get(name, 0) + 1


class PolicyRuntime:
    """Three workers around a policy's three calls. Made for one activation; `stop` ends it for good."""

    def __init__(
        self,
        policy: Policy,
        frames: LiveFrames,
        settings: RuntimeSettings,
        now_ns: Callable[[], int],
        outputs: Outputs,
        latencies: Latencies,
        counts: RunCounts,
    ) -> None:
        self._policy, self._frames, self._settings = policy, frames, settings
        self._contract = policy.contract
        self._now_ns, self._outputs = now_ns, outputs
        self._latencies, self._counts = latencies, counts
        self._state_streams = (self._contract.pose_stream, self._contract.gripper_stream)
        self._prefix: Prefix | None = None
        self._touch: Touch | None = None
        self._prefix_reasons: Reasons = {}
        self._touch_reasons: Reasons = {}
        self._prompt: str | None = None
        self._begun_ns = self._next_plan_ns = time.monotonic_ns()
        self._prefix_worker = Worker('prefix', self._step_prefix, outputs.failed)
        self._act_worker = Worker('act', self._step_act, outputs.failed)
        self._workers = [self._prefix_worker, self._act_worker]
        frames.signal([self._leading_camera()], self._prefix_worker.wake)
        if policy.uses_touch:
            self._touch_worker = Worker('touch', self._step_touch, outputs.failed)
            self._workers.append(self._touch_worker)
            frames.signal([policy.tactile_stream], self._touch_worker.wake)

    def start(self) -> None:
        """Begin to listen and to plan."""
        for worker in self._workers:
            worker.start()

    def stop(self) -> None:
        """End after the calls under way."""
        for worker in self._workers:
            worker.ask_to_stop()
        for worker in self._workers:
            worker.join()

    def request_prompt(self, prompt: str) -> None:
        """Change the task from the next prefix on."""
        self._prompt = prompt

    def _leading_camera(self) -> str:
        """The camera whose frames start a prefix: the first required one; the others come when they come."""
        cameras = self._policy.camera_streams
        required = [name for name in cameras if self._contract.streams[name].required]
        return (required or list(cameras))[0]

    # Prefix: as fast as it finishes.

    def _step_prefix(self) -> None:
        self._prefix_worker.wait()
        if self._prefix_worker.stopping:
            return
        if (prompt := self._prompt) is not None:
            self._prompt = None
            self._policy.set_prompt(prompt)
        in_prompt = self._policy.config.state_input == 'prompt'
        streams = [*self._policy.camera_streams, *(self._state_streams if in_prompt else ())]
        frame = self._timed_frame('frame_cameras', streams)
        reasons = invalid_streams(self._contract, frame.streams, every=self._policy.uses_touch)
        if not reasons:
            try:
                self._encode_prefix(frame, in_prompt)
            except PolicyError as error:
                self._prefix, reasons = None, refused('prefix', error)
        self._prefix_reasons = reasons

    def _encode_prefix(self, frame: Frame, in_prompt: bool) -> None:
        stamp_ns = min(frame.streams[name].stamp_ns for name in frame.images)
        begun_ns = time.perf_counter_ns()
        prefix = self._policy.encode_prefix(frame.images, stamp_ns, frame.state if in_prompt else None)
        self._latencies.add('prefix', time.perf_counter_ns() - begun_ns)
        self._prefix = prefix
        self._counts.prefixes += 1

    # Touch: with every tactile frame.

    def _step_touch(self) -> None:
        self._touch_worker.wait()
        prefix, stream = self._prefix, self._policy.tactile_stream
        if self._touch_worker.stopping or prefix is None:
            return
        frame = self._timed_frame('frame_tactile', [stream, *self._state_streams])
        reasons = invalid_streams(self._contract, frame.streams, every=True)
        if not reasons and frame.action_prev is None:
            reasons = {'action_prev': Complaint('missing', '; '.join(frame.reasons))}
        if not reasons:
            try:
                self._encode_touch(frame, prefix)
            except PolicyError as error:
                self._touch, reasons = None, refused('touch', error)
        self._touch_reasons = reasons

    def _encode_touch(self, frame: Frame, prefix: Prefix) -> None:
        stream = self._policy.tactile_stream
        status = frame.streams[stream]
        begun_ns = time.perf_counter_ns()
        touch = self._policy.encode_tactile(frame.tactile[stream], prefix, frame.action_prev, status.stamp_ns)
        inference_ns = time.perf_counter_ns() - begun_ns
        self._latencies.add('tactile', inference_ns)
        self._touch = touch
        published_ns = self._now_ns()
        self._outputs.touch(TouchReading(touch, published_ns, inference_ns))
        self._latencies.add('touch_to_gate', max(0, published_ns - status.receive_ns))
        self._counts.count_touch(touch)

    # Act: at the replan rate.

    def _step_act(self) -> None:
        self._await_replan()
        if self._act_worker.stopping:
            return
        begun_ns = time.perf_counter_ns()
        frame, statuses = self._frames.look(self._state_streams)
        self._latencies.add('frame_state', time.perf_counter_ns() - begun_ns)
        prefix, touch = self._prefix, self._touch
        reasons = merged(
            [
                # What only decoding shows stands in `frame.streams`, and in the other workers' reasons.
                invalid_streams(self._contract, statuses | dict(frame.streams)),
                self._prefix_reasons,
                self._touch_reasons,
            ]
        )
        reasons = reasons or self._unfit(frame, prefix, touch)
        if not reasons:
            try:
                self._plan(frame, prefix, touch)
            except PolicyError as error:
                reasons = refused('act', error)
        if reasons:
            self._counts.count_hold(reasons)
        self._outputs.holding(self._after_grace(reasons))

    def _await_replan(self) -> None:
        """Wait for the next tick; ticks that were missed are left out, so that the rhythm stays."""
        period_ns, now_ns = self._settings.replan_period_ns, time.monotonic_ns()
        self._next_plan_ns += max(0, now_ns - self._next_plan_ns) // period_ns * period_ns
        self._act_worker.wait(max(0, self._next_plan_ns - now_ns) * 1e-9)
        self._next_plan_ns += period_ns

    def _unfit(self, frame: Frame, prefix: Prefix | None, touch: Touch | None) -> Reasons:
        """Why a chunk can't rest on these, all streams being valid."""
        if frame.state is None:
            return {'state': Complaint('missing', f'no state: {"; ".join(frame.reasons)}')}
        if prefix is None:
            return pending('prefix')
        reasons = too_old('prefix', frame.time_ns - prefix.stamp_ns, self._prefix_limit_ns())
        if self._policy.uses_touch:
            if touch is None:
                return reasons | pending('touch')
            reasons |= too_old('touch', frame.time_ns - touch.stamp_ns, self._touch_limit_ns())
        return reasons

    def _plan(self, frame: Frame, prefix: Prefix, touch: Touch | None) -> None:
        begun_ns = time.perf_counter_ns()
        chunk = self._policy.act(prefix, touch, frame.state)
        inference_ns = time.perf_counter_ns() - begun_ns
        self._latencies.add('act', inference_ns)
        planned = PlannedChunk(
            chunk=chunk,
            chunk_id=self._counts.chunks,
            stamp_ns=frame.time_ns,
            valid_until_ns=frame.time_ns + self._settings.chunk_validity_ns,
            prefix_age_ns=frame.time_ns - prefix.stamp_ns,
            tactile_age_ns=frame.time_ns - touch.stamp_ns if touch else None,
            inference_ns=inference_ns,
        )
        self._outputs.chunk(planned)
        self._latencies.add('camera_to_chunk', max(0, self._now_ns() - prefix.stamp_ns))
        self._counts.chunks += 1

    def _prefix_limit_ns(self) -> int:
        return self._settings.max_prefix_age_ns or self._limit_ns(self._policy.camera_streams, 'prefix')

    def _touch_limit_ns(self) -> int:
        return self._settings.max_touch_age_ns or self._limit_ns([self._policy.tactile_stream], 'tactile')

    def _limit_ns(self, streams: Collection[str], stage: str) -> int:
        """A sample as old as the contract allows, its encoding, and its use until the next one is encoded."""
        oldest_ns = max(self._contract.streams[name].max_age_ns for name in streams)
        return oldest_ns + 2 * self._latencies[stage].recent_max_ns

    def _timed_frame(self, stage: str, streams: Collection[str]) -> Frame:
        begun_ns = time.perf_counter_ns()
        frame = self._frames.frame(streams)
        self._latencies.add(stage, time.perf_counter_ns() - begun_ns)
        return frame

    def _after_grace(self, reasons: Reasons) -> Reasons:
        """At the beginning nothing has come yet and nothing is ready: that is no news."""
        if time.monotonic_ns() - self._begun_ns >= START_GRACE_NS:
            return reasons
        return {subject: found for subject, found in reasons.items() if found.kind not in NOT_YET}

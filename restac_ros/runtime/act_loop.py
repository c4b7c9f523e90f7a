"""Plans chunks from the latest inputs: at the replan rate, and at once when the gate has risen."""

import math
from collections import deque
from typing import NamedTuple

import numpy as np

from restac_ros.control.chunk import Chunk, ChunkError, ChunkReport, ReplanTrigger, build_chunk
from restac_ros.framing.frame import Frame
from restac_ros.geometry.rotation import quaternion_from_rotation
from restac_ros.policy.errors import CALL_REFUSED
from restac_ros.policy.products import PlannedActions, Prefix
from restac_ros.runtime.clocks import age_ns
from restac_ros.runtime.complaints import Complaint
from restac_ros.runtime.holding import (
    NOT_YET,
    START_GRACE_NS,
    Reasons,
    invalid_streams,
    merged,
    pending,
    refused,
    too_old,
)
from restac_ros.runtime.plan_loop import PlanLoop
from restac_ros.runtime.prefix_loop import PrefixLoop
from restac_ros.runtime.runtime_products import LoopContext, TouchReading
from restac_ros.runtime.touch_loop import TouchLoop
from restac_ros.runtime.worker import Worker


class _Turn(NamedTuple):
    """One replan: its earliest begin by the steady clock, and the touch that triggered it, if any."""

    begun_ns: int
    surprise: TouchReading | None

    @property
    def trigger(self) -> ReplanTrigger:
        return ReplanTrigger.GATE if self.surprise else ReplanTrigger.PERIOD


class _Basis(NamedTuple):
    """Checked inputs of a chunk. `state_ns`: when the state was measured."""

    state: np.ndarray
    state_ns: int
    prefix: Prefix
    reading: TouchReading | None


class ActLoop:
    """Plans chunks. A policy without touch has no `touches`.

    The steps of a chunk are timed from the measurement of its anchor state, not from planning: step i is then
    due as long after the anchor as in the data, and no state is predicted. States older than
    `max_state_age_ns` are not used. Where there are `plans`, no chunk is published of a prompt that an
    operator, or the first subtask of all, has replaced.
    """

    def __init__(
        self,
        context: LoopContext,
        prefixes: PrefixLoop,
        touches: TouchLoop | None,
        plans: PlanLoop | None = None,
    ) -> None:
        self._context, self._prefixes, self._touches, self._plans = context, prefixes, touches, plans
        contract = context.policy.contract
        self._pose_stream, self._state_streams = contract.pose_stream, contract.state_streams
        self._surprises: deque[TouchReading] = deque(maxlen=1)  # keeps the last; append and pop are atomic
        self._begun_ns, self._due_ns = context.clocks.steady_ns(), context.clocks.pace_ns()
        self.worker = Worker('act', self._step, context.outputs.failed, context.waiting)
        if touches:
            touches.on_surprise = self._replan_at_once

    def _replan_at_once(self, reading: TouchReading) -> None:
        """Trigger a replan from this touch. Called in the touch loop's thread."""
        self._surprises.append(reading)
        self.worker.wake.set()
        if self._plans:
            self._plans.ask_now()

    def _step(self) -> None:
        turn = self._await_turn()
        if self.worker.stopping:
            return
        found = self._basis(turn.surprise)
        reasons = self._plan(found, turn) if isinstance(found, _Basis) else found
        if reasons:
            self._context.counts.count_hold(reasons)
        self._context.outputs.holding(self._after_grace(reasons))

    def _await_turn(self) -> _Turn:
        """Wait for the next tick, or a surprise.

        Missed ticks are left out, so that the phase is kept; a surprise restarts it.
        """
        clocks, period_ns = self._context.clocks, self._context.settings.replan_period_ns
        free_ns, now_ns = clocks.steady_ns(), clocks.pace_ns()
        self._due_ns += max(0, now_ns - self._due_ns) // period_ns * period_ns
        while True:
            surprise = self._surprises.pop() if self._surprises else None
            now_ns, steady_ns = clocks.pace_ns(), clocks.steady_ns()
            self._due_ns = min(self._due_ns, now_ns + period_ns)  # a simulated clock may have been set back
            if surprise or now_ns >= self._due_ns or self.worker.stopping:
                late_ns = 0 if surprise else now_ns - self._due_ns
                self._due_ns = (now_ns if surprise else self._due_ns) + period_ns
                return _Turn(max(steady_ns - late_ns, free_ns), surprise)
            self.worker.wait(clocks.wait_s(self._due_ns - now_ns))

    def _basis(self, surprise: TouchReading | None) -> _Basis | Reasons:
        """Return the inputs of a chunk, or the reasons why some are missing or too old."""
        context, contract = self._context, self._context.policy.contract
        with context.latencies.timed('frame_state'):
            frame, statuses = context.frames.frame_with_statuses(self._state_streams)
        reasons = merged(
            [
                # Faults that only decoding shows are in `frame.streams`, and in the other loops' reasons.
                invalid_streams(contract, statuses | dict(frame.streams)),
                self._prefixes.reasons,
                self._touches.reasons if self._touches else {},
                self._plans.reasons if self._plans else {},
            ]
        )
        if reasons:
            return reasons
        if frame.state is None:
            return {'state': Complaint('missing', f'no state: {"; ".join(frame.reasons)}')}
        state_ns, _ = frame.streams[self._pose_stream].times_ns()
        if self._plans:
            self._plans.note_state(frame.state, state_ns)
        reading = surprise or (self._touches.latest if self._touches else None)
        ready = self._prefixes.latest
        if ready is None or self._is_replaced(ready.prefix):
            return pending('prefix')
        reasons = self._unfit_state(frame, state_ns) | self._prefixes.unfit(ready, frame.time_ns)
        if self._touches:
            reasons |= self._touches.unfit(reading, frame.time_ns) if reading else pending('touch')
        return reasons or _Basis(frame.state, state_ns, ready.prefix, reading)

    def _is_replaced(self, prefix: Prefix) -> bool:
        """Whether an operator, or the first subtask of all, has replaced the prompt of this prefix."""
        return self._plans is not None and prefix.prompt_revision < self._plans.least_revision

    def _unfit_state(self, frame: Frame, state_ns: int) -> Reasons:
        age, limit = age_ns(state_ns, frame.time_ns), self._context.settings.max_state_age_ns
        return too_old('state', age, None, limit)

    def _plan(self, basis: _Basis, turn: _Turn) -> Reasons:
        """Plan and publish a chunk; return the reasons if there is none."""
        context, reading = self._context, basis.reading
        touch, continuation = reading.touch if reading else None, None
        if context.tracker:
            continuation = context.tracker.next(basis.state_ns, basis.state, bool(turn.surprise))
        try:
            with context.latencies.timed('act') as timing:
                actions = context.policy.act(basis.prefix, touch, basis.state, continuation=continuation)
            chunk = self._chunk(actions, basis, turn, timing.duration_ns)
        except (*CALL_REFUSED, ChunkError) as error:
            return refused('act', error)
        if self._is_replaced(basis.prefix):
            return pending('prefix')
        if context.tracker:
            context.tracker.published(chunk)
        context.counts.count_chunk(turn.trigger, in_prefix=self._prefixes.busy)
        context.outputs.chunk(chunk)
        self._count_latencies(turn, basis.prefix, timing.duration_ns)
        return {}

    def _chunk(self, actions: PlannedActions, basis: _Basis, turn: _Turn, inference_ns: int) -> Chunk:
        """Return the actions as a checked chunk, anchored at the state they were planned from."""
        context, contract = self._context, self._context.policy.contract
        state = np.asarray(basis.state, np.float64)
        reading, gate = basis.reading, actions.gate
        return build_chunk(
            chunk_id=context.counts.chunks,
            stamp_ns=basis.state_ns,
            frame_id=contract.robot.base_frame,
            anchor_position_m=state[:3],
            anchor_quaternion_xyzw=quaternion_from_rotation(contract.rotation.convention, state[3:6]),
            anchor_state=state[:6],
            anchor_opening_m=float(state[6]),
            convention=contract.rotation.convention,
            composition=contract.action.delta,
            step_ns=contract.period_ns,
            horizon=actions.horizon,
            delta_pose=actions.delta_pose.reshape(-1),
            opening_m=actions.gripper_opening_m,
            valid_until_ns=basis.state_ns + context.settings.chunk_validity_ns,
            camera_age_ns=age_ns(basis.prefix.stamp_ns, basis.state_ns),
            tactile_age_ns=age_ns(reading.touch.stamp_ns, basis.state_ns) if reading else 0,
            report=ChunkReport(
                trigger=turn.trigger,
                gate=math.nan if gate is None else gate,
                inference_ns=inference_ns,
                chunking=actions.chunking,
                continued_delay_steps=actions.continued_delay_steps,
                prompt=basis.prefix.prompt,
                prompt_revision=basis.prefix.prompt_revision,
            ),
        )

    def _count_latencies(self, turn: _Turn, prefix: Prefix, duration_ns: int) -> None:
        clocks, latencies = self._context.clocks, self._context.latencies
        latencies.add('act_overhead', clocks.steady_ns() - turn.begun_ns - duration_ns)
        published_ns = clocks.now_ns()
        latencies.add('camera_to_chunk', published_ns - prefix.stamp_ns)
        if turn.surprise:
            latencies.add('gate_rise_to_chunk', published_ns - turn.surprise.known_ns)
            latencies.add('contact_to_chunk', published_ns - turn.surprise.received_ns)

    def _after_grace(self, reasons: Reasons) -> Reasons:
        """Return the reasons without those that are usual at the start."""
        if self._context.clocks.steady_ns() - self._begun_ns >= START_GRACE_NS:
            return reasons
        return {subject: found for subject, found in reasons.items() if found.kind not in NOT_YET}

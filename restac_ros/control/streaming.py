"""The streamer without ROS and without a clock: receives chunks at any time, returns a set-point per tick.

    chunk --> timely? --> plan (continuity) --> supervisor --> limiter --> set-point

A node adds topics, services and the clock.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from restac_ros.control.chunk import Chunk, ChunkError, ChunkRules
from restac_ros.control.continuity import ContinuityConfig, Plan
from restac_ros.control.gripper import GripperRequest, gripper_request
from restac_ros.control.limits import LimitError, Motion, MotionLimits, advance, start_motion
from restac_ros.control.supervisor import (
    Fault,
    Health,
    Phase,
    Reason,
    Supervision,
    SupervisorConfig,
    commandable,
    supervise,
)
from restac_ros.control.trail import CommandedTrail, FollowingConfig
from restac_ros.geometry.pose import Offset, Pose


@dataclass(frozen=True)
class StreamerConfig:
    """Parameters of the streamer.

    Attributes:
        max_measured_age_ns: of the measured pose at which motion starts.
        measures_gripper: motion starts only where the gripper's opening is known, too.
        start_m, start_rad: at the start of a motion, largest distance of the measured tool from the anchor of
            the first chunk, and of the gripper from its opening there (m).
    """

    limits: MotionLimits
    rules: ChunkRules
    continuity: ContinuityConfig = field(default_factory=ContinuityConfig)
    supervisor: SupervisorConfig = field(default_factory=SupervisorConfig)
    following: FollowingConfig = field(default_factory=FollowingConfig)
    max_measured_age_ns: int = 100_000_000
    measures_gripper: bool = False
    start_m: float = 0.01
    start_rad: float = 0.05

    def check(self, chunk: Chunk) -> None:
        """Compare a chunk with the contract and with the continuity mode.

        Raises:
            ChunkError: they differ.
        """
        self.rules.check(chunk)
        if chunk.continues_others and self.continuity.mode == 'temporal_ensembling':
            raise ChunkError(
                f'chunk {chunk.chunk_id} is planned to continue the one before, and continuity is '
                "'temporal_ensembling', which would average the two: set the streamer's continuity to "
                "receding_horizon, or the policy's chunking"
            )


class ChunkUse(NamedTuple):
    """Which chunk is executed, and since when; stamps are 0 while none is.

    joined_ns: targets due from this time on are of this chunk.
    """

    since_ns: int = 0
    moving: bool = False
    chunk_stamp_ns: int = 0
    joined_ns: int = 0


@dataclass
class Counts:
    """Event counts. refused: chunks not executed for their time or order; lost: gaps in their numbers."""

    accepted: int = 0
    refused: int = 0
    faulty: int = 0
    lost: int = 0
    clipped: int = 0
    slowed: int = 0
    set_points: int = 0


class Measured(NamedTuple):
    """Measured tool pose at `stamp_ns`; `opening_m` None where the gripper is not measured."""

    stamp_ns: int
    pose: Pose
    opening_m: float | None = None


class SetPoint(NamedTuple):
    """Output of one tick; `gripper` None while the gripper must not be commanded."""

    pose: Pose
    gripper: GripperRequest | None


class Streamer:
    """State of the streamer and its transitions. Not thread-safe.

    Attributes:
        motion: None while nothing is published.
        plan: None while no chunk is executed.
        refusal: why the last refused chunk was not executed.
    """

    def __init__(self, config: StreamerConfig) -> None:
        self.config = config
        self.supervision = Supervision()
        self.now_ns = 0
        self.motion: Motion | None = None
        self.plan: Plan | None = None
        self.refusal = ''
        self.counts = Counts()
        self.trail = CommandedTrail(config.following)
        self._last: Chunk | None = None  # the newest chunk received in order, executed or not
        self._fresh_from_ns = 0  # chunks observed earlier do not end the present hold
        self._reported: list[Reason] = []  # since the last tick
        self._no_start: tuple[Reason, ...] = ()  # why the last chunk could not start a motion

    @property
    def phase(self) -> Phase:
        return self.supervision.phase

    @property
    def use(self) -> ChunkUse:
        """The chunk that is executed since the last tick."""
        if self.phase is not Phase.MOVING or self.plan is None:
            return ChunkUse(self.now_ns)
        return ChunkUse(self.now_ns, True, self.plan.newest.stamp_ns, self.plan.joined_ns)

    @property
    def starting(self) -> bool:
        """Whether the next tick starts a motion, for which it needs a measured pose."""
        return self.motion is None and self.plan is not None

    def report(self, fault: Fault, detail: str) -> None:
        """Report a fault found outside; the next tick acts on it."""
        self.counts.faulty += fault is Fault.MODEL
        self._reported.append(Reason(fault, detail))

    def let_go(self) -> None:
        """Drop the plan: from the next tick on the arm ramps to a hold, until the next chunk."""
        self.plan = None

    def resume(self, now_ns: int) -> str | None:
        """End a halt; the next chunk observed from now on is executed. Return the reason if refused.

        Motion restarts at the measured pose, as the arm may have been moved.
        """
        supervision, refusal = self.supervision.resume(now_ns)
        if refusal is not None:
            return refusal
        if self.motion is not None and not self.motion.standing:
            stop_ms = self.config.limits.stop_ns / 1e6
            return f'not at a hold yet, which takes up to {stop_ms:.0f} ms: resume again'
        self.supervision = supervision
        self._fresh_from_ns, self._no_start = now_ns, ()
        self._reported.clear()
        self._fall_silent()
        return None

    def offer(self, chunk: Chunk, now_ns: int) -> str | None:
        """Accept a chunk for execution. Return the reason if it is refused."""
        try:
            self.config.check(chunk)
        except ChunkError as error:
            self.report(Fault.MODEL, str(error))
            return str(error)
        if refusal := self.config.rules.untimely(chunk, now_ns, self._last):
            return self._refuse(refusal)
        if self._last is not None:  # a number that fell is a policy that started anew
            self.counts.lost += max(chunk.chunk_id - self._last.chunk_id - 1, 0)
        self._last = chunk
        if astray := self.trail.judge(chunk.anchor, chunk.stamp_ns):
            self.report(Fault.NOT_FOLLOWING, astray)
            return astray
        if self.phase is Phase.HALTED or chunk.stamp_ns < self._fresh_from_ns:
            reasons = '; '.join(map(str, self.supervision.reasons))
            return self._refuse(f'chunk {chunk.chunk_id} is not executed: {self.phase} ({reasons})')
        self._no_start = ()
        self.plan = self._planned(chunk, now_ns)
        self.counts.accepted += 1
        return None

    def tick(self, health: Health, measured: Measured | None = None) -> SetPoint | None:
        """Advance to `health.now_ns` and return the set-point to publish, or None.

        `health` is the caller's part; plan, ages and reports are added here. `measured` is the newest pose,
        required while `starting`.
        """
        now_ns = health.now_ns
        self._check_clock(now_ns)
        if self.motion is None and self.plan is not None:
            self._no_start = tuple(self._start_faults(self.plan.newest, measured, now_ns))
        health = replace(
            health,
            plan_end_ns=self.plan.end_ns if self.plan else None,
            ages_ns={**self._ages_ns(now_ns), **health.ages_ns},
            start=self._no_start,
            reported=tuple(self._reported),
        )
        self._reported.clear()
        before, self.supervision = self.phase, supervise(self.config.supervisor, self.supervision, health)
        self.now_ns = now_ns
        if self.phase is not Phase.MOVING:
            self.plan = None
            if before is Phase.MOVING:
                self._note_stop(now_ns)
        if not commandable(self.config.supervisor, health, self.motion is None or self.motion.standing):
            self._fall_silent()
        return self._set_point(measured, now_ns)

    def _set_point(self, measured: Measured | None, now_ns: int) -> SetPoint | None:
        limits = self.config.limits
        if self.motion is None and self.plan is not None and measured is not None:
            self.motion = start_motion(limits, measured.pose, now_ns)
            self.plan = self._started(self.plan.newest, now_ns, self.motion.reference)
        if self.motion is None:
            return None
        target = gripper = None
        if self.plan is not None:
            target = self.plan.pose_at(now_ns + limits.lead_ns)
            gripper = gripper_request(self.plan, limits, now_ns)
        self.motion = advance(limits, self.motion, target, now_ns)
        self.counts.clipped += self.motion.clipped
        self.counts.slowed += self.motion.slowed
        self.counts.set_points += 1
        self.trail.add(now_ns, self.motion.set_point)
        return SetPoint(self.motion.set_point, gripper)

    def _start_faults(self, chunk: Chunk, measured: Measured | None, now_ns: int) -> Sequence[Reason]:
        """Why motion cannot start: the tool's pose is unknown, or too far from the chunk's anchor."""
        config = self.config
        if measured is None:
            return [Reason(Fault.STALE, 'the measured pose is unknown')]
        age_ns = now_ns - measured.stamp_ns
        if age_ns > config.max_measured_age_ns:
            limit_ms = config.max_measured_age_ns / 1e6
            detail = f'the measured pose is {age_ns / 1e6:.0f} ms old, at most {limit_ms:.0f} ms are allowed'
            return [Reason(Fault.STALE, detail)]
        try:
            start_motion(config.limits, measured.pose, now_ns)
        except LimitError as error:
            return [Reason(Fault.OUTSIDE, str(error))]
        reasons, name = [], f'chunk {chunk.chunk_id}'
        gap = Offset.between(chunk.anchor, measured.pose)
        if gap.distance_m > config.start_m or gap.angle_rad > config.start_rad:
            found = f'the tool is {gap.distance_m:.3f} m and {gap.angle_rad:.2f} rad from where {name} begins'
            expected = f'at most {config.start_m:g} m and {config.start_rad:g} rad are allowed'
            reasons.append(Reason(Fault.ARM_MOVED, f'{found}, {expected}; keep it still, then start again'))
        opening_m = measured.opening_m
        if opening_m is None and config.measures_gripper:
            reasons.append(Reason(Fault.STALE, 'the measured opening of the gripper is unknown or too old'))
        if opening_m is not None and abs(opening_m - chunk.anchor_opening_m) > config.start_m:
            found = f'the gripper is {abs(opening_m - chunk.anchor_opening_m):.3f} m from where {name} begins'
            reasons.append(Reason(Fault.ARM_MOVED, f'{found}, at most {config.start_m:g} m are allowed'))
        return reasons

    def _ages_ns(self, now_ns: int) -> dict[str, int]:
        """Time since the captures behind the newest chunk."""
        if self.plan is None:
            return {}
        chunk = self.plan.newest
        age_ns = now_ns - chunk.stamp_ns
        return {
            'observation': age_ns,
            'cameras': age_ns + chunk.camera_age_ns,
            'tactile': age_ns + chunk.tactile_age_ns,
        }

    def _check_clock(self, now_ns: int) -> None:
        """Reset the order of chunks after the clock was set back, which makes earlier stamps meaningless."""
        if now_ns >= self.now_ns:
            return
        back_ms = (self.now_ns - now_ns) / 1e6
        self.report(Fault.CLOCK_JUMP, f'the clock went back by {back_ms:.0f} ms')
        self._last = self.plan = None
        self.trail.clear()
        self._fresh_from_ns = now_ns

    def _note_stop(self, now_ns: int) -> None:
        """After a fault only chunks observed since may end the hold; after a late chunk any chunk may."""
        if not {reason.fault for reason in self.supervision.cause} <= {Fault.NO_CHUNK, Fault.EXHAUSTED}:
            self._fresh_from_ns = now_ns

    def _fall_silent(self) -> None:
        """Stop publishing and forget the set-points so far."""
        self.motion = self.plan = None
        self.trail.clear()

    def _started(self, chunk: Chunk, now_ns: int, asked: Pose) -> Plan:
        return Plan.start(self.config.continuity, chunk, now_ns + self.config.limits.lead_ns, asked)

    def _planned(self, chunk: Chunk, now_ns: int) -> Plan:
        if self.motion is None:  # the next tick starts it anew, at the measured pose
            return self._started(chunk, now_ns, chunk.anchor)
        if self.plan is None:
            return self._started(chunk, now_ns, self.motion.reference)
        at_ns = now_ns + self.config.limits.lead_ns
        # Where the limits kept the arm from what was asked, the new path starts from where it got.
        behind = self.motion.slowed or self.motion.clipped
        return self.plan.join(chunk, at_ns, self.motion.reference if behind else self.plan.pose_at(at_ns))

    def _refuse(self, refusal: str) -> str:
        self.counts.refused += 1
        self.refusal = refusal
        return refusal

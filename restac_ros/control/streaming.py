"""The streamer without ROS and without a clock: chunks in, at any time; set-points out, at every tick.

    chunk --> timely? --> plan (continuity) --> supervisor --> limiter --> set-point

Every function takes a state and returns the next one. A node adds topics, services and the clock.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from restac_ros.control.chunk import Chunk, ChunkError, ChunkRules
from restac_ros.control.continuity import ContinuityConfig, Plan
from restac_ros.control.limits import LimitError, Motion, MotionLimits, advance, start_motion
from restac_ros.control.supervisor import (
    Fault,
    Health,
    Phase,
    Reason,
    Supervision,
    SupervisorConfig,
    supervise,
)
from restac_ros.geometry.pose import Offset, Pose

TRAIL_NS = 2_000_000_000
MOTIONLESS_NS = 500_000_000  # a slow stream may well give two chunks the same measurement


@dataclass(frozen=True)
class StreamerConfig:
    """Everything that shapes the set-points.

    Attributes:
        following_m, following_rad: how far the measured tool may be from what was commanded at that time.
        motionless_m, motionless_rad: how far set-points may go while the measured pose stays the same to the
            bit: whoever measures it has died and left its last word.
    """

    limits: MotionLimits
    rules: ChunkRules
    continuity: ContinuityConfig = field(default_factory=ContinuityConfig)
    supervisor: SupervisorConfig = field(default_factory=SupervisorConfig)
    following_m: float = 0.1
    following_rad: float = 0.5
    motionless_m: float = 0.02
    motionless_rad: float = 0.1

    def check(self, chunk: Chunk) -> None:
        """Compare a chunk with the contract and with how chunks are to follow each other.

        Raises:
            ChunkError: what differs, found and expected.
        """
        self.rules.check(chunk)
        if chunk.continues_others and self.continuity.mode == 'temporal_ensembling':
            raise ChunkError(
                f'chunk {chunk.chunk_id} is planned to continue the one before, and continuity is '
                "'temporal_ensembling', which would average the two: set the streamer's continuity to "
                "receding_horizon, or the policy's chunking"
            )


class ChunkUse(NamedTuple):
    """Which chunk is executed, since when; stamps are 0 while none is.

    joined_ns: time from which on it is asked; targets due earlier were the older chunk's.
    """

    since_ns: int = 0
    moving: bool = False
    chunk_stamp_ns: int = 0
    joined_ns: int = 0


@dataclass(frozen=True)
class Counts:
    """What happened so far. refused: chunks that came at a wrong time; lost: gaps in their numbers."""

    accepted: int = 0
    refused: int = 0
    faulty: int = 0
    lost: int = 0
    clipped: int = 0
    slowed: int = 0
    set_points: int = 0


class SetPoint(NamedTuple):
    """What to command at one tick; `opening_m` None where no chunk has named one."""

    pose: Pose
    opening_m: float | None


@dataclass(frozen=True, eq=False)
class Streamer:
    """State between ticks.

    Attributes:
        last: newest chunk seen in order, accepted or not.
        same_since_ns: observation of the first chunk of those with its very anchor.
        refusal: why a chunk was last not executed.
        fresh_from_ns: chunks observed earlier don't end the present hold.
        pending: reported since the last tick.
        trail: what was commanded lately, (time, pose), oldest first.
    """

    supervision: Supervision = field(default_factory=Supervision)
    now_ns: int = 0
    motion: Motion | None = None
    plan: Plan | None = None
    last: Chunk | None = None
    same_since_ns: int = 0
    refusal: str = ''
    opening_m: float | None = None
    fresh_from_ns: int = 0
    pending: tuple[Reason, ...] = ()
    trail: tuple[tuple[int, Pose], ...] = ()
    counts: Counts = field(default_factory=Counts)

    @property
    def phase(self) -> Phase:
        return self.supervision.phase

    @property
    def use(self) -> ChunkUse:
        """Which chunk is executed as of the last tick."""
        if self.phase is not Phase.MOVING or self.plan is None:
            return ChunkUse(self.now_ns)
        return ChunkUse(self.now_ns, True, self.plan.newest.stamp_ns, self.plan.joined_ns)


def report(state: Streamer, fault: Fault, detail: str) -> Streamer:
    """Take note of a fault found outside; the next tick acts on it."""
    counts = state.counts
    if fault is Fault.MODEL:
        counts = replace(counts, faulty=counts.faulty + 1)
    return replace(state, pending=(*state.pending, Reason(fault, detail)), counts=counts)


def let_go(state: Streamer) -> Streamer:
    """Drop the plan: from the next tick on the arm ramps to a hold, until another chunk comes."""
    return replace(state, plan=None)


def resume(state: Streamer, now_ns: int) -> tuple[Streamer, str | None]:
    """Go on after a halt, with the next chunk observed from now on. Returns why not, if refused."""
    supervision, refusal = state.supervision.resume(now_ns)
    if refusal is not None:
        return state, refusal
    return replace(state, supervision=supervision, fresh_from_ns=now_ns, pending=()), None


def offer(config: StreamerConfig, state: Streamer, chunk: Chunk, now_ns: int) -> tuple[Streamer, str | None]:
    """Take a chunk up. Returns the state and, if the chunk is not executed, why."""
    try:
        config.check(chunk)
    except ChunkError as error:
        return report(state, Fault.MODEL, str(error)), str(error)
    refusal = config.rules.untimely(chunk, now_ns, state.last)
    if refusal is not None:
        return _refused(state, refusal), refusal
    state = replace(
        state, last=chunk, same_since_ns=_same_since_ns(state, chunk), counts=_counted(state, chunk)
    )
    if astray := _astray(config, state, chunk):
        return report(state, Fault.NOT_FOLLOWING, astray), astray
    if state.phase is Phase.HALTED or chunk.stamp_ns < state.fresh_from_ns:
        reasons = '; '.join(map(str, state.supervision.reasons))
        refusal = f'chunk {chunk.chunk_id} is not executed: {state.phase} ({reasons})'
        return _refused(state, refusal), refusal
    try:
        motion = state.motion or start_motion(config.limits, chunk.anchor, now_ns)
    except LimitError as error:
        return report(_refused(state, str(error)), Fault.OUTSIDE, str(error)), str(error)
    plan = _planned(config, replace(state, motion=motion), chunk, now_ns)
    counts = replace(state.counts, accepted=state.counts.accepted + 1)
    return replace(state, motion=motion, plan=plan, counts=counts), None


def tick(
    config: StreamerConfig,
    state: Streamer,
    now_ns: int,
    *,
    ages_ns: Mapping[str, int] | None = None,
    robot_mode: int | None = None,
    deadman_pressed: bool = False,
    deadman_age_ns: int | None = None,
    rivals: tuple[str, ...] = (),
) -> tuple[Streamer, SetPoint | None]:
    """Go on to `now_ns`: the set-point to command, None before the first chunk. Arguments as in `Health`."""
    state = _clock_checked(state, now_ns)
    health = Health(
        now_ns,
        plan_end_ns=state.plan.end_ns if state.plan else None,
        ages_ns={**_ages_behind(state.plan, now_ns), **(ages_ns or {})},
        robot_mode=robot_mode,
        deadman_pressed=deadman_pressed,
        deadman_age_ns=deadman_age_ns,
        rivals=rivals,
        reported=state.pending,
    )
    supervision = supervise(config.supervisor, state.supervision, health)
    if state.phase is Phase.MOVING and supervision.phase is not Phase.MOVING:
        state = _stopped(state, supervision, now_ns)
    if supervision.phase is not Phase.MOVING:
        state = replace(state, plan=None)
    return _moved(config, replace(state, supervision=supervision, now_ns=now_ns, pending=()), now_ns)


def _ages_behind(plan: Plan | None, now_ns: int) -> dict[str, int]:
    """Time since the captures behind the newest chunk."""
    if plan is None:
        return {}
    age_ns = now_ns - plan.newest.stamp_ns
    return {
        'observation': age_ns,
        'cameras': age_ns + plan.newest.camera_age_ns,
        'tactile': age_ns + plan.newest.tactile_age_ns,
    }


def _clock_checked(state: Streamer, now_ns: int) -> Streamer:
    """A clock set back makes all stamps so far meaningless: start over with the order of chunks."""
    if now_ns >= state.now_ns:
        return state
    back_ms = (state.now_ns - now_ns) / 1e6
    state = report(state, Fault.CLOCK_JUMP, f'the clock went back by {back_ms:.0f} ms')
    return replace(state, last=None, plan=None, trail=(), fresh_from_ns=now_ns)


def _stopped(state: Streamer, supervision: Supervision, now_ns: int) -> Streamer:
    """After a fault only what was observed since may end the hold; a merely late chunk may come as it is."""
    faults = {reason.fault for reason in supervision.cause}
    if faults <= {Fault.NO_CHUNK, Fault.EXHAUSTED}:
        return state
    return replace(state, fresh_from_ns=now_ns)


def _moved(config: StreamerConfig, state: Streamer, now_ns: int) -> tuple[Streamer, SetPoint | None]:
    # Until something has moved there is nothing to hold: the arm stays with whoever has it.
    if state.motion is None or not state.supervision.commanded:
        return replace(state, motion=None), None
    target, opening_m = None, state.opening_m
    if state.plan is not None:
        target = state.plan.pose_at(now_ns + config.limits.lead_ns)
        opening_m = config.limits.clip_opening(state.plan.opening_at(now_ns))
    motion = advance(config.limits, state.motion, target, now_ns)
    counts = replace(
        state.counts,
        clipped=state.counts.clipped + motion.clipped,
        slowed=state.counts.slowed + motion.slowed,
        set_points=state.counts.set_points + 1,
    )
    since_ns = now_ns - TRAIL_NS
    oldest = next((i for i, (at_ns, _) in enumerate(state.trail) if at_ns > since_ns), len(state.trail))
    state = replace(
        state,
        motion=motion,
        opening_m=opening_m,
        counts=counts,
        trail=(*state.trail[oldest:], (now_ns, motion.set_point)),
    )
    return state, SetPoint(motion.set_point, opening_m)


def _planned(config: StreamerConfig, state: Streamer, chunk: Chunk, now_ns: int) -> Plan:
    at_ns = now_ns + config.limits.lead_ns
    if state.plan is None:
        return Plan.start(config.continuity, chunk, at_ns, state.motion.reference)
    # Where the limits kept the arm from what was asked, the new path starts from where it got.
    behind = state.motion.slowed or state.motion.clipped
    asked = state.motion.reference if behind else state.plan.pose_at(at_ns)
    return state.plan.join(chunk, at_ns, asked)


def _astray(config: StreamerConfig, state: Streamer, chunk: Chunk) -> str | None:
    """How far the measured tool was from the set-point of that time, if too far."""
    commanded = next((pose for time_ns, pose in reversed(state.trail) if time_ns <= chunk.stamp_ns), None)
    if commanded is None:
        return None
    gap = Offset.between(commanded, chunk.anchor)
    if gap.distance_m <= config.following_m and gap.angle_rad <= config.following_rad:
        return _motionless(config, state, chunk)
    return (
        f'the tool is {gap.distance_m:.3f} m and {gap.angle_rad:.2f} rad from its set-point, at most '
        f'{config.following_m:g} m and {config.following_rad:g} rad are allowed; check the controller, then '
        'deactivate and activate the streamer to start from the measured pose'
    )


def _motionless(config: StreamerConfig, state: Streamer, chunk: Chunk) -> str | None:
    """How far set-points went while the measured pose stayed what it was to the bit, if too far."""
    same_ns = chunk.stamp_ns - state.same_since_ns
    if same_ns < MOTIONLESS_NS:
        return None
    during = [pose for at_ns, pose in state.trail if state.same_since_ns <= at_ns <= chunk.stamp_ns]
    ways = [Offset.between(during[0], pose) for pose in during]
    far_m = max((way.distance_m for way in ways), default=0.0)
    far_rad = max((way.angle_rad for way in ways), default=0.0)
    if far_m <= config.motionless_m and far_rad <= config.motionless_rad:
        return None
    return (
        f'the measured pose has been the same to the bit for {same_ns / 1e6:.0f} ms while set-points went '
        f'{far_m:.3f} m and {far_rad:.2f} rad; see whether the robot runs and its state is alive, then resume'
    )


def _same_since_ns(state: Streamer, chunk: Chunk) -> int:
    """Since when the tool has been measured exactly where this chunk has it."""
    same = state.last is not None and all(map(np.array_equal, state.last.anchor, chunk.anchor))
    return state.same_since_ns if same else chunk.stamp_ns


def _refused(state: Streamer, refusal: str) -> Streamer:
    counts = replace(state.counts, refused=state.counts.refused + 1)
    return replace(state, refusal=refusal, counts=counts)


def _counted(state: Streamer, chunk: Chunk) -> Counts:
    """Chunks missing between the last one and this; a number that fell is a policy that started anew."""
    gap = chunk.chunk_id - state.last.chunk_id - 1 if state.last else 0
    return replace(state.counts, lost=state.counts.lost + max(gap, 0))

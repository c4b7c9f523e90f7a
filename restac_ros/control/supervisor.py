"""When the arm may move: one pure state machine over everything that can go wrong.

Every fault drops the plan, and the set-point ramps to a hold within the limits, in the limiter's stop time;
it is then published unchanged. Never zeros, never a jump. Where the robot's mode is watched and is not
'move', nothing is published at all. A hold ends with a new chunk once its cause is gone, or, where a person
must check the robot first (`LATCHED`), with `resume`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import NamedTuple, Self

ROBOT_STATE = 'robot state'  # its name among the ages
ROBOT_MODE_MOVE = 2
# franka_msgs/msg/FrankaRobotState
ROBOT_MODES = ('other', 'idle', 'move', 'guiding', 'reflex', 'user stopped', 'recovery')


class Phase(StrEnum):
    """idle: nothing has been commanded yet. halted: held until a person resumes."""

    IDLE = 'idle'
    MOVING = 'moving'
    HOLDING = 'holding'
    HALTED = 'halted'


class Fault(StrEnum):
    """Why the arm doesn't move."""

    NO_CHUNK = 'no chunk'
    EXHAUSTED = 'chunk exhausted'
    STALE = 'stale observation'
    DEADMAN = 'deadman released'
    CLOCK_JUMP = 'clock jump'
    OUTSIDE = 'outside workspace'
    HALT = 'halt requested'
    ROBOT_MODE = 'robot mode'
    MODEL = 'faulty chunk'
    SECOND_PUBLISHER = 'second publisher'
    SECOND_POLICY = 'second policy'
    NOT_FOLLOWING = 'robot not following'
    ARM_MOVED = 'arm moved'


# A person must check the robot before the arm moves again.
LATCHED = frozenset({
    Fault.HALT,
    Fault.ROBOT_MODE,
    Fault.MODEL,
    Fault.SECOND_PUBLISHER,
    Fault.SECOND_POLICY,
    Fault.NOT_FOLLOWING,
    Fault.ARM_MOVED,
})  # fmt: skip
# Of these, the ones that are harmless while nothing has been commanded: they delay the start.
_STARTUP = frozenset({Fault.ROBOT_MODE, Fault.SECOND_PUBLISHER, Fault.SECOND_POLICY, Fault.ARM_MOVED})


class Reason(NamedTuple):
    """A fault and what was found."""

    fault: Fault
    detail: str

    def __str__(self) -> str:
        return f'{self.fault}: {self.detail}' if self.detail else str(self.fault)


@dataclass(frozen=True)
class SupervisorConfig:
    """What is watched, and the bounds.

    Attributes:
        max_age_ns: by stream; a stream that is not in `Health.ages_ns` is not there at all, which is a fault,
            too.
        watch_robot_mode: the robot's mode must be 'move'.
        deadman: an enabling switch must be pressed; `deadman_max_age_ns` without a message counts as
            released.
    """

    max_age_ns: Mapping[str, int] = field(default_factory=dict)
    watch_robot_mode: bool = False
    deadman: bool = False
    deadman_max_age_ns: int = 200_000_000


@dataclass(frozen=True)
class Health:
    """What is known at one instant.

    Attributes:
        plan_end_ns: when the last planned step is due; None without a plan.
        ages_ns: by stream, time since the capture behind the running plan.
        robot_mode: as in FrankaRobotState; None if none has been received.
        deadman_pressed, deadman_age_ns: last message of the enabling switch and its age; None before the
            first.
        rivals: names of other nodes whose set-points arrive.
        start: why motion cannot start from the measured pose.
        reported: faults found since the last instant.
    """

    now_ns: int
    plan_end_ns: int | None = None
    ages_ns: Mapping[str, int] = field(default_factory=dict)
    robot_mode: int | None = None
    deadman_pressed: bool = False
    deadman_age_ns: int | None = None
    rivals: tuple[str, ...] = ()
    start: tuple[Reason, ...] = ()
    reported: tuple[Reason, ...] = ()


@dataclass(frozen=True)
class Supervision:
    """State of the supervisor.

    Attributes:
        active: what is wrong at this instant.
        latched: what has been wrong and waits for `resume`, first causes first.
        cause: what ended the last motion.
        commanded: the arm has been moved; from then on there is something to hold.
        since_ns: when the phase began.
    """

    phase: Phase = Phase.IDLE
    active: tuple[Reason, ...] = ()
    latched: tuple[Reason, ...] = ()
    cause: tuple[Reason, ...] = ()
    commanded: bool = False
    since_ns: int = 0

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """Why the arm doesn't move, each fault once; empty while it moves."""
        first: dict[Fault, Reason] = {}
        for reason in (*self.latched, *self.active):
            first.setdefault(reason.fault, reason)
        return tuple(first.values())

    def resume(self, now_ns: int) -> tuple[Self, str | None]:
        """Release the latch: the arm holds until a new chunk, which `start` judges anew.

        Return the state and, if it is refused, why.
        """
        if self.phase is not Phase.HALTED:
            return self, f'nothing to resume: the streamer is {self.phase}'
        standing = [reason for reason in self.active if reason.fault in LATCHED - {Fault.ARM_MOVED}]
        if standing:
            return self, f'still wrong: {"; ".join(map(str, standing))}'
        phase = Phase.HOLDING if self.commanded else Phase.IDLE
        return replace(self, phase=phase, latched=(), since_ns=now_ns), None


def commandable(config: SupervisorConfig, health: Health, standing: bool) -> bool:
    """Whether set-points may be published: only in mode 'move', where it is watched.

    A mode that has not been received lately is unknown: a motion under way (not `standing`) ramps down first.
    """
    if not config.watch_robot_mode:
        return True
    if health.robot_mode != ROBOT_MODE_MOVE:
        return False
    age_ns, max_age_ns = health.ages_ns.get(ROBOT_STATE), config.max_age_ns.get(ROBOT_STATE)
    return not standing or max_age_ns is None or (age_ns is not None and age_ns <= max_age_ns)


def supervise(config: SupervisorConfig, state: Supervision, health: Health) -> Supervision:
    """Judge one instant."""
    active = tuple(_find_reasons(config, health))
    wrong = (*health.reported, *active)
    latching = LATCHED if state.commanded else LATCHED - _STARTUP
    latched = state.latched
    for reason in wrong:
        if reason.fault in latching and all(reason.fault != known.fault for known in latched):
            latched = (*latched, reason)
    phase = _phase(state.commanded, bool(wrong), bool(latched))
    stopped = state.phase is Phase.MOVING and phase is not Phase.MOVING
    return Supervision(
        phase=phase,
        active=active,
        latched=latched,
        cause=wrong if stopped else state.cause,
        commanded=state.commanded or phase is Phase.MOVING,
        since_ns=state.since_ns if phase is state.phase else health.now_ns,
    )


def _phase(commanded: bool, wrong: bool, latched: bool) -> Phase:
    if latched:
        return Phase.HALTED
    if not wrong:
        return Phase.MOVING
    return Phase.HOLDING if commanded else Phase.IDLE


def _find_reasons(config: SupervisorConfig, health: Health) -> list[Reason]:
    return [
        *_plan(health),
        *health.start,
        *_ages(config, health),
        *_robot(config, health),
        *_deadman(config, health),
    ]


def _plan(health: Health) -> list[Reason]:
    if health.plan_end_ns is None:
        return [Reason(Fault.NO_CHUNK, 'waiting for one')]
    if health.now_ns >= health.plan_end_ns:
        late_ms = (health.now_ns - health.plan_end_ns) / 1e6
        return [
            Reason(Fault.EXHAUSTED, f'its last step was due {late_ms:.0f} ms ago and no new chunk has come')
        ]
    return []


def _ages(config: SupervisorConfig, health: Health) -> list[Reason]:
    if health.plan_end_ns is None:
        return []  # ages are those behind a plan
    reasons = []
    for stream, max_age_ns in config.max_age_ns.items():
        age_ns = health.ages_ns.get(stream)
        if age_ns is None:
            reasons.append(Reason(Fault.STALE, f'nothing received from {stream}'))
        elif age_ns > max_age_ns:
            detail = f'{stream} is {age_ns / 1e6:.0f} ms old, at most {max_age_ns / 1e6:.0f} ms are allowed'
            reasons.append(Reason(Fault.STALE, detail))
    return reasons


def _robot(config: SupervisorConfig, health: Health) -> list[Reason]:
    reasons = []
    if health.rivals:
        detail = f'set-points come from {", ".join(health.rivals)}, too; stop it'
        reasons.append(Reason(Fault.SECOND_PUBLISHER, detail))
    if config.watch_robot_mode and health.robot_mode != ROBOT_MODE_MOVE:
        number = health.robot_mode
        mode = f'unknown ({number})'
        if number is not None and 0 <= number < len(ROBOT_MODES):
            mode = ROBOT_MODES[number]
        reasons.append(Reason(Fault.ROBOT_MODE, f'{mode}, expected move'))
    return reasons


def _deadman(config: SupervisorConfig, health: Health) -> list[Reason]:
    if not config.deadman:
        return []
    if health.deadman_age_ns is None:
        return [Reason(Fault.DEADMAN, 'nothing received from the enabling switch')]
    if health.deadman_age_ns > config.deadman_max_age_ns:
        return [Reason(Fault.DEADMAN, f'no message for {health.deadman_age_ns / 1e6:.0f} ms')]
    return [] if health.deadman_pressed else [Reason(Fault.DEADMAN, 'not pressed')]

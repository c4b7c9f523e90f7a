"""Takes a stage through its cases one by one, and says of each what came of it."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from restac_ros.control.limits import MotionLimits
from restac_ros.nodes.drill.drill_cases import Case
from restac_ros.nodes.drill.drill_record import (
    Saying,
    first_match,
    last_motion_ns,
    restart_fault,
    stalls_ns,
    violations,
)
from restac_ros.nodes.drill.drill_stage import LateError, Stage

STREAMING = 'streamer_node: streaming'
LATENCY = 'policy_node: latency '
STILL_NS = 300_000_000  # so long without motion is a hold
GO_ON_NS = 1_500_000_000  # so long with motion is going on


@dataclass
class CaseOutcome:
    """What came of one fault. Times are of the messages' stamps.

    Attributes:
        held_ms: from the fault to the end of the last motion; None where it goes on.
        limit_ms: the longest that may take.
        ramp_ms: from the streamer's word that it holds to the end of the motion.
        reason: what /diagnostics said.
        logged: the session log says so, too.
        faults: what was not as it must be; empty for a fault well borne.
    """

    name: str
    expectation: str
    held_ms: float | None = None
    limit_ms: float | None = None
    ramp_ms: float | None = None
    reason: str = ''
    logged: bool = False
    recovered: bool = False
    faults: list[str] = field(default_factory=list)
    onset_ns: int = 0
    over_ns: int = 0


@dataclass(frozen=True)
class Bounds:
    """What holds must keep. `life_ns`: the longest that a chunk is played after its observation."""

    limits: MotionLimits
    life_ns: int
    period_ns: int


class Director:
    """Rehearses cases on a stage."""

    def __init__(self, stage: Stage, bounds: Bounds) -> None:
        self._stage = stage
        self._bounds = bounds

    def rehearse(self, cases: Iterable[Case]) -> Iterator[CaseOutcome]:
        """All of them, or as many as the arm moves for; one that fails says so in its outcome."""
        for case in cases:
            outcome = CaseOutcome(case.name, case.expectation)
            yield outcome
            self._stage.node.get_logger().info(f'drill: {case.name}')
            try:
                self._await_motion()
            except LateError as late:
                outcome.faults.append(str(late))
                break
            try:
                self._rehearse(case, outcome)
            except LateError as late:
                outcome.faults.append(str(late))
                self._stage.node.get_logger().warning(str(late))
                case.end(self._stage)
                self._stage.call('resume')

    def _rehearse(self, case: Case, outcome: CaseOutcome) -> None:
        stage = self._stage
        outcome.onset_ns = stage.now_ns()
        case.begin(stage)
        match case.expectation:
            case 'go on':
                self._see_going_on(case, outcome)
            case 'gone':
                self._see_silence()
            case _:
                self._see_hold(case, outcome)
        if case.heals:
            stage.until(lambda: stage.call('resume'), f'{case.name}: its cause is gone, resume is accepted')
        case.end(stage)
        self._await_motion(resuming=case.expectation == 'halt')
        outcome.recovered = True
        outcome.over_ns = stage.now_ns()
        points = stage.record.set_points(outcome.onset_ns - STILL_NS)
        outcome.faults += violations(points, self._bounds.limits)
        if case.silent and (fault := restart_fault(points)):
            outcome.faults.append(fault)

    def _await_motion(self, resuming: bool = False) -> None:
        """Until the streamer moves, and has done so for a while; a person resumes it where it is latched."""
        stage, since_ns = self._stage, self._stage.now_ns()

        def moving() -> bool:
            if resuming and stage.streamer_says.startswith('halted'):
                stage.call('resume')
            if not stage.streamer_says.startswith('moving'):
                return False
            points = stage.record.set_points(since_ns)
            last_ns = last_motion_ns(points)
            return last_ns is not None and points[-1].stamp_ns - last_ns < STILL_NS and len(points) > 20

        stage.until(moving, 'the arm moves')

    def _see_hold(self, case: Case, outcome: CaseOutcome) -> None:
        stage, onset_ns = self._stage, outcome.onset_ns

        def standing() -> bool:
            points = stage.record.set_points(onset_ns)
            last_ns = last_motion_ns(points) or onset_ns
            if case.silent:
                return stage.now_ns() - (points[-1].stamp_ns if points else onset_ns) > STILL_NS
            return bool(points) and points[-1].stamp_ns - last_ns > STILL_NS

        holds = 'halted' if case.expectation == 'halt' else 'holding'
        stage.until(
            lambda: stage.streamer_says.startswith(holds) and standing(),
            f'{case.name}: {holds}, standing still',
        )
        self._see_reason(case, outcome)
        points = stage.record.set_points(onset_ns)
        if case.silent:
            still_ns = points[-1].stamp_ns if points else onset_ns
        else:
            still_ns = last_motion_ns(points) or onset_ns
        self._judge_hold(case, outcome, still_ns)

    def _judge_hold(self, case: Case, outcome: CaseOutcome, still_ns: int) -> None:
        stage, onset_ns = self._stage, outcome.onset_ns
        points = [point for point in stage.record.set_points(onset_ns) if point.stamp_ns <= still_ns]
        stalled_ns = stalls_ns(points, self._bounds.period_ns)
        stop_ns = self._bounds.limits.stop_ns + 2 * self._bounds.period_ns + stalled_ns
        limit_ns = case.noticed_ns + stop_ns
        if case.runs_out:
            limit_ns += self._bounds.life_ns + self._noticing_ns()
        outcome.held_ms, outcome.limit_ms = (still_ns - onset_ns) / 1e6, limit_ns / 1e6
        if outcome.held_ms > outcome.limit_ms:
            outcome.faults.append(f'held after {outcome.held_ms:.0f} ms, limit {outcome.limit_ms:.0f} ms')
        said_ns = stage.record.turned_ns(STREAMING, '^(holding|halted)', onset_ns)
        outcome.ramp_ms = max(0, still_ns - said_ns) / 1e6
        if outcome.ramp_ms > stop_ns / 1e6:
            outcome.faults.append(f'a ramp of {outcome.ramp_ms:.0f} ms, limit {stop_ns / 1e6:.0f} ms')

    def _noticing_ns(self) -> int:
        """What only decoding shows is noticed once the call under way has ended: the policy's own figures."""
        stages = ('frame_cameras', 'prefix', 'frame_tactile', 'tactile')
        longest_ms = [stage_ms(self._stage.record.newest(f'{LATENCY}{name}')) for name in stages]
        return round(sum(longest_ms) * 1e6)

    def _see_going_on(self, case: Case, outcome: CaseOutcome) -> None:
        stage, onset_ns = self._stage, outcome.onset_ns

        def going_on() -> bool:
            """A busy machine may hold for reasons of its own, but not for ever."""
            held_ns = stage.record.last_said_ns(STREAMING, '^(holding|halted)', onset_ns)
            return stage.record.newest_ns > held_ns + GO_ON_NS

        stage.until(going_on, f'{case.name}: set-points go on')
        self._see_reason(case, outcome)
        if halted := stage.record.heard('^halted', onset_ns, STREAMING):
            outcome.faults.append(f'went not on: {halted}')

    def _see_silence(self) -> None:
        """Until nothing is said any more."""
        stage, begun_ns = self._stage, self._stage.now_ns()
        stage.until(
            lambda: (
                stage.now_ns() > begun_ns + STILL_NS and stage.record.newest_ns < stage.now_ns() - STILL_NS
            ),
            'set-points have ended',
        )

    def _see_reason(self, case: Case, outcome: CaseOutcome) -> None:
        if not case.reason:
            return
        record = self._stage.record
        self._stage.until(
            lambda: record.heard(case.reason, outcome.onset_ns, case.speaker),
            f'{case.name}: /diagnostics says {case.reason!r}',
        )
        parts = record.heard(case.reason, outcome.onset_ns, case.speaker).split('; ')
        outcome.reason = next((part for part in parts if re.search(case.reason, part)), parts[0])


def stage_ms(text: str) -> float:
    """The longest that a stage took, of a latency's status; 0 where it has said nothing."""
    values = dict(pair.split('=', 1) for pair in text.split('; ')[1:])
    return float(values.get('max_ms', 0))


def judge_log(cases: Sequence[Case], outcomes: Sequence[CaseOutcome], sayings: Sequence[Saying]) -> None:
    """Whether the session log says the reasons, too."""
    by_name = {case.name: case for case in cases}
    for outcome in outcomes:
        case = by_name[outcome.name]
        during = [saying for saying in sayings if outcome.onset_ns <= saying.stamp_ns <= outcome.over_ns]
        outcome.logged = not case.reason or bool(first_match(during, case.reason, case.speaker))
        if outcome.recovered and not outcome.logged:
            outcome.faults.append('the session log does not say why')

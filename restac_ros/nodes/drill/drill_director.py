"""Runs the cases of a drill one by one and judges the outcome of each."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from restac_ros.control.limits import MotionLimits
from restac_ros.nodes.drill.drill_cases import Case
from restac_ros.nodes.drill.drill_record import (
    STREAMING,
    StatusText,
    first_match,
    last_match_ns,
    last_motion_ns,
    restart_fault,
    stalls_ns,
    starts_ns,
    turned_ns,
    violations,
)
from restac_ros.nodes.drill.drill_stage import LateError, Stage

_STOPPED = '^(holding|halted)'
LATENCY = 'policy_node: latency '
_WATCH = 'streamer_node: latency watch'
OUTSIDE = 'outside workspace'
STILL_NS = 300_000_000  # no motion for this long is a hold
GO_ON_NS = 1_500_000_000  # motion for this long is going on


@dataclass
class CaseOutcome:
    """Outcome of one fault. Times are of the messages' stamps.

    Attributes:
        held_ms: from the fault to the end of the last motion; None where motion goes on.
        limit_ms: upper limit of `held_ms`.
        ramp_ms: from the streamer's status 'holding' or 'halted' to the end of the motion.
        reason: text on /diagnostics.
        logged: whether the session log holds the reason, too.
        faults: failed checks; empty when the case passed.
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
    """Limits of every hold. `life_ns`: longest time from a chunk's observation to its last set-point."""

    limits: MotionLimits
    life_ns: int
    period_ns: int


class Director:
    """Runs cases on a stage."""

    def __init__(self, stage: Stage, bounds: Bounds) -> None:
        self._stage = stage
        self._bounds = bounds

    def rehearse(self, cases: Iterable[Case]) -> Iterator[CaseOutcome]:
        """Run the cases, until the arm does not move any more; failures are in the outcomes."""
        for case in cases:
            outcome = CaseOutcome(case.name, case.expectation)
            yield outcome
            self._stage.node.get_logger().info(f'drill: {case.name}')
            try:
                if self._stage.arm.astray():  # a policy that wanders ends where the arm cannot follow
                    self._stage.lead_home()
                self._await_motion(resuming=True)  # recovery itself is judged at the end of each case
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
                self._await_going_on(case, outcome)
            case 'gone':
                self._await_silence()
            case _:
                self._await_hold(case, outcome)
        if case.heals:
            stage.until(lambda: stage.call('resume'), f'{case.name}: its cause is gone, resume is accepted')
        case.end(stage)
        self._await_motion(resuming=case.expectation == 'halt' or bool(outcome.faults))
        outcome.recovered = True
        outcome.over_ns = stage.now_ns()
        since_ns, limits = outcome.onset_ns - STILL_NS, self._bounds.limits
        points, starts = stage.record.set_points(since_ns), starts_ns(stage.record.statuses(since_ns))
        outcome.faults += violations(points, limits, starts)
        if case.silent and (fault := restart_fault(points, limits, starts)):
            outcome.faults.append(fault)

    def _await_motion(self, resuming: bool = False) -> None:
        """Wait until the streamer has moved for a while; if `resuming`, resume it when it is halted.

        An arm that stands outside of the workspace is led home first.
        """
        stage, since_ns = self._stage, self._stage.now_ns()

        def moving() -> bool:
            nonlocal resuming
            if OUTSIDE in stage.streamer_status and stage.arm.astray():
                stage.lead_home()
                resuming = True
            if resuming and stage.streamer_status.startswith('halted'):
                stage.call('resume')
            if not stage.streamer_status.startswith('moving'):
                return False
            points = stage.record.set_points(since_ns)
            last_ns = last_motion_ns(points)
            return last_ns is not None and points[-1].stamp_ns - last_ns < STILL_NS and len(points) > 20

        stage.until(moving, 'the arm moves')

    def _await_hold(self, case: Case, outcome: CaseOutcome) -> None:
        stage, onset_ns = self._stage, outcome.onset_ns

        def standing() -> bool:
            points = stage.record.set_points(onset_ns)
            last_ns = last_motion_ns(points) or onset_ns
            if case.silent:
                return stage.now_ns() - (points[-1].stamp_ns if points else onset_ns) > STILL_NS
            return bool(points) and points[-1].stamp_ns - last_ns > STILL_NS

        holds = 'halted' if case.expectation == 'halt' else 'holding'
        stage.until(
            lambda: stage.streamer_status.startswith(holds) and standing(),
            f'{case.name}: {holds}, standing still',
        )
        self._await_reason(case, outcome)
        self._judge_hold(case, outcome)

    def _judge_hold(self, case: Case, outcome: CaseOutcome) -> None:
        record, onset_ns = self._stage.record, outcome.onset_ns
        points = record.set_points(onset_ns)
        last_ns = points[-1].stamp_ns if points else onset_ns
        still_ns = last_ns if case.silent else last_motion_ns(points) or onset_ns
        points = [point for point in points if point.stamp_ns <= still_ns]
        stalled_ns = stalls_ns(points, self._bounds.period_ns)
        stop_ns = self._bounds.limits.stop_ns + 2 * self._bounds.period_ns + stalled_ns
        limit_ns = case.noticed_ns + stop_ns
        if case.runs_out:
            limit_ns += self._bounds.life_ns + self._noticing_ns()
        if still_ns - onset_ns > limit_ns:
            limit_ns += self._watching_ns(still_ns)
        outcome.held_ms, outcome.limit_ms = (still_ns - onset_ns) / 1e6, limit_ns / 1e6
        if outcome.held_ms > outcome.limit_ms:
            outcome.faults.append(f'held after {outcome.held_ms:.0f} ms, limit {outcome.limit_ms:.0f} ms')
        begun_ns = turned_ns(record.statuses(onset_ns, STREAMING), _STOPPED, onset_ns)
        outcome.ramp_ms = max(0, still_ns - begun_ns) / 1e6
        if outcome.ramp_ms > stop_ns / 1e6:
            outcome.faults.append(f'a ramp of {outcome.ramp_ms:.0f} ms, limit {stop_ns / 1e6:.0f} ms')

    def _noticing_ns(self) -> int:
        """Longest time until a fault that only decoding shows is noticed: the policy's own maxima, ns."""
        stages = ('frame_cameras', 'prefix', 'frame_tactile', 'tactile')
        longest_ms = [stage_ms(self._stage.record.newest(f'{LATENCY}{name}')) for name in stages]
        return round(sum(longest_ms) * 1e6)

    def _watching_ns(self, still_ns: int) -> int:
        """Longest time that a busy machine kept the streamer from receiving anything, as said since, ns."""
        record = self._stage.record
        self._stage.until(lambda: record.statuses(still_ns, _WATCH), 'the streamer says how late it receives')
        return round(stage_ms(record.newest(_WATCH)) * 1e6)

    def _await_going_on(self, case: Case, outcome: CaseOutcome) -> None:
        stage, onset_ns = self._stage, outcome.onset_ns

        def halted() -> str:
            return first_match(stage.record.statuses(onset_ns, STREAMING), '^halted')

        def going_on() -> bool:
            """A busy machine may hold for other reasons, but not for ever."""
            held_ns = last_match_ns(stage.record.statuses(onset_ns, STREAMING), _STOPPED, onset_ns)
            return stage.record.newest_ns > held_ns + GO_ON_NS

        stage.until(lambda: going_on() or halted(), f'{case.name}: set-points go on')
        if not halted():
            self._await_reason(case, outcome)
        if status := halted():
            outcome.faults.append(f'did not go on: {status}')

    def _await_silence(self) -> None:
        stage, begun_ns = self._stage, self._stage.now_ns()
        stage.until(
            lambda: (
                stage.now_ns() > begun_ns + STILL_NS and stage.record.newest_ns < stage.now_ns() - STILL_NS
            ),
            'set-points have ended',
        )

    def _await_reason(self, case: Case, outcome: CaseOutcome) -> None:
        if not case.reason:
            return

        record = self._stage.record

        def found() -> str:
            return first_match(record.statuses(outcome.onset_ns, case.node), case.reason)

        try:
            self._stage.until(found, f'{case.name}: {case.reason!r} on /diagnostics')
        except LateError as late:
            newest = {status.name: status.text for status in record.statuses(outcome.onset_ns, case.node)}
            raise LateError(f'{late}; found {newest}') from None
        parts = found().split('; ')
        outcome.reason = next((part for part in parts if re.search(case.reason, part)), parts[0])


def stage_ms(text: str) -> float:
    """Longest time of a stage in ms, from the text of its latency status; 0 for an empty text."""
    values = dict(pair.split('=', 1) for pair in text.split('; ')[1:])
    return float(values.get('max_ms', 0))


def judge_log(cases: Sequence[Case], outcomes: Sequence[CaseOutcome], statuses: Sequence[StatusText]) -> None:
    """Check that the session log holds the reasons, too."""
    by_name = {case.name: case for case in cases}
    for outcome in outcomes:
        case = by_name[outcome.name]
        during = [status for status in statuses if outcome.onset_ns <= status.stamp_ns <= outcome.over_ns]
        outcome.logged = not case.reason or bool(first_match(during, case.reason, case.node))
        if outcome.recovered and not outcome.logged:
            outcome.faults.append('the session log does not hold the reason')

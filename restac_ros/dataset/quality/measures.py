"""Figures of an episode, computed from its trace: rhythm, gaps, freezes, ages, skew, stillness."""

from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from restac_ros.dataset.errors import ConversionError
from restac_ros.dataset.freezes import frozen_runs
from restac_ros.dataset.plan import EpisodePlan, check_rates, plan_episode
from restac_ros.dataset.quality.trace import StreamMessages, Trace

LOST_FACTOR = 1.8  # an interval of so many usual ones hides a lost message
GAP_PERIODS = 3.0
GAP_FLOOR_NS = 100_000_000  # shorter holes are counted as lost messages, not listed
STEP_NS = 50_000_000  # a lasting change of a stream's delay by more is no jitter
STEP_WINDOW = 8
UNDECODABLE = 'undecodable: '  # what the framer's reasons begin with then
_STILL_M, _STILL_RAD, STILL_OPENING_M = 0.002, 0.01, 0.001


class Spread(NamedTuple):
    """A distribution in a few figures."""

    p50: float
    p95: float
    max: float


class Gap(NamedTuple):
    """A hole in a stream: times in s from the first frame on, how many messages should have been there."""

    start_s: float
    end_s: float
    missing: int


class Frozen(NamedTuple):
    """Identical images over a time, in s from the first frame on."""

    start_s: float
    end_s: float
    images: int


class Step(NamedTuple):
    """A stream's stamps jump against its receipt: when, and by how much."""

    time_s: float
    step_ms: float


@dataclass(frozen=True)
class StreamMeasures:
    """Figures of one stream; `undecodable` counts frames by the decoder's reason."""

    interval_ms: Spread | None
    delay_ms: Spread | None
    age_ms: Spread | None
    lost: int
    gaps: list[Gap]
    frozen: list[Frozen]
    steps: list[Step]
    invalid_frames: int
    undecodable: Counter[str]


@dataclass(frozen=True)
class Measures:
    """Figures of an episode. `plan` is the longest usable run, or None with the reason in `no_plan`.

    `jumps` are holes that all streams have at once: the clock was set forward, or the machine stood still.
    """

    streams: dict[str, StreamMeasures]
    skew_ms: Spread | None
    static_head_s: float
    static_tail_s: float
    moves: bool
    jumps: list[Gap]
    plan: EpisodePlan | None
    no_plan: str
    false_rates: list[str]

    @property
    def longest_run(self) -> int:
        """Frames usable in a row."""
        return self.plan.length if self.plan else 0


def measure(trace: Trace) -> Measures:
    """All figures of a trace."""
    plan, no_plan = _plan(trace)
    jumps = _jumps(trace)
    head_s, tail_s, moves = _stillness(trace)
    return Measures(
        streams={name: _stream(trace, name, jumps) for name in trace.messages},
        skew_ms=_skew(trace),
        static_head_s=head_s,
        static_tail_s=tail_s,
        moves=moves,
        jumps=jumps,
        plan=plan,
        no_plan=no_plan,
        false_rates=check_rates(trace.survey, trace.contract, plan) if plan else [],
    )


def spread(values: np.ndarray) -> Spread | None:
    """Median, 95th percentile and maximum of the finite values; None without any."""
    values = values[np.isfinite(values)]
    if not values.size:
        return None
    return Spread(*(round(float(value), 3) for value in (*np.percentile(values, [50, 95]), values.max())))


def _plan(trace: Trace) -> tuple[EpisodePlan | None, str]:
    """The frames that the converter could keep, or why there are none."""
    try:
        return plan_episode(trace.survey, (), keep_longest=True), ''
    except ConversionError as error:
        return None, str(error)


def _stream(trace: Trace, name: str, jumps: list[Gap]) -> StreamMeasures:
    seen = trace.messages[name]
    intervals_ns = np.diff(np.sort(seen.stamps_ns))
    usual_ns = _usual_ns(trace, name)
    gaps = [
        gap
        for gap in _gaps(trace, seen.stamps_ns, usual_ns)
        if not any(gap.start_s < jump.end_s and jump.start_s < gap.end_s for jump in jumps)
    ]
    missing = np.round(intervals_ns[intervals_ns > LOST_FACTOR * usual_ns] / usual_ns) - 1
    across = sum(round((jump.end_s - jump.start_s) * 1e9 / usual_ns) for jump in jumps)
    delays_ms = (seen.receives_ns - seen.stamps_ns) * 1e-6 if seen.complete else np.array([])
    return StreamMeasures(
        interval_ms=spread(intervals_ns * 1e-6) if seen.complete else None,
        delay_ms=spread(delays_ms),
        age_ms=spread(trace.ages_ms(name)),
        lost=max(0, int(missing.sum()) - across) if seen.complete else 0,
        gaps=gaps,
        frozen=_frozen(trace, name),
        steps=_steps(trace, seen),
        invalid_frames=int((~trace.valid(name)).sum()),
        undecodable=_undecodable(trace, name),
    )


def _usual_ns(trace: Trace, name: str) -> float:
    """The stream's own rhythm; from a data set, at which most samples are missing, not below a frame."""
    seen = trace.messages[name]
    declared_ns = 1e9 / trace.contract.streams[name].rate_hz
    if not seen.complete:
        return max(declared_ns, trace.contract.period_ns)
    intervals_ns = np.diff(np.sort(seen.stamps_ns))
    return max(float(np.median(intervals_ns)), 1.0) if intervals_ns.size else declared_ns


def _gaps(trace: Trace, stamps_ns: np.ndarray, usual_ns: float) -> list[Gap]:
    """Holes between samples, and between the samples and the episode's ends."""
    if not stamps_ns.size:
        return []
    end_ns = int(trace.time_ns[-1]) if trace.time_ns.size else 0
    stamps_ns = np.concatenate(
        [[min(trace.start_ns, stamps_ns.min())], np.sort(stamps_ns), [max(end_ns, stamps_ns.max())]]
    )
    limit_ns = max(GAP_PERIODS * usual_ns, GAP_FLOOR_NS)
    intervals_ns = np.diff(stamps_ns)
    return [
        Gap(
            trace.seconds(stamps_ns[i]),
            trace.seconds(stamps_ns[i + 1]),
            round(intervals_ns[i] / usual_ns) - 1,
        )
        for i in np.flatnonzero(intervals_ns > limit_ns)
    ]


def _jumps(trace: Trace) -> list[Gap]:
    """Holes that every stream has at the same time; there have to be two streams to tell."""
    jumps = [
        Gap(trace.seconds(silence.start_ns), trace.seconds(silence.end_ns), 0) for silence in trace.silences
    ]
    holes = [_gaps_between(trace, name) for name, seen in trace.messages.items() if seen.stamps_ns.size]
    if len(holes) < 2:
        return jumps
    shared = holes[0]
    for other in holes[1:]:
        shared = [
            Gap(max(a.start_s, b.start_s), min(a.end_s, b.end_s), 0)
            for a in shared
            for b in other
            if a.start_s < b.end_s and b.start_s < a.end_s
        ]
    return jumps + [
        hole
        for hole in shared
        if not any(hole.start_s < jump.end_s and jump.start_s < hole.end_s for jump in jumps)
    ]


def _gaps_between(trace: Trace, name: str) -> list[Gap]:
    """Holes of a stream, without those at the ends: a stream that stops early is no jump."""
    stamps_ns = trace.messages[name].stamps_ns
    first, last = trace.seconds(stamps_ns.min()), trace.seconds(stamps_ns.max())
    return [
        gap
        for gap in _gaps(trace, stamps_ns, _usual_ns(trace, name))
        if gap.start_s >= first and gap.end_s <= last
    ]


def _frozen(trace: Trace, name: str) -> list[Frozen]:
    """Stretches for which the stream shows one image."""
    runs = frozen_runs(trace.messages[name].freezes or (), trace.contract.streams[name].max_age_ns)
    return [Frozen(trace.seconds(run.start_ns), trace.seconds(run.end_ns), run.count) for run in runs]


def _steps(trace: Trace, seen: StreamMessages) -> list[Step]:
    """Lasting changes of the delay between capture and receipt."""
    if not seen.complete or seen.stamps_ns.size < 2 * STEP_WINDOW or seen.zero_stamps:
        return []
    delays_ns = seen.receives_ns - seen.stamps_ns
    steps: list[Step] = []
    last = -STEP_WINDOW
    for index in np.flatnonzero(np.abs(np.diff(delays_ns)) > STEP_NS) + 1:
        before = np.median(delays_ns[max(0, index - STEP_WINDOW) : index])
        change_ns = float(before - np.median(delays_ns[index : index + STEP_WINDOW]))
        if abs(change_ns) > STEP_NS and index - last >= STEP_WINDOW:
            steps.append(Step(trace.seconds(seen.receives_ns[index]), round(change_ns * 1e-6, 1)))
            last = index
    return steps


def _undecodable(trace: Trace, name: str) -> Counter[str]:
    """Why frames could not decode their sample, by count."""
    reasons = (statuses[name].reason for statuses in trace.survey.statuses)
    return Counter(text.removeprefix(UNDECODABLE) for text in reasons if text.startswith(UNDECODABLE))


def _skew(trace: Trace) -> Spread | None:
    """How far apart a frame's samples were captured, in ms, over frames with at least two valid ones."""
    apart = []
    for statuses in trace.survey.statuses:
        stamps = [
            status.stamp_ns for status in statuses.values() if status.valid and status.stamp_ns is not None
        ]
        if len(stamps) > 1:
            apart.append((max(stamps) - min(stamps)) * 1e-6)
    return spread(np.array(apart))


def _stillness(trace: Trace) -> tuple[float, float, bool]:
    """For how long nothing moves at the beginning and at the end, s; and whether anything moves at all."""
    known = np.flatnonzero(np.isfinite(trace.state).all(axis=1))
    if known.size < 2:
        return 0.0, 0.0, False
    state, time_s = trace.state[known], trace.time_s[known]
    from_start, from_end = (_moved(state - state[i]) for i in (0, -1))
    if not from_start.any():
        return 0.0, 0.0, False
    head_s = time_s[np.argmax(from_start)] - time_s[0]
    tail_s = time_s[-1] - time_s[state.shape[0] - 1 - np.argmax(from_end[::-1])]
    return round(float(head_s), 3), round(float(tail_s), 3), True


def _moved(change: np.ndarray) -> np.ndarray:
    """bool [N]: the tool or the gripper is elsewhere; whole turns of an angle are no motion."""
    angles = np.abs((change[:, 3:6] + np.pi) % (2 * np.pi) - np.pi)
    return (
        (np.linalg.norm(change[:, :3], axis=1) > _STILL_M)
        | (angles.max(axis=1) > _STILL_RAD)
        | (np.abs(change[:, 6]) > STILL_OPENING_M)
    )

"""Figures of an episode, computed from its trace: rhythm, gaps, freezes, ages, skew, stillness."""

from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from restac_ros.dataset.errors import ConversionError
from restac_ros.dataset.freezes import frozen_runs
from restac_ros.dataset.plan import EpisodePlan, check_rates, plan_episode
from restac_ros.dataset.quality.trace import Trace

LOST_FACTOR = 1.8  # an interval of so many usual ones hides a lost message
GAP_PERIODS = 3.0
GAP_FLOOR_NS = 100_000_000  # shorter holes are counted as lost messages, not listed
STEP_NS = 50_000_000  # a lasting change of a stream's delay by more is no jitter
STEP_WINDOW, STEP_WINDOW_NS = 8, 500_000_000  # on each side: so many messages, and so long
UNDECODABLE = 'undecodable: '  # what the framer's reasons begin with then
_STILL_M, _STILL_RAD, STILL_OPENING_M = 0.002, 0.01, 0.001


class Spread(NamedTuple):
    """Median, 95th percentile and maximum of a distribution."""

    p50: float
    p95: float
    max: float


class Gap(NamedTuple):
    """A hole in a stream: times in s from the first frame on, and how many messages are missing."""

    start_s: float
    end_s: float
    missing: int


class Frozen(NamedTuple):
    """Identical images over a time, in s from the first frame on."""

    start_s: float
    end_s: float
    images: int


class Step(NamedTuple):
    """A jump of a stream's stamps against their receipt, s from the first frame on."""

    time_s: float
    step_ms: float


@dataclass(frozen=True)
class StreamQuality:
    """One stream over an episode. Times in s count from the first frame.

    `lost` are messages missing by the stream's own rhythm, `gaps` the longer holes, `frozen` stretches of
    identical images too long to be true; `repeated_images` is None where they were not examined. `delay_ms`
    runs from capture to receipt, `age_ms` is what frames used. A data set holds no intervals and delays.
    `encodings` are counts by 'encoding WxH'.
    """

    topic: str
    role: str
    messages: int
    rate_hz: float
    declared_rate_hz: float
    interval_ms: Spread | None
    delay_ms: Spread | None
    age_ms: Spread | None
    lost: int
    gaps: list[Gap]
    frozen: list[Frozen]
    repeated_images: int | None
    invalid_frames: int
    zero_stamps: int
    unreadable: int
    undecodable: int
    duplicates: int
    out_of_order: int
    future: int
    encodings: dict[str, int]


@dataclass(frozen=True)
class Measures:
    """Figures of an episode. `plan` is the longest usable run, or None with the reason in `no_plan`.

    `jumps` are holes that all streams have at once: the clock was set forward, or the machine stood still.
    """

    streams: dict[str, StreamQuality]
    skew_ms: Spread | None
    static_head_s: float
    static_tail_s: float
    moves: bool
    jumps: list[Gap]
    plan: EpisodePlan | None
    no_plan: str
    false_rates: list[str]


def measure(trace: Trace) -> Measures:
    """Measure an episode."""
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
    """Return median, 95 % and maximum of the finite values of [N]; None without any."""
    values = values[np.isfinite(values)]
    if not values.size:
        return None
    return Spread(*(round(float(value), 3) for value in (*np.percentile(values, [50, 95]), values.max())))


def _plan(trace: Trace) -> tuple[EpisodePlan | None, str]:
    """Return the frames that the converter could keep, or why there are none."""
    try:
        return plan_episode(trace.survey, (), keep_longest=True), ''
    except ConversionError as error:
        return None, str(error)


def _stream(trace: Trace, name: str, jumps: list[Gap]) -> StreamQuality:
    spec, seen, counted = trace.contract.streams[name], trace.messages[name], trace.survey.streams[name]
    intervals_ns = np.diff(np.sort(seen.stamps_ns))
    usual_ns = _usual_ns(trace, name)
    gaps = [
        gap
        for gap in _gaps(trace, seen.stamps_ns, usual_ns)
        if not any(_overlap(gap, jump) for jump in jumps)
    ]
    missing = np.round(intervals_ns[intervals_ns > LOST_FACTOR * usual_ns] / usual_ns) - 1
    across = sum(round((jump.end_s - jump.start_s) * 1e9 / usual_ns) for jump in jumps)
    delays_ms = (seen.receives_ns - seen.stamps_ns) * 1e-6 if seen.complete else np.array([])
    return StreamQuality(
        topic=spec.topic,
        role=spec.role,
        messages=counted.messages,
        rate_hz=counted.rate_hz,
        declared_rate_hz=spec.rate_hz,
        interval_ms=spread(intervals_ns * 1e-6) if seen.complete else None,
        delay_ms=spread(delays_ms),
        age_ms=spread(trace.ages_ms(name)),
        lost=max(0, int(missing.sum()) - across) if seen.complete else 0,
        gaps=gaps,
        frozen=_frozen(trace, name),
        repeated_images=None if seen.freezes is None else sum(run.count - 1 for run in seen.freezes),
        invalid_frames=int((~trace.valid(name)).sum()),
        zero_stamps=counted.zero_stamps,
        unreadable=counted.unreadable,
        undecodable=sum(seen.refusals.values()),
        duplicates=counted.duplicates,
        out_of_order=counted.out_of_order,
        future=counted.future,
        encodings=dict(seen.layouts),
    )


def _usual_ns(trace: Trace, name: str) -> float:
    """Return the usual interval of a stream; of a data set, which lacks most samples, at least a frame's."""
    seen = trace.messages[name]
    declared_ns = 1e9 / trace.contract.streams[name].rate_hz
    if not seen.complete:
        return max(declared_ns, trace.contract.period_ns)
    intervals_ns = np.diff(np.sort(seen.stamps_ns))
    return max(float(np.median(intervals_ns)), 1.0) if intervals_ns.size else declared_ns


def _gaps(trace: Trace, stamps_ns: np.ndarray, usual_ns: float) -> list[Gap]:
    """Find holes between samples, and between the samples and the episode's ends.

    It ends with the last sample of any stream: what was recorded after all had ended is one finding.
    """
    if not stamps_ns.size:
        return []
    end_ns = min(int(trace.time_ns[-1]), trace.last_stamp_ns) if trace.time_ns.size else 0
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
    """Find holes that all streams, at least two, have at the same time."""
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
            if _overlap(a, b)
        ]
    return jumps + [hole for hole in shared if not any(_overlap(hole, jump) for jump in jumps)]


def _overlap(a: Gap, b: Gap) -> bool:
    return a.start_s < b.end_s and b.start_s < a.end_s


def _gaps_between(trace: Trace, name: str) -> list[Gap]:
    """Find holes of a stream, short of those at the ends: a stream that stops early is no jump."""
    stamps_ns = trace.messages[name].stamps_ns
    first, last = trace.seconds(stamps_ns.min()), trace.seconds(stamps_ns.max())
    return [
        gap
        for gap in _gaps(trace, stamps_ns, _usual_ns(trace, name))
        if gap.start_s >= first and gap.end_s <= last
    ]


def _frozen(trace: Trace, name: str) -> list[Frozen]:
    """Find stretches of one image longer than the stream's samples may age."""
    runs = frozen_runs(trace.messages[name].freezes or (), trace.contract.streams[name].max_age_ns)
    return [Frozen(trace.seconds(run.start_ns), trace.seconds(run.end_ns), run.count) for run in runs]


def stamp_steps(trace: Trace, name: str) -> list[Step]:
    """Find lasting changes of a stream's delay between capture and receipt."""
    seen = trace.messages[name]
    has_zeros = bool(trace.survey.streams[name].zero_stamps)
    if not seen.complete or seen.stamps_ns.size < 2 * STEP_WINDOW or has_zeros:
        return []
    delays_ns = seen.receives_ns - seen.stamps_ns
    steps: list[Step] = []
    # A busy machine delays some tens of messages at once, which at 1 kHz is soon over.
    window = max(STEP_WINDOW, round(STEP_WINDOW_NS / _usual_ns(trace, name)))
    last = -window
    for index in np.flatnonzero(np.abs(np.diff(delays_ns)) > STEP_NS) + 1:
        before, after = delays_ns[max(0, index - window) : index], delays_ns[index : index + window]
        if min(before.size, after.size) < max(STEP_WINDOW, window // 2):
            continue
        change_ns = float(np.median(before) - np.median(after))
        if abs(change_ns) > STEP_NS and index - last >= window:
            steps.append(Step(trace.seconds(seen.receives_ns[index]), round(change_ns * 1e-6, 1)))
            last = index
    return steps


def undecodable_frames(trace: Trace, name: str) -> Counter[str]:
    """Count frames that could not decode their sample, by reason."""
    reasons = (statuses[name].reason for statuses in trace.survey.statuses)
    return Counter(text.removeprefix(UNDECODABLE) for text in reasons if text.startswith(UNDECODABLE))


def _skew(trace: Trace) -> Spread | None:
    """Return how far apart the valid samples of a frame were captured, ms."""
    apart = []
    for statuses in trace.survey.statuses:
        stamps = [
            status.stamp_ns for status in statuses.values() if status.valid and status.stamp_ns is not None
        ]
        if len(stamps) > 1:
            apart.append((max(stamps) - min(stamps)) * 1e-6)
    return spread(np.array(apart))


def _stillness(trace: Trace) -> tuple[float, float, bool]:
    """Return for how long nothing moves at both ends, s, and whether anything moves at all."""
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
    """Return bool [N]: the tool or the gripper has moved; whole turns of an angle are no motion."""
    angles = np.abs((change[:, 3:6] + np.pi) % (2 * np.pi) - np.pi)
    return (
        (np.linalg.norm(change[:, :3], axis=1) > _STILL_M)
        | (angles.max(axis=1) > _STILL_RAD)
        | (np.abs(change[:, 6]) > STILL_OPENING_M)
    )

"""What is wrong with an episode, in sentences, each with what to do about it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from restac_ros.dataset.freezes import FROZEN_REMEDY, frozen_text
from restac_ros.dataset.plan import MIN_FRAMES, RATE_TOLERANCE
from restac_ros.dataset.quality.contact import REFERENCE_FRAMES
from restac_ros.dataset.quality.measures import Measures, StreamMeasures
from restac_ros.dataset.quality.trace import StreamMessages, Trace
from restac_ros.framing.buffer import MAX_REORDER_NS
from restac_ros.framing.framer import OTHER_CLOCK_NS, other_clock

# 'bad': what is stored is false, or too little is left; 'warning': flawed, check it; 'note': no harm.
Severity = Literal['bad', 'warning', 'note']

KEPT_SHARE = 0.8  # an episode that loses more of its frames than the rest is not the one recorded
FROZEN_BAD_S = 2.0
STATIC_S = 2.0
LOST_SHARE = 0.01


@dataclass(frozen=True)
class Finding:
    """One fault. `kind` is its name for programs; times in s from the first frame on, None for all of it."""

    kind: str
    severity: Severity
    text: str
    remedy: str
    stream: str | None = None
    start_s: float | None = None
    end_s: float | None = None


def find_faults(trace: Trace, measures: Measures) -> list[Finding]:
    """All faults of an episode, the worst first."""
    found = [*_of_recording(trace, measures), *_of_frames(trace, measures), *_of_state(trace, measures)]
    for name, seen in trace.messages.items():
        found += _of_times(trace, name, seen, measures.streams[name])
        found += _of_stamps(trace, name, measures.streams[name])
        found += _of_content(name, seen, measures.streams[name])
    found += _of_touch(trace)
    return sorted(found, key=lambda finding: ('bad', 'warning', 'note').index(finding.severity))


def _of_recording(trace: Trace, measures: Measures) -> Iterator[Finding]:
    """The files, and the recorder's clock."""
    for damage in trace.damage:
        yield Finding(
            'truncated',
            'warning',
            f'the recording is damaged: {damage}; what is whole was read',
            'After a crash: `restac-ros recover`. After copying: copy it again.',
        )
    if trace.clock_set_back_ns > MAX_REORDER_NS:
        yield Finding(
            'clock-jump',
            'bad',
            f'receive times jump back by {trace.clock_set_back_ns / 1e9:.2f} s: the '
            "recorder's clock was set while recording, and the true times are lost",
            'Record it again; let chrony slew the clock, or set it before recording.',
        )
    for jump in measures.jumps:
        length_s = jump.end_s - jump.start_s
        yield Finding(
            'clock-jump',
            'bad',
            f'all streams jump by {length_s:.2f} s at {jump.start_s:.2f} s: the '
            'clock was set forward, or the machine stood still',
            'Record it again, or keep what lies on one side of it.',
            None,
            jump.start_s,
            jump.end_s,
        )


def _of_frames(trace: Trace, measures: Measures) -> Iterator[Finding]:
    """Frames that are no use, and whether their number per second is what is claimed."""
    total = trace.time_ns.size
    if measures.plan is None:
        yield Finding(
            'no-episode',
            'bad',
            f'no episode can be made of it: {measures.no_plan}',
            f'Mend what is named below; an episode needs {MIN_FRAMES} usable frames in a row.',
        )
        return
    for line in measures.false_rates:
        yield Finding(
            'false-rate',
            'bad',
            line,
            'Correct the driver, or fps and rate_hz in the contract.',
            line.partition(':')[0],
        )
    gaps = measures.plan.gaps
    if gaps:
        kept = measures.plan.length / total
        lost = sum(gap.length for gap in gaps)
        first = gaps[0]
        yield Finding(
            'invalid-frames',
            'warning' if kept >= KEPT_SHARE else 'bad',
            f'{lost} of {total} frames inside the episode are not usable, first at '
            f'{trace.time_s[first.first]:.2f} s ({first.reason}); the longest run without is '
            f'{measures.plan.length} frames',
            'Record it again, or convert its longest run (--on-gap longest_run).',
            None,
            float(trace.time_s[first.first]),
            float(trace.time_s[min(total - 1, first.first + first.length)]),
        )
    elif measures.plan.length < KEPT_SHARE * total:
        yield Finding(
            'invalid-frames',
            'warning',
            f'only {measures.plan.length} of {total} frames are usable; '
            f'{measures.plan.trimmed_head} at the beginning and {measures.plan.trimmed_tail} at the end '
            'are not',
            'Start the drivers before, and stop them after recording.',
        )


def _of_times(trace: Trace, name: str, seen: StreamMessages, measured: StreamMeasures) -> Iterator[Finding]:
    """Presence, rate and holes of a stream."""
    spec, report = trace.contract.streams[name], trace.survey.streams[name]
    if not report.messages:
        severity: Severity = 'bad' if spec.required else 'note'
        found, remedy = (
            f'{name}: no message on {spec.topic}',
            'Start its driver, or correct topic in the contract.',
        )
        if count := report.unreadable + report.others:
            found = f'{name}: {count} messages on {spec.topic}, none of this stream: {report.left_out}'
            remedy = 'Correct topic, type or joints in the contract.'
        yield Finding('missing-stream', severity, found, remedy, name)
        return
    if fault := _of_clock(name, seen):
        yield fault
        return  # its times mean nothing
    off = report.rate_hz / spec.rate_hz - 1
    if abs(off) > RATE_TOLERANCE:
        yield Finding(
            'rate',
            'warning',
            f'{name}: {report.rate_hz:.1f} Hz measured, the contract declares {spec.rate_hz:g} ({off:+.0%})',
            _rate_remedy(spec.role, report.rate_hz, spec.rate_hz),
            name,
        )
    if gaps := measured.gaps:
        longest = max(gaps, key=lambda gap: gap.end_s - gap.start_s)
        yield Finding(
            'gap',
            'warning',
            f'{name}: nothing for {longest.end_s - longest.start_s:.2f} s at '
            f'{longest.start_s:.2f} s{_and_more(len(gaps), "gap")}; '
            f'{sum(gap.missing for gap in gaps)} messages missing',
            'Look at its cable, hub and CPU load.',
            name,
            longest.start_s,
            longest.end_s,
        )
    inside_gaps = sum(gap.missing for gap in measured.gaps)
    if (lost := measured.lost - inside_gaps) > max(2, LOST_SHARE * report.messages) and seen.complete:
        yield Finding(
            'dropped',
            'warning',
            f'{name}: about {lost} of {report.messages + lost} messages were dropped singly',
            'A busy CPU or a full USB hub drops images: lower the load or the rate.',
            name,
        )


def _of_stamps(trace: Trace, name: str, measured: StreamMeasures) -> Iterator[Finding]:
    """The stamps of a stream, and messages without a readable one."""
    report = trace.survey.streams[name]
    if report.zero_stamps:
        yield Finding(
            'zero-stamp',
            'warning',
            f'{name}: {report.zero_stamps} of {report.messages} messages have a zero '
            'stamp, so that their times of receipt count',
            'Let the driver stamp at capture, or declare what it takes as latency_ms.',
            name,
        )
    if report.future:
        yield Finding(
            'future-stamp',
            'warning',
            f'{name}: {report.future} messages are stamped later than they were received',
            'Synchronise the clocks of the machines (chrony, PTP).',
            name,
        )
    for step in measured.steps:
        yield Finding(
            'stamp-step',
            'warning',
            f'{name}: its stamps jump by {step.step_ms:+.0f} ms against their receipt at {step.time_s:.2f} s',
            "Its driver's clock was set: synchronise it before recording.",
            name,
            step.time_s,
            step.time_s,
        )
    if report.unreadable:
        yield Finding(
            'unreadable',
            'warning',
            f'{name}: {report.unreadable} messages are too damaged to be dated',
            'Is the topic really of the declared type?',
            name,
        )


def _of_clock(name: str, seen: StreamMessages) -> Finding | None:
    """Stamps that are of another clock than the receipts, or of none."""
    stamps, receives = seen.stamps_ns, seen.receives_ns
    if stamps.size > 2 and not seen.zero_stamps and stamps.min() == stamps.max():
        found = f'{name}: {stamps.size} messages, one stamp: the driver does not set it'
        return Finding(
            'one-stamp', 'bad', found, 'Let the driver stamp at capture, or leave stamps at zero.', name
        )
    if stamps.size and stamps.size == receives.size and abs(np.median(receives - stamps)) > OTHER_CLOCK_NS:
        found, _, remedy = other_clock(int(stamps[0]), int(receives[0])).partition('; ')
        return Finding('another-clock', 'bad', f'{name}: {found}', f'{remedy[0].upper()}{remedy[1:]}.', name)
    return None


def _rate_remedy(role: str, found_hz: float, declared_hz: float) -> str:
    if role == 'arm_joints' and found_hz < 100 < declared_hz:
        return (
            'This looks like joint_state_publisher, which stamps anew: take /franka/joint_states, '
            'of 1 kHz, as topic.'
        )
    if found_hz > declared_hz:
        return 'Are there two publishers? Else correct rate_hz in the contract.'
    return 'Look at exposure time, USB bandwidth and CPU load, or correct rate_hz in the contract.'


def _and_more(count: int, what: str) -> str:
    """How many beside the one that is described."""
    plural = f'{what}es' if what.endswith('h') else f'{what}s'
    return '' if count == 1 else f', and {count - 1} more {what if count == 2 else plural}'


def _of_content(name: str, seen: StreamMessages, measured: StreamMeasures) -> Iterator[Finding]:
    """What the images hold."""
    if freezes := measured.frozen:
        longest = max(freezes, key=lambda freeze: freeze.end_s - freeze.start_s)
        length_s = longest.end_s - longest.start_s
        yield Finding(
            'frozen',
            'bad' if length_s >= FROZEN_BAD_S else 'warning',
            frozen_text(name, longest.images, longest.start_s, longest.end_s)
            + _and_more(len(freezes), 'such stretch'),
            FROZEN_REMEDY,
            name,
            longest.start_s,
            longest.end_s,
        )
    if refused := seen.refusals or measured.undecodable:
        reason, count = max(refused.items(), key=lambda item: item[1])
        what = (
            f'{count} messages cannot be used' if seen.refusals else f'{count} frames cannot use its message'
        )
        yield Finding(
            'encoding' if 'encoding' in reason else 'undecodable',
            'bad',
            f'{name}: {what}: {reason}{_and_more(len(refused), "reason")}',
            'Correct the driver or the contract.',
            name,
        )
    if len(seen.layouts) > 1 and not seen.refusals:
        shown = ', '.join(
            f'{count} x {layout.encoding} {layout.width}x{layout.height}'
            for layout, count in seen.layouts.items()
        )
        yield Finding(
            'encoding',
            'warning',
            f'{name}: images change while recording: {shown}',
            'Keep to one profile; declare encoding in the contract.',
            name,
        )


def _of_state(trace: Trace, measures: Measures) -> Iterator[Finding]:
    """Turns of an angle, and motion."""
    for label, values in (('state', trace.state), ('action', trace.action)):
        if values is not None:
            yield from _wrapped(trace, label, values)
    if not measures.moves:
        yield Finding('static', 'bad', 'nothing moves', 'Discard it, or look at the arm joint topic.')
        return
    for kind, length_s, place in (
        ('static-head', measures.static_head_s, 'beginning'),
        ('static-tail', measures.static_tail_s, 'end'),
    ):
        if length_s > STATIC_S:
            yield Finding(
                kind,
                'note',
                f'nothing moves for {length_s:.1f} s at the {place}',
                'A policy learns to wait from it: start and stop closer to the motion, or trim.',
            )


def angle_jumps(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows before, and dimensions of, angles that jump by more than half a turn between two frames [N, 7]."""
    rows, dims = np.nonzero(np.abs(np.diff(values[:, 3:6], axis=0)) > np.pi)
    return rows, dims


def _wrapped(trace: Trace, label: str, values: np.ndarray) -> Iterator[Finding]:
    """Angles that jump; of several the first is described, and each is marked in the picture."""
    rows, dims = angle_jumps(values)
    if rows.size:
        axis, row = 'xyz'[dims[0]], int(rows[0])
        yield Finding(
            'wrapped-angle',
            'bad',
            f'{label}: rotation {axis} jumps by a whole turn {rows.size} times, first '
            f'at {trace.time_s[row + 1]:.2f} s',
            _branch_remedy(values[:, 3 + dims[0]], int(dims[0])),
            None,
            float(trace.time_s[row + 1]),
            None,
        )


def _branch_remedy(angles_rad: np.ndarray, dim: int) -> str:
    """The branch on which these angles are continuous, if there is one."""
    continuous = np.unwrap(angles_rad[np.isfinite(angles_rad)])
    low, high = continuous.min(), continuous.max()
    if high - low >= 2 * np.pi:
        return (
            'It turns all the way round, on any branch: set rotation.convention to rotvec, or turn it less.'
        )
    centre = float(np.angle(np.exp(0.5j * (low + high))))
    return f'Set rotation.branch_centre_rad[{dim}] to {centre:.2f} and convert it again.'


def _of_touch(trace: Trace) -> Iterator[Finding]:
    """Whether anything was felt."""
    touched = {contact.stream for contact in trace.contacts()}
    for name, touch in trace.touch.items():
        if touch.reference is None and trace.valid(name).any():
            text = f'{name}: no {REFERENCE_FRAMES} images in a row agree, so that contact cannot be told'
            yield Finding('no-reference', 'note', text, 'Begin episodes without contact.', name)
        elif touch.is_inside_out:
            text = (
                f'{name}: the first images look pressed, so that contact and its absence are taken for each '
                'other here'
            )
            yield Finding('begun-in-contact', 'warning', text, 'Begin episodes without contact.', name)
        elif name not in touched and np.isfinite(touch.levels).any():
            text = (
                f'{name}: no contact; the largest change is {np.nanmax(touch.levels):.1f} of 255 grey levels'
            )
            yield Finding('no-contact', 'note', text, 'If it was pressed: did it begin in contact?', name)

"""Faults of an episode in sentences, each with its remedy."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from restac_ros.dataset.freezes import FROZEN_REMEDY, frozen_text
from restac_ros.dataset.plan import MIN_FRAMES, RATE_TOLERANCE
from restac_ros.dataset.quality.contact import REFERENCE_FRAMES
from restac_ros.dataset.quality.measures import Measures, StreamQuality, stamp_steps, undecodable_frames
from restac_ros.dataset.quality.trace import StreamMessages, Trace
from restac_ros.dataset.rates import rate_remedy
from restac_ros.framing.buffer import MAX_REORDER_NS
from restac_ros.framing.framer import OTHER_CLOCK_NS, other_clock

# 'bad': what is stored is false, or too little is left; 'warning': flawed, check it; 'note': no harm.
Severity = Literal['bad', 'warning', 'note']

KEPT_SHARE = 0.8  # an episode that loses more of its frames than the rest is not the one recorded
FROZEN_BAD_S = 2.0
STATIC_S = 2.0
LOST_SHARE = 0.01
SILENT_END_S = 0.3


@dataclass(frozen=True)
class Finding:
    """One fault. `kind` is its name for programs; times in s from the first frame on, None: all of it."""

    kind: str
    severity: Severity
    text: str
    remedy: str
    stream: str | None = None
    start_s: float | None = None
    end_s: float | None = None


def find_faults(trace: Trace, measures: Measures) -> list[Finding]:
    """Find all faults of an episode, the worst first."""
    found = [*_of_recording(trace, measures), *_of_end(trace)]
    found += [*_of_frames(trace, measures), *_of_state(trace, measures)]
    for name, seen in trace.messages.items():
        found += _of_times(trace, name, seen, measures.streams[name])
        found += _of_stamps(trace, name)
        found += _of_content(trace, name, seen, measures.streams[name])
    found += _of_touch(trace)
    return sorted(found, key=lambda finding: ('bad', 'warning', 'note').index(finding.severity))


def _of_recording(trace: Trace, measures: Measures) -> Iterator[Finding]:
    """Find damage of the files, and jumps of the recorder's clock."""
    for damage in trace.damage:
        text = f'the recording is damaged: {damage}; what is whole was read'
        remedy = 'After a crash: `restac-ros recover`. After copying: copy it again.'
        yield Finding('truncated', 'warning', text, remedy)
    if trace.clock_set_back_ns > MAX_REORDER_NS:
        back = f'receive times jump back by {trace.clock_set_back_ns / 1e9:.2f} s'
        text = f"{back}: the recorder's clock was set while recording, and the true times are lost"
        remedy = 'Record it again; let chrony slew the clock, or set it before recording.'
        yield Finding('clock-jump', 'bad', text, remedy)
    for jump in measures.jumps:
        length_s = jump.end_s - jump.start_s
        found = f'all streams jump by {length_s:.2f} s at {jump.start_s:.2f} s'
        text = f'{found}: the clock was set forward, or the machine stood still'
        remedy = 'Record it again, or keep the part on one side of it.'
        yield Finding('clock-jump', 'bad', text, remedy, None, jump.start_s, jump.end_s)


def _of_end(trace: Trace) -> Iterator[Finding]:
    """Judge whether the recording went on after the last message."""
    silent_s = float(trace.time_s[-1]) - trace.seconds(trace.last_stamp_ns) if trace.time_ns.size else 0.0
    if trace.last_stamp_ns and silent_s > SILENT_END_S:
        yield Finding(
            'silent-end',
            'note',
            f'all streams end {silent_s:.2f} s before the recording does',
            'Stop recording before the drivers; frames without valid samples are left out of the episode.',
            None,
            trace.seconds(trace.last_stamp_ns),
            float(trace.time_s[-1]),
        )


def _of_frames(trace: Trace, measures: Measures) -> Iterator[Finding]:
    """Find unusable frames, and a false number of frames per second."""
    total, plan = trace.time_ns.size, measures.plan
    if plan is None:
        text = f'no episode can be made of it: {measures.no_plan}'
        remedy = f'Mend what is named below; an episode needs {MIN_FRAMES} usable frames in a row.'
        yield Finding('no-episode', 'bad', text, remedy)
        return
    for line in measures.false_rates:
        remedy = 'Correct the driver, or fps and rate_hz in the contract.'
        yield Finding('false-rate', 'bad', line, remedy, line.partition(':')[0])
    if plan.gaps:
        first = plan.gaps[0]
        start_s = float(trace.time_s[first.first])
        end_s = float(trace.time_s[min(total - 1, first.first + first.length)])
        lost = sum(gap.length for gap in plan.gaps)
        text = (
            f'{lost} of {total} frames inside the episode are not usable, first at {start_s:.2f} s '
            f'({first.reason}); the longest run without is {plan.length} frames'
        )
        remedy = 'Record it again, or convert its longest run (--on-gap longest_run).'
        severity: Severity = 'warning' if plan.length / total >= KEPT_SHARE else 'bad'
        yield Finding('invalid-frames', severity, text, remedy, None, start_s, end_s)
    elif plan.length < KEPT_SHARE * total:
        text = (
            f'only {plan.length} of {total} frames are usable; {plan.trimmed_head} at the beginning and '
            f'{plan.trimmed_tail} at the end are not'
        )
        remedy = 'Start the drivers before, and stop them after recording.'
        yield Finding('invalid-frames', 'warning', text, remedy)


def _of_times(trace: Trace, name: str, seen: StreamMessages, measured: StreamQuality) -> Iterator[Finding]:
    """Find a stream that is absent, of another clock or rate, and its holes."""
    spec, report = trace.contract.streams[name], trace.survey.streams[name]
    if not report.messages:
        text = f'{name}: no message on {spec.topic}'
        remedy = 'Start its driver, or correct topic in the contract.'
        if count := report.unreadable + report.others:
            text = f'{name}: {count} messages on {spec.topic}, none of this stream: {report.left_out}'
            remedy = 'Correct topic, type or joints in the contract.'
        yield Finding('missing-stream', 'bad' if spec.required else 'note', text, remedy, name)
        return
    if fault := _of_clock(name, seen, report.zero_stamps):
        yield fault
        return  # its times mean nothing
    off = report.rate_hz / spec.rate_hz - 1
    if abs(off) > RATE_TOLERANCE:
        rates = f'{report.rate_hz:.1f} Hz measured, the contract declares {spec.rate_hz:g}'
        text = f'{name}: {rates} ({off:+.0%})'
        yield Finding('rate', 'warning', text, rate_remedy(spec, report.rate_hz), name)
    inside_gaps = sum(gap.missing for gap in measured.gaps)
    if gaps := measured.gaps:
        longest = max(gaps, key=lambda gap: gap.end_s - gap.start_s)
        length_s = longest.end_s - longest.start_s
        hole = f'nothing for {length_s:.2f} s at {longest.start_s:.2f} s{_and_more(len(gaps), "gap")}'
        text = f'{name}: {hole}; {inside_gaps} messages missing'
        remedy = 'Check its cable, hub and CPU load.'
        yield Finding('gap', 'warning', text, remedy, name, longest.start_s, longest.end_s)
    lost = measured.lost - inside_gaps
    if lost > max(2, LOST_SHARE * report.messages) and seen.complete:
        text = f'{name}: about {lost} of {report.messages + lost} messages were dropped singly'
        remedy = 'A busy CPU or a full USB hub drops images: lower the load or the rate.'
        yield Finding('dropped', 'warning', text, remedy, name)


def _of_stamps(trace: Trace, name: str) -> Iterator[Finding]:
    """Find stamps that are zero, in the future or jump, and messages without a readable one."""
    report = trace.survey.streams[name]
    if report.zero_stamps:
        counted = f'{report.zero_stamps} of {report.messages} messages have a zero stamp'
        text = f'{name}: {counted}, so that their times of receipt count'
        remedy = 'Let the driver stamp at capture, or declare its delay as latency_ms.'
        yield Finding('zero-stamp', 'warning', text, remedy, name)
    if report.future:
        text = f'{name}: {report.future} messages are stamped later than they were received'
        remedy = 'Synchronise the clocks of the machines (chrony, PTP).'
        yield Finding('future-stamp', 'warning', text, remedy, name)
    for step in stamp_steps(trace, name):
        jump = f'jump by {step.step_ms:+.0f} ms against their receipt at {step.time_s:.2f} s'
        remedy = "Its driver's clock was set: synchronise it before recording."
        text = f'{name}: its stamps {jump}'
        yield Finding('stamp-step', 'warning', text, remedy, name, step.time_s, step.time_s)
    if report.unreadable:
        text = f'{name}: {report.unreadable} messages are too damaged to be dated'
        yield Finding('unreadable', 'warning', text, 'Is the topic really of the declared type?', name)


def _of_clock(name: str, seen: StreamMessages, zero_stamps: int) -> Finding | None:
    """Find stamps that are of another clock than the receipts, or of none."""
    stamps, receives = seen.stamps_ns, seen.receives_ns
    if stamps.size > 2 and not zero_stamps and stamps.min() == stamps.max():
        text = f'{name}: {stamps.size} messages, one stamp: the driver does not set it'
        remedy = 'Let the driver stamp at capture, or leave stamps at zero.'
        return Finding('one-stamp', 'bad', text, remedy, name)
    if stamps.size and stamps.size == receives.size and abs(np.median(receives - stamps)) > OTHER_CLOCK_NS:
        found, _, remedy = other_clock(int(stamps[0]), int(receives[0])).partition('; ')
        return Finding('another-clock', 'bad', f'{name}: {found}', f'{remedy[0].upper()}{remedy[1:]}.', name)
    return None


def _and_more(count: int, what: str) -> str:
    """Count those beside the one that is described."""
    plural = f'{what}es' if what.endswith('h') else f'{what}s'
    return '' if count == 1 else f', and {count - 1} more {what if count == 2 else plural}'


def _of_content(trace: Trace, name: str, seen: StreamMessages, measured: StreamQuality) -> Iterator[Finding]:
    """Find images that are frozen, cannot be decoded or change their encoding."""
    if freezes := measured.frozen:
        longest = max(freezes, key=lambda freeze: freeze.end_s - freeze.start_s)
        start_s, end_s = longest.start_s, longest.end_s
        text = frozen_text(name, longest.images, start_s, end_s) + _and_more(len(freezes), 'such stretch')
        severity: Severity = 'bad' if end_s - start_s >= FROZEN_BAD_S else 'warning'
        yield Finding('frozen', severity, text, FROZEN_REMEDY, name, start_s, end_s)
    if refused := seen.refusals or undecodable_frames(trace, name):
        reason, count = max(refused.items(), key=lambda item: item[1])
        what = 'messages cannot be used' if seen.refusals else 'frames cannot use its message'
        kind = 'encoding' if 'encoding' in reason else 'undecodable'
        text = f'{name}: {count} {what}: {reason}{_and_more(len(refused), "reason")}'
        yield Finding(kind, 'bad', text, 'Correct the driver or the contract.', name)
    if len(seen.layouts) > 1 and not seen.refusals:
        shown = ', '.join(f'{count} x {layout}' for layout, count in seen.layouts.items())
        text = f'{name}: images change while recording: {shown}'
        remedy = 'Keep to one profile; declare encoding in the contract.'
        yield Finding('encoding', 'warning', text, remedy, name)


def _of_state(trace: Trace, measures: Measures) -> Iterator[Finding]:
    """Find angles that jump, and an arm at rest."""
    for label, values in (('state', trace.state), ('action', trace.action)):
        if values is not None:
            yield from _wrapped(trace, label, values)
    if not measures.moves:
        yield Finding('static', 'bad', 'nothing moves', 'Discard it, or check the arm joint topic.')
        return
    for kind, length_s, place in (
        ('static-head', measures.static_head_s, 'beginning'),
        ('static-tail', measures.static_tail_s, 'end'),
    ):
        if length_s > STATIC_S:
            text = f'nothing moves for {length_s:.1f} s at the {place}'
            remedy = 'A policy learns to wait from it: start and stop closer to the motion, or trim.'
            yield Finding(kind, 'note', text, remedy)


def angle_jumps(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return rows before, and dimensions of, jumps of angles by more than half a turn in values [N, 7]."""
    rows, dims = np.nonzero(np.abs(np.diff(values[:, 3:6], axis=0)) > np.pi)
    return rows, dims


def _wrapped(trace: Trace, label: str, values: np.ndarray) -> Iterator[Finding]:
    """Describe the first of several jumps; each is marked in the picture."""
    rows, dims = angle_jumps(values)
    if rows.size:
        dim, time_s = int(dims[0]), float(trace.time_s[int(rows[0]) + 1])
        turns = f'rotation {"xyz"[dim]} jumps by a whole turn {rows.size} times'
        text = f'{label}: {turns}, first at {time_s:.2f} s'
        yield Finding('wrapped-angle', 'bad', text, _branch_remedy(values[:, 3 + dim], dim), None, time_s)


def _branch_remedy(angles_rad: np.ndarray, dim: int) -> str:
    """Name the branch on which these angles are continuous, if there is one."""
    continuous = np.unwrap(angles_rad[np.isfinite(angles_rad)])
    low, high = continuous.min(), continuous.max()
    if high - low >= 2 * np.pi:
        return (
            'It turns all the way round, on any branch: set rotation.convention to rotvec, or turn it less.'
        )
    centre = float(np.angle(np.exp(0.5j * (low + high))))
    return f'Set rotation.branch_centre_rad[{dim}] to {centre:.2f} and convert it again.'


def _of_touch(trace: Trace) -> Iterator[Finding]:
    """Find tactile streams without contact, or without a reference to measure it by."""
    touched = {contact.stream for contact in trace.contacts()}
    for name, touch in trace.touch.items():
        if touch.reference is None and trace.valid(name).any():
            text = f'{name}: no {REFERENCE_FRAMES} images in a row agree, so that contact cannot be measured'
            yield Finding('no-reference', 'note', text, 'Begin episodes without contact.', name)
        elif touch.is_inside_out:
            text = (
                f'{name}: the first images look pressed, so that contact and its absence are taken for each '
                'other here'
            )
            yield Finding('begun-in-contact', 'warning', text, 'Begin episodes without contact.', name)
        elif name not in touched and np.isfinite(touch.levels).any():
            change = f'the largest change is {np.nanmax(touch.levels):.1f} of 255 grey levels'
            remedy = 'If it was pressed: did it begin in contact?'
            yield Finding('no-contact', 'note', f'{name}: no contact; {change}', remedy, name)

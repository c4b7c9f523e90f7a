"""Chooses the frames of a surveyed recording that become an episode, and checks its fps label."""

from collections import Counter
from collections.abc import Collection
from itertools import groupby
from typing import NamedTuple

import numpy as np

from restac_ros.contract.schema import Contract
from restac_ros.dataset.errors import ConversionError
from restac_ros.dataset.survey import Survey

RATE_TOLERANCE = 0.05  # a label may be this far from what was measured
SHORT_ALLOWANCE = 2  # periods of a stream that a short episode may be off, however short
MIN_FRAMES = 3  # two rows and the state after them: less has no statistics


class FrameGap(NamedTuple):
    """Neighbouring unusable frames, and the reason of the first."""

    first: int
    length: int
    reason: str


class EpisodePlan(NamedTuple):
    """`length` ticks of the grid from `first` on, short of the trimmed ones at both ends.

    `gaps` made it shorter; in `bridged` gaps the last valid images are repeated.
    """

    first: int
    length: int
    trimmed_head: int
    trimmed_tail: int
    gaps: list[FrameGap]
    bridged: list[FrameGap]


class GapError(ConversionError):
    """An episode has unusable frames inside; its longest run without can be kept."""


def plan_episode(
    result: Survey,
    needed: Collection[str],
    *,
    keep_longest: bool,
    images: Collection[str] = (),
    bridge: int = 0,
) -> EpisodePlan:
    """Choose the frames: unusable ones are cut off at both ends, never removed from the middle.

    `needed` are streams that must be valid besides the required ones. Gaps of at most `bridge` frames in
    which only `images` are invalid stay inside. With `keep_longest` an episode with other gaps becomes its
    longest run without.

    Raises:
        ConversionError: too few frames are usable.
        GapError: there is a gap.
    """
    faults = [_fault(result, tick, needed) for tick in range(len(result.reasons))]
    usable = [tick for tick, fault in enumerate(faults) if not fault]
    if not usable:
        shown = '; '.join(f'{count} x {text}' for text, count in Counter(faults).most_common(3))
        raise ConversionError(f'none of {len(faults)} frames is usable: {shown or "the recording is empty"}')
    first, last = usable[0], usable[-1]
    bridged = [
        gap
        for gap in _gaps(faults, first, last)
        if gap.length <= bridge and _lacks_only(result, gap, needed, images)
    ]
    for gap in bridged:
        faults[gap.first : gap.first + gap.length] = [''] * gap.length
    gaps = _gaps(faults, first, last)
    if gaps and not keep_longest:
        raise GapError(_gap_text(result, gaps, faults))
    if gaps:
        first, last = _longest_run(faults)
    if (count := last - first + 1) < MIN_FRAMES:
        others = next((fault for fault in faults if fault), 'the recording is that short')
        raise ConversionError(
            f'only {count} of {len(faults)} frames are usable in a row, an episode needs '
            f'{MIN_FRAMES}: {others}'
        )
    inside = [gap for gap in bridged if first <= gap.first <= last]
    return EpisodePlan(first, count, first, len(faults) - 1 - last, gaps, inside)


def _fault(result: Survey, tick: int, needed: Collection[str]) -> str:
    """Return why a frame is unusable; '' when it is usable."""
    if result.reasons[tick]:
        return result.reasons[tick][0]
    statuses = result.statuses[tick]
    return next((f'{name}: {statuses[name].reason}' for name in needed if not statuses[name].valid), '')


def _lacks_only(result: Survey, gap: FrameGap, needed: Collection[str], images: Collection[str]) -> bool:
    """Return whether only images are invalid in the frames of a gap."""
    for tick in range(gap.first, gap.first + gap.length):
        faulty = {reason.partition(':')[0] for reason in result.reasons[tick]}
        faulty |= {name for name in needed if not result.statuses[tick][name].valid}
        if not faulty <= set(images):
            return False
    return True


def _gaps(faults: list[str], first: int, last: int) -> list[FrameGap]:
    """Find unusable stretches between the first and the last usable frame."""
    gaps, tick = [], first
    for is_fault, group in groupby(faults[first : last + 1], key=bool):
        members = list(group)
        if is_fault:
            gaps.append(FrameGap(tick, len(members), members[0]))
        tick += len(members)
    return gaps


def _longest_run(faults: list[str]) -> tuple[int, int]:
    """Return first and last tick of the longest stretch without faults; the earliest of equals."""
    best, tick = (0, -1), 0
    for is_fault, group in groupby(faults, key=bool):
        length = len(list(group))
        if not is_fault and length > best[1] - best[0] + 1:
            best = (tick, tick + length - 1)
        tick += length
    return best


def _gap_text(result: Survey, gaps: list[FrameGap], faults: list[str]) -> str:
    def described(gap: FrameGap) -> str:
        time_s = (result.grid.tick_ns(gap.first) - result.grid.start_ns) / 1e9
        return f'at {time_s:.2f} s {gap.length} frames ({gap.reason})'

    shown = ', '.join(described(gap) for gap in gaps[:3])
    more = f' and {len(gaps) - 3} more' if len(gaps) > 3 else ''
    first, last = _longest_run(faults)
    longest = f'{last - first + 1} of {len(faults)} frames'
    return (
        f'{len(gaps)} gap{"s" * (len(gaps) > 1)} inside the episode: {shown}{more}. Leaving frames out '
        f'would make the time labels false. Keep the longest run without a gap ({longest}), --on-gap '
        'longest_run, or record again.'
    )


def check_rates(result: Survey, contract: Contract, plan: EpisodePlan) -> list[str]:
    """Compare the fps label with the measured rates; return a line per stream that makes it false.

    The capture times must advance as the frames do, and images and the tool's pose must come as often. In a
    short episode single late samples decide neither: see `_grown_ns` and `_lacks_messages`.
    """
    faults = []
    ticks = result.statuses[plan.first : plan.first + plan.length]
    for name in (*contract.by_role('camera'), *contract.by_role('tactile'), contract.pose_stream):
        stream, report = contract.streams[name], result.streams[name]
        ages_ns = [tick[name].age_ns or 0 for tick in ticks if tick[name].valid]
        bridged = sum(gap.length for gap in plan.bridged)
        if len(ages_ns) < len(ticks) - bridged:
            continue  # an optional image: the episode has none of it
        grown_ns, apart_ns = _grown_ns(ages_ns, contract)
        # Over long episodes max_age is the stricter bound.
        if abs(grown_ns) > max(RATE_TOLERANCE * apart_ns, SHORT_ALLOWANCE * 1e9 / stream.rate_hz):
            measured = contract.fps * apart_ns / max(apart_ns - grown_ns, 1)
            faults.append(f'{name}: captured at {measured:.2f} frames/s, labelled {contract.fps}')
        if _lacks_messages(report.messages, report.rate_hz, contract.fps):
            faults.append(
                f'{name}: {report.rate_hz:.2f} Hz received, labelled {contract.fps}: images would repeat'
            )
    return faults


def _grown_ns(ages_ns: list[int], contract: Contract) -> tuple[float, float]:
    """Return by how much the samples' ages grew over an episode, and in what time, ns: capture falls behind.

    An age depends on where between two samples a frame lies, and on a busy machine a few samples are late:
    hence the medians of the first and the last third of the frames, not the first and the last frame.
    """
    third = max(1, len(ages_ns) // 3)
    grown_ns = np.median(ages_ns[-third:]) - np.median(ages_ns[:third])
    return float(grown_ns), (len(ages_ns) - third) * 1e9 / contract.fps


def _lacks_messages(messages: int, rate_hz: float, fps: int) -> bool:
    """Return whether so few came that frames repeat them; a late first or last one is allowed."""
    if rate_hz <= 0:
        return True
    intervals = messages - 1
    wanted = intervals * fps / rate_hz
    return round(wanted - intervals) > max(RATE_TOLERANCE * wanted, SHORT_ALLOWANCE)


def rate_notes(result: Survey) -> list[str]:
    """Describe streams whose rate is more than 5 % off the contract's, although no label is false by it."""
    return [
        f'{name}: {report.rate_hz:.2f} Hz measured, the contract declares {report.declared_rate_hz:g}'
        for name, report in result.streams.items()
        if report.messages and abs(report.rate_hz / report.declared_rate_hz - 1) > RATE_TOLERANCE
    ]

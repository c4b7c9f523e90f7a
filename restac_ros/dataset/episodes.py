"""Finds the episodes of a recording: all of it, stretches between pauses, time ranges, or marked ones.

Markers are messages on a topic of their own, dated by their receipt, as their types have no stamp:

- std_msgs/msg/Bool: true begins an episode, false ends it;
- std_msgs/msg/String: a text begins an episode of that task, and ends one of another; an empty text ends it.

A repeated marker changes nothing. There is no toggle (std_msgs/msg/Empty): after one lost message episodes
and pauses would be exchanged.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from rosbags.serde import SerdeError

from restac_ros.contract.errors import did_you_mean
from restac_ros.dataset.bag.bag_reader import Bag
from restac_ros.dataset.errors import ConversionError
from restac_ros.dataset.journal import read_notes
from restac_ros.framing.decode import load_types

BOOL, STRING = MARKER_TYPES = ('std_msgs/msg/Bool', 'std_msgs/msg/String')


@dataclass(frozen=True)
class EpisodeSpan:
    """Messages received in [start_ns, end_ns); None: the recording's own beginning or end.

    `task` is that of a marker. `label` names the part of the recording ('' for all of it), `share` is its
    part of the recorded time, `notes` describe how it was found.
    """

    start_ns: int | None = None
    end_ns: int | None = None
    task: str | None = None
    label: str = ''
    share: float = 1.0
    notes: tuple[str, ...] = ()


WHOLE = EpisodeSpan()


class TimeRange(NamedTuple):
    """Seconds after a recording's first message; `end_s` None: to its last."""

    start_s: float
    end_s: float | None

    @classmethod
    def parse(cls, text: str) -> 'TimeRange':
        """Parse START:END in s; ':END' begins with the recording, 'START:' ends with it.

        Raises:
            ConversionError: it is none.
        """
        start, colon, end = text.partition(':')
        try:
            made = cls(float(start or 0), float(end) if end else None)
        except ValueError:
            colon = ''
        if not colon or not all(math.isfinite(time_s) for time_s in made if time_s is not None):
            raise ConversionError(
                f'time range {text!r}: expected START:END in seconds after the first '
                'message, such as 12.5:40, or 12.5: up to the end'
            )
        return made

    def __str__(self) -> str:
        return f'{self.start_s:g}:' + ('' if self.end_s is None else f'{self.end_s:g}')


def episodes_of(
    bag: Bag, marker_topic: str | None = None, ranges: Sequence[TimeRange] = ()
) -> list[EpisodeSpan]:
    """Find the episodes of a recording, in order: by ranges or markers where given, else as recorded.

    A journal that was paused holds an episode per stretch between pauses; any other recording is one.

    Raises:
        BagError: the bag is damaged inside, or its notes are.
        ConversionError: it holds no such episodes, or the ranges are none.
    """
    if marker_topic and ranges:
        raise ConversionError(f'{bag.path}: episodes by marker topic or by time ranges: give one of them.')
    if marker_topic:
        return _marked(bag, marker_topic)
    if ranges:
        return _ranged(bag, sorted(ranges))
    segments = [segment for segment in read_notes(bag).segments if segment[1] > segment[0]]
    if len(segments) <= 1:
        return [WHOLE]
    return [_span(bag, start_ns, end_ns) for start_ns, end_ns in segments]


def bounds_of(bag: Bag) -> tuple[int, int]:
    """Return when the first and the last message of a recording were received, ns.

    Raises:
        ConversionError: it holds no message.
    """
    if (bounds := bag.bounds_ns) is None:
        raise ConversionError(f'{bag.path} holds no message.')
    return bounds


def range_options(bag: Bag, start_ns: int | None, end_ns: int | None) -> list[str]:
    """Return the option that converts this part of a recording; none for all of it."""
    if start_ns is None or end_ns is None:
        return []
    first_ns, last_ns = bounds_of(bag)
    end_s = '' if end_ns > last_ns else _seconds(end_ns - first_ns)
    return ['--range', f'{_seconds(start_ns - first_ns)}:{end_s}']


def _seconds(time_ns: int) -> str:
    """Return the shortest decimal that is this time to the nanosecond."""
    return f'{time_ns / 1e9:.9f}'.rstrip('0').rstrip('.')


def _span(
    bag: Bag, start_ns: int, end_ns: int, task: str | None = None, notes: tuple[str, ...] = ()
) -> EpisodeSpan:
    first_ns, last_ns = bounds_of(bag)
    start_s, end_s = ((time_ns - first_ns) / 1e9 for time_ns in (start_ns, end_ns))
    share = (end_ns - start_ns) / max(last_ns - first_ns, 1)
    return EpisodeSpan(start_ns, end_ns, task, f'{start_s:.2f} to {end_s:.2f} s', min(share, 1.0), notes)


def _ranged(bag: Bag, ranges: Sequence[TimeRange]) -> list[EpisodeSpan]:
    first_ns, last_ns = bounds_of(bag)
    length_s = (last_ns - first_ns) / 1e9
    spans: list[EpisodeSpan] = []
    until: tuple[int, TimeRange] | None = None
    for asked in ranges:
        end_s = length_s if asked.end_s is None else asked.end_s
        if not 0 <= asked.start_s < end_s <= length_s:
            raise ConversionError(
                f'{bag.path}: time range {asked} must begin before it ends, and lie within '
                f'0:{length_s:.3f}. Leave END out for the end of the recording.'
            )
        end_ns = last_ns + 1 if asked.end_s is None else first_ns + round(end_s * 1e9)
        start_ns = first_ns + round(asked.start_s * 1e9)
        if until and until[0] > start_ns:
            raise ConversionError(
                f'{bag.path}: time ranges {until[1]} and {asked} overlap: what they share would '
                'be in two episodes. Change one.'
            )
        until = end_ns, asked
        spans.append(_span(bag, start_ns, end_ns))
    return spans


def _marked(bag: Bag, topic: str) -> list[EpisodeSpan]:
    """Find the stretches between markers; one still running when the recording ends, ends there."""
    _check_marker_topic(bag, topic)
    spans: list[EpisodeSpan] = []
    start_ns, running = 0, None
    _, last_ns = bounds_of(bag)
    for message in bag.messages([topic]):
        marked = marker_text(topic, message.type, message.cdr)
        if marked == running:
            continue
        if running is not None:
            spans.append(_span(bag, start_ns, message.log_time_ns, running or None))
        start_ns, running = message.log_time_ns, marked
    if running is not None:
        note = f'{topic}: the episode was still running when the recording ended'
        spans.append(_span(bag, start_ns, last_ns + 1, running or None, (note,)))
    if not spans:
        raise ConversionError(f'{bag.path}: no episode begins on {topic}: only markers that end one.')
    return spans


def _check_marker_topic(bag: Bag, topic: str) -> None:
    found = bag.topics.get(topic)
    if found is None or not found.count:
        known = [name for name, (kind, count) in bag.topics.items() if kind in MARKER_TYPES and count]
        raise ConversionError(
            f'{bag.path}: no marker on {topic}; among topics of {BOOL} or {STRING} '
            f'{did_you_mean(topic, known)}. Name the topic that is there.'
        )
    if found.type not in MARKER_TYPES:
        raise ConversionError(
            f'{bag.path}: {topic} is {found.type}; markers are {BOOL} (true while an '
            f'episode runs) or {STRING} (its task, empty at its end).'
        )


def marker_text(topic: str, kind: str, cdr: bytes) -> str | None:
    """Return the text of a marker, such as the task of the episode that it begins.

    '' is a marker without a text that begins one, None one that ends it.

    Raises:
        ConversionError: the message is damaged.
    """
    try:
        marker: Any = load_types().deserialize_cdr(cdr, kind)
    except SerdeError as error:
        raise ConversionError(f'{topic}: a marker is no {kind}: {error}. Give time ranges.') from error
    if kind == BOOL:
        return '' if marker.data else None
    return str(marker.data).strip() or None

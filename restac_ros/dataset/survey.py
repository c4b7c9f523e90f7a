"""Surveys a recording: the status of every stream in every frame, short of decoding."""

from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from restac_ros.contract.errors import did_you_mean
from restac_ros.contract.schema import CameraStream, Contract, Stream, TactileStream
from restac_ros.dataset.bag.bag_reader import Bag
from restac_ros.dataset.errors import ConversionError
from restac_ros.dataset.features import stored_streams
from restac_ros.framing.buffer import MAX_REORDER_NS, StreamCounters
from restac_ros.framing.decode import decode_image, why_not_of
from restac_ros.framing.errors import DecodeError, UnsupportedError
from restac_ros.framing.frame import Frame, StreamStatus
from restac_ros.framing.framer import Framer, Selection, frames
from restac_ros.framing.grid import Grid
from restac_ros.framing.sample import HEAD_BYTES, Sample, make_sample

NANOSECONDS = 10**9
FIRST_IMAGES = 3  # so many must be of a wrong kind: a driver may begin with another encoding
MAX_EPISODE_NS = 6 * 3600 * 10**9  # no demonstration is longer, unless its clock was set


@dataclass
class StreamReport:
    """One stream over an episode. `oldest_ms` is the greatest age of a sample in a frame.

    `declared_latency_ms` was subtracted from every stamp. `unreadable` messages have no possible header,
    `others` name no joint of the stream (`left_out` has the reason for the first of either); the counters
    after them are the framer's.
    """

    messages: int = 0
    rate_hz: float = 0.0
    declared_rate_hz: float = 0.0
    declared_latency_ms: float = 0.0
    oldest_ms: float = 0.0
    unreadable: int = 0
    others: int = 0
    left_out: str = ''
    zero_stamps: int = 0
    duplicates: int = 0
    out_of_order: int = 0
    future: int = 0

    def count(self, times_ns: np.ndarray) -> None:
        """Set messages and rate from the times int64 [M] of the stream's messages."""
        self.messages = times_ns.size
        span_ns = int(np.ptp(times_ns)) if times_ns.size else 0
        self.rate_hz = round((times_ns.size - 1) * NANOSECONDS / span_ns, 3) if span_ns else 0.0


@dataclass
class LeftOut:
    """Messages that are no samples, by stream: unreadable ones, other streams', the first one's reason."""

    unreadable: Counter[str] = field(default_factory=Counter)
    others: Counter[str] = field(default_factory=Counter)
    why: dict[str, str] = field(default_factory=dict)

    def add_unreadable(self, stream: str, reason: str) -> None:
        """Count a message that has no possible header."""
        self.unreadable[stream] += 1
        self.why.setdefault(stream, reason)

    def add_other(self, stream: str, spec: Stream, cdr: bytes) -> None:
        """Count a joint state that names none of the stream's joints."""
        self.others[stream] += 1
        if stream not in self.why:
            self.why[stream] = why_not_of(spec, cdr)


@dataclass
class Survey:
    """Streams' statuses, and the reasons against a frame, by tick of the grid between two times.

    `receives_ns` are the times of receipt of each stream's messages.
    """

    grid: Grid
    statuses: list[Mapping[str, StreamStatus]] = field(default_factory=list)
    reasons: list[tuple[str, ...]] = field(default_factory=list)
    streams: dict[str, StreamReport] = field(default_factory=dict)
    receives_ns: dict[str, array] = field(default_factory=dict)

    @property
    def end_ns(self) -> int:
        """Return the time 1 ns after the last frame."""
        return self.grid.tick_ns(len(self.reasons) - 1) + 1

    def measure(self, first: int, length: int) -> None:
        """Count messages and rates over `length` frames from `first` on instead of the whole recording."""
        begin_ns = self.grid.tick_ns(first) - NANOSECONDS // self.grid.fps
        end_ns = self.grid.tick_ns(first + length - 1)
        for name, noted_ns in self.receives_ns.items():
            times_ns = np.array(noted_ns)
            self.streams[name].count(times_ns[(begin_ns < times_ns) & (times_ns <= end_ns)])


class Judge(Framer):
    """Makes frames of statuses and reasons only, as far as these are known without decoding."""

    def compose(self, selection: Selection) -> Frame:
        statuses = {name: status for name, (_, status) in selection.chosen.items()}
        reasons = [
            f'{name}: {status.reason}'
            for name, status in statuses.items()
            if self.contract.streams[name].required and not status.valid
        ]
        reasons += [
            f'action_prev: {name} {status.reason} one period earlier'
            for name, (_, status) in selection.earlier.items()
            if not status.valid
        ]
        return Frame(selection.time_ns, {}, {}, None, None, None, statuses, tuple(reasons))


def stream_report(
    contract: Contract, name: str, left_out: LeftOut, counters: Sequence[StreamCounters]
) -> StreamReport:
    """Report on a stream, short of its messages and rate; `counters` of several framers are added up."""
    added = ('zero_stamps', 'duplicates', 'out_of_order', 'future')
    return StreamReport(
        declared_rate_hz=contract.streams[name].rate_hz,
        declared_latency_ms=contract.streams[name].latency_ms,
        unreadable=left_out.unreadable[name],
        others=left_out.others[name],
        left_out=left_out.why.get(name, ''),
        **{key: sum(getattr(one, key) for one in counters) for key in added},
    )


def survey(bag: Bag, contract: Contract, start_ns: int, end_ns: int) -> Survey:
    """Judge every frame in [start_ns, end_ns) as the converter will make it, short of decoding.

    Raises:
        BagError: the bag is damaged inside.
        ConversionError: a topic is missing, or the recording's clock was set while it ran.
    """
    _check_topics(bag, contract)
    if (length_ns := end_ns - start_ns) > MAX_EPISODE_NS:
        longest_h = MAX_EPISODE_NS / 3.6e12
        raise ConversionError(
            f'{bag.path}: received over {length_ns / 3.6e12:.1f} h, an episode at most '
            f'{longest_h:g} h: was the clock set forward meanwhile? Give the part to take '
            '(`restac-ros convert --range START:END`, in s), or record it again.'
        )
    if (back_ns := bag.clock_set_back_ns) > MAX_REORDER_NS:
        raise ConversionError(
            f'{bag.path}: receive times jump back by {back_ns / 1e9:.3f} s: the clock was '
            'set while recording, and the true times are lost. Record it again.'
        )
    _check_first_images(bag, contract, start_ns, end_ns)
    left_out, receives_ns = LeftOut(), {name: array('q') for name in contract.streams}
    judge = Judge(contract, start_ns)
    result = Survey(Grid(start_ns, contract.fps), receives_ns=receives_ns)
    samples = recorded_samples(bag, contract, start_ns, end_ns, left_out, head_bytes=HEAD_BYTES)
    for frame in frames(contract, _noted(samples, receives_ns, start_ns), start_ns, end_ns, judge):
        result.statuses.append(frame.streams)
        result.reasons.append(frame.reasons)
    for name, counters in judge.counters.items():
        result.streams[name] = stream_report(contract, name, left_out, [counters])
        result.streams[name].count(np.array(receives_ns[name]))
    _check_read(bag, contract, result.streams)
    _check_stamps(bag, contract, judge.counters)
    return result


def survey_decoded(bag: Bag, contract: Contract, surveyed: Survey) -> None:
    """Judge every frame of a survey again, decoded: one pass finds all that only decoding finds.

    Raises:
        BagError: the bag is damaged inside.
    """
    start_ns, end_ns = surveyed.grid.start_ns, surveyed.end_ns
    samples = recorded_samples(bag, contract, start_ns, end_ns)
    for tick, frame in enumerate(frames(contract, samples, start_ns, end_ns)):
        surveyed.statuses[tick], surveyed.reasons[tick] = frame.streams, frame.reasons


def _noted(samples: Iterator[Sample], receives_ns: Mapping[str, array], start_ns: int) -> Iterator[Sample]:
    """Yield the same samples; note the receipt of those from `start_ns` on by stream."""
    for sample in samples:
        if sample.receive_ns >= start_ns:
            receives_ns[sample.stream].append(sample.receive_ns)
        yield sample


def recorded_samples(
    bag: Bag,
    contract: Contract,
    start_ns: int,
    end_ns: int,
    left_out: LeftOut | None = None,
    *,
    head_bytes: int | None = None,
) -> Iterator[Sample]:
    """Yield the contract's samples received before `end_ns`, from early enough for a frame at `start_ns`.

    Messages that cannot be stamped, and other streams' on a shared topic, are counted in `left_out`. With
    `head_bytes` each has only its beginning, which is enough where nothing is decoded.

    Raises:
        BagError: the bag is damaged inside.
    """
    by_topic, left_out = contract.by_topic(), left_out or LeftOut()
    history_ns = max(stream.max_age_ns for stream in contract.streams.values()) + contract.period_ns
    for message in bag.messages(by_topic, max(0, start_ns - history_ns), end_ns, head_bytes):
        for name in by_topic[message.topic]:
            try:
                sample = make_sample(contract, name, message.cdr, message.log_time_ns)
            except DecodeError as error:
                left_out.add_unreadable(name, str(error))
                continue
            if sample is None:
                left_out.add_other(name, contract.streams[name], message.cdr)
            else:
                yield sample


def _check_first_images(bag: Bag, contract: Contract, start_ns: int, end_ns: int) -> None:
    """Refuse depth, WebP or another encoding by the first images, before everything is surveyed."""
    images: dict[str, CameraStream | TactileStream] = {
        **contract.by_role('camera'),
        **contract.by_role('tactile'),
    }
    for name, spec in images.items():
        if not spec.required:
            continue
        refusals = []
        for message in islice(bag.messages({spec.topic}, start_ns, end_ns), FIRST_IMAGES):
            try:
                decode_image(spec, message.cdr)
                break
            except UnsupportedError as error:
                refusals.append(str(error))
            except DecodeError:
                break  # the format cannot be concluded from one damaged image
        else:
            if refusals:
                raise ConversionError(f'{bag.path}: {name}: {refusals[0]}')


def _check_read(bag: Bag, contract: Contract, streams: Mapping[str, StreamReport]) -> None:
    """Refuse a required stream whose messages are all left out."""
    for name, report in streams.items():
        count = report.unreadable + report.others
        if contract.streams[name].required and count and not report.messages:
            notes = ''.join(f'; {note}' for note in bag.notes)
            raise ConversionError(
                f'{bag.path}: {count} messages on {contract.streams[name].topic}, none of stream {name}: '
                f'{report.left_out}. Correct topic, type or joints in the contract{notes}'
            )


def _check_stamps(bag: Bag, contract: Contract, counters: Mapping[str, StreamCounters]) -> None:
    """Refuse a required stream whose driver repeats one stamp: there are no capture times."""
    for name, counted in counters.items():
        if contract.streams[name].required and counted.received > 2 and counted.repeats_one_stamp:
            raise ConversionError(
                f'{bag.path}: {name}: {counted.received} messages, one stamp: the driver does not set it. '
                'Let it stamp at capture, or leave the stamps at zero (then the times of receipt count)'
            )


def _check_topics(bag: Bag, contract: Contract) -> None:
    """Check that every needed stream is there, with its type."""
    for name in stored_streams(contract):
        stream = contract.streams[name]
        found = bag.topics.get(stream.topic)
        if stream.topic in bag.mixed:
            raise ConversionError(
                f'{bag.path}: {stream.topic} of stream {name} has messages of two types. '
                'Write one of them to a bag of its own with `ros2 bag convert`.'
            )
        if found and found.type != stream.type:
            raise ConversionError(
                f'{bag.path}: {stream.topic} is {found.type}, but stream {name} of the '
                f'contract declares {stream.type}. Correct the contract.'
            )
        if stream.required and (found is None or not found.count):
            hint = did_you_mean(stream.topic, [topic for topic, (_, count) in bag.topics.items() if count])
            raise ConversionError(
                f'{bag.path}: no message on {stream.topic}, required for stream {name}; '
                f'{hint}. Correct the contract, or record again.'
            )

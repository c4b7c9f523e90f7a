"""First pass over a recording: the status of every stream at every frame to be. Decodes nothing."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from restac_ros.contract.errors import did_you_mean
from restac_ros.contract.schema import Contract
from restac_ros.dataset.bag.bag_reader import Bag
from restac_ros.dataset.errors import ConversionError
from restac_ros.dataset.features import stored_streams
from restac_ros.framing.buffer import MAX_REORDER_NS
from restac_ros.framing.errors import DecodeError
from restac_ros.framing.frame import Frame, StreamStatus
from restac_ros.framing.framer import Framer, Selection, frames
from restac_ros.framing.grid import Grid
from restac_ros.framing.sample import HEADER_BYTES, Sample, make_sample

MAX_EPISODE_NS = 6 * 3600 * 10**9  # no demonstration is longer; a clock set forward by years looks so


@dataclass
class StreamReport:
    """One stream over an episode; rates in Hz, `oldest_ms` is the greatest age of a sample in a frame.

    `declared_latency_ms` was taken off every stamp, as it is live. `unreadable` messages have no possible
    header; the counters after it are the framer's.
    """

    messages: int = 0
    rate_hz: float = 0.0
    declared_rate_hz: float = 0.0
    declared_latency_ms: float = 0.0
    oldest_ms: float = 0.0
    unreadable: int = 0
    zero_stamps: int = 0
    duplicates: int = 0
    out_of_order: int = 0
    future: int = 0


@dataclass
class Survey:
    """What a recording holds between two times: by tick of the grid, the streams' statuses and the faults."""

    grid: Grid
    statuses: list[Mapping[str, StreamStatus]] = field(default_factory=list)
    reasons: list[tuple[str, ...]] = field(default_factory=list)
    streams: dict[str, StreamReport] = field(default_factory=dict)


class Judge(Framer):
    """A framer whose frames carry statuses and reasons only, as far as these are known without decoding."""

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


class _Rates:
    """Counts samples received from a time on, and when the first and the last of each stream came."""

    def __init__(self, start_ns: int) -> None:
        self.start_ns = start_ns
        self.counts: Counter[str] = Counter()
        self._first_ns: dict[str, int] = {}
        self._last_ns: dict[str, int] = {}

    def counted(self, samples: Iterator[Sample]) -> Iterator[Sample]:
        for sample in samples:
            name, receive_ns = sample.stream, sample.receive_ns
            if receive_ns >= self.start_ns:
                self.counts[name] += 1
                self._first_ns.setdefault(name, receive_ns)
                self._last_ns[name] = receive_ns
            yield sample

    def rate_hz(self, stream: str) -> float:
        elapsed_ns = self._last_ns.get(stream, 0) - self._first_ns.get(stream, 0)
        return (self.counts[stream] - 1) * 1e9 / elapsed_ns if elapsed_ns > 0 else 0.0


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
            f'{longest_h:g} h: was the clock set forward meanwhile? Give start_ns and '
            'end_ns of the part to take, or record it again.'
        )
    if (back_ns := bag.clock_set_back_ns) > MAX_REORDER_NS:
        raise ConversionError(
            f'{bag.path}: receive times jump back by {back_ns / 1e9:.3f} s: the clock was '
            'set while recording, and the true times are lost. Record it again.'
        )
    unreadable: Counter[str] = Counter()
    judge, rates = Judge(contract, start_ns), _Rates(start_ns)
    result = Survey(Grid(start_ns, contract.fps))
    samples = recorded_samples(bag, contract, start_ns, end_ns, unreadable, head_bytes=HEADER_BYTES)
    for frame in frames(contract, rates.counted(samples), start_ns, end_ns, judge):
        result.statuses.append(frame.streams)
        result.reasons.append(frame.reasons)
    for name, counters in judge.counters.items():
        result.streams[name] = StreamReport(
            messages=rates.counts[name],
            rate_hz=round(rates.rate_hz(name), 3),
            declared_rate_hz=contract.streams[name].rate_hz,
            declared_latency_ms=contract.streams[name].latency_ms,
            unreadable=unreadable[name],
            zero_stamps=counters.zero_stamps,
            duplicates=counters.duplicates,
            out_of_order=counters.out_of_order,
            future=counters.future,
        )
    return result


def recorded_samples(
    bag: Bag,
    contract: Contract,
    start_ns: int,
    end_ns: int,
    unreadable: Counter[str] | None = None,
    *,
    head_bytes: int | None = None,
) -> Iterator[Sample]:
    """The contract's samples received before `end_ns`, from early enough to be in a frame at `start_ns`.

    Messages that cannot be stamped are left out and counted in `unreadable`. With `head_bytes` each has only
    its beginning, which is enough where nothing is decoded.

    Raises:
        BagError: the bag is damaged inside.
    """
    by_topic = {stream.topic: name for name, stream in contract.streams.items()}
    history_ns = max(stream.max_age_ns for stream in contract.streams.values()) + contract.period_ns
    for message in bag.messages(by_topic, max(0, start_ns - history_ns), end_ns, head_bytes):
        name = by_topic[message.topic]
        try:
            yield make_sample(contract, name, message.cdr, message.log_time_ns)
        except DecodeError:
            if unreadable is not None:
                unreadable[name] += 1


def _check_topics(bag: Bag, contract: Contract) -> None:
    """Every needed stream is there, with its type."""
    for name in stored_streams(contract):
        stream = contract.streams[name]
        found = bag.topics.get(stream.topic)
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

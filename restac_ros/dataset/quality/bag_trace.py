"""Traces a recording in one pass: every message is read, every frame made by the framer.

A frame's status takes about a kilobyte of memory, a message's times 16 bytes. Camera images are decoded only
for stills, so that a recording is traced several times faster than it was made.
"""

import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from restac_ros.contract.load import parse_contract
from restac_ros.contract.schema import Contract
from restac_ros.dataset.bag.bag_reader import Bag, open_bag
from restac_ros.dataset.episodes import episodes_of
from restac_ros.dataset.errors import BagError
from restac_ros.dataset.journal import read_notes
from restac_ros.dataset.quality.stream_watch import StreamWatch
from restac_ros.dataset.quality.trace import STILLS, Silence, Still, TouchWatch, Trace
from restac_ros.dataset.session_log import is_session_log
from restac_ros.dataset.survey import LeftOut, Survey, recorded_samples, stream_report
from restac_ros.framing.buffer import StreamCounters
from restac_ros.framing.frame import Frame
from restac_ros.framing.framer import Framer, Selection, frames
from restac_ros.framing.grid import Grid
from restac_ros.framing.sample import Sample

SILENCE_NS = 10_000_000_000  # no frames are made of longer silence: a clock set by years would never end


def bag_traces(path: Path | str, contract: Contract | None = None) -> Iterator[Trace]:
    """Yield a trace of a journal (also an unfinished one) or any bag, one per stretch between pauses.

    `contract` defaults to the journal's own.

    Raises:
        BagError: nothing can be read, there is neither a message nor a contract, or it is a session log.
        ContractError: the contract in the journal is not valid.
    """
    bag = open_bag(path)
    if is_session_log(bag):
        raise BagError(
            f'{bag.path} is the log of a session: it holds what the policy published, no recorded streams. '
            f'Draw it: restac-ros view {shlex.quote(str(bag.path))}'
        )
    notes = read_notes(bag)
    if contract is None:
        if notes.contract_text is None:
            raise BagError(
                f'{bag.path} holds no contract, as it was not recorded by this package. Give one that '
                'names its topics.'
            )
        contract = parse_contract(notes.contract_text, f'contract in {bag.path}')
    if (bounds := bag.bounds_ns) is None:
        raise BagError(f'{bag.path} holds no message.')
    for span in episodes_of(bag):
        start_ns = next(at for at in (span.start_ns, notes.start_ns, bounds[0]) if at is not None)
        end_ns = next(at for at in (span.end_ns, notes.end_ns, bounds[1] + 1) if at is not None)
        yield _Tracing(bag, contract, start_ns, end_ns, span.label).run(notes.task or '')


class _Feed:
    """Splits a recording's samples where nothing was received for long; keeps the `damage` that ends them."""

    def __init__(self, samples: Iterator[Sample], start_ns: int) -> None:
        self._samples = samples
        self.damage = ''
        self.last_ns = start_ns
        self.pausing = False
        self.upcoming = self._next()

    def piece(self) -> Iterator[Sample]:
        """Yield the samples up to the next silence."""
        self.pausing = False
        if self.upcoming is not None:
            self.last_ns = self.upcoming.receive_ns
        while self.upcoming is not None and self.upcoming.receive_ns - self.last_ns <= SILENCE_NS:
            sample, self.last_ns = self.upcoming, self.upcoming.receive_ns
            self.upcoming = self._next()
            yield sample
        self.pausing = True

    def over(self, time_ns: int) -> bool:
        """Return whether a frame at `time_ns` is behind this piece."""
        patience_ns = SILENCE_NS if self.upcoming is None else 0
        return self.pausing and time_ns > self.last_ns + patience_ns

    def _next(self) -> Sample | None:
        try:
            return next(self._samples, None)
        except BagError as error:
            self.damage = str(error)
            return None


class _Light(Framer):
    """Decodes poses, gripper and touch; cameras only for stills, or once `StreamWatch` has refused them."""

    def __init__(self, contract: Contract, start_ns: int, watches: dict[str, StreamWatch]) -> None:
        super().__init__(contract, start_ns)
        self._watches = watches
        self.decode_all = False

    def compose(self, selection: Selection) -> Frame:
        chosen = selection.chosen
        light = {name: choice for name, choice in chosen.items() if not self._is_heavy(name)}
        frame = super().compose(selection._replace(chosen=light))
        statuses = {name: frame.streams.get(name, status) for name, (_, status) in chosen.items()}
        reasons = [
            f'{name}: {statuses[name].reason}'
            for name in chosen.keys() - light.keys()
            if self.contract.streams[name].required and not statuses[name].valid
        ]
        return replace(frame, streams=statuses, reasons=(*reasons, *frame.reasons))

    def _is_heavy(self, name: str) -> bool:
        spec = self.contract.streams[name]
        raw_camera = spec.role == 'camera' and spec.type == 'sensor_msgs/msg/Image'
        return raw_camera and not self.decode_all and not self._watches[name].refusals


class _Tracing:
    """Collects one trace."""

    def __init__(self, bag: Bag, contract: Contract, start_ns: int, end_ns: int, label: str) -> None:
        self._bag, self._contract, self._label = bag, contract, label
        self._start_ns, self._end_ns = start_ns, end_ns
        self._watches = {name: StreamWatch(contract, name) for name in contract.streams}
        self._left_out = LeftOut()
        self._counters: list[dict[str, StreamCounters]] = []
        self._survey = Survey(Grid(start_ns, contract.fps))
        self._times: list[int] = []
        self._states: list[np.ndarray] = []
        self._touch = {name: TouchWatch(name) for name in contract.by_role('tactile')}
        self._stills: list[Still] = []

    def run(self, task: str) -> Trace:
        """Read the whole stretch."""
        samples = recorded_samples(self._bag, self._contract, self._start_ns, self._end_ns, self._left_out)
        feed = _Feed(self._watched(samples), self._start_ns)
        silences = []
        start_ns = self._start_ns
        while feed.upcoming is not None:
            if feed.upcoming.receive_ns - feed.last_ns > SILENCE_NS:
                silences.append(Silence(feed.last_ns, feed.upcoming.receive_ns))
                start_ns = feed.upcoming.receive_ns
            self._frame(feed, start_ns)
        return self._trace(task, feed.damage, tuple(silences))

    def _watched(self, samples: Iterator[Sample]) -> Iterator[Sample]:
        for sample in samples:
            if sample.receive_ns >= self._start_ns:
                self._watches[sample.stream].add(sample)
            yield sample

    def _frame(self, feed: _Feed, start_ns: int) -> None:
        framer = _Light(self._contract, start_ns, self._watches)
        framer.decode_all = True  # the first frame is a still
        for frame in frames(self._contract, feed.piece(), start_ns, self._end_ns, framer):
            if feed.over(frame.time_ns):
                break
            self._collect(frame, is_still=framer.decode_all)
            framer.decode_all = self._still_due(frame.time_ns + self._contract.period_ns)
        self._counters.append(framer.counters)

    def _still_due(self, next_ns: int) -> bool:
        taken = len({still.time_s for still in self._stills})
        span_ns = max(1, self._end_ns - self._start_ns)
        return taken < STILLS and next_ns - self._start_ns >= taken * span_ns // STILLS

    def _collect(self, frame: Frame, *, is_still: bool) -> None:
        self._times.append(frame.time_ns)
        self._survey.statuses.append(frame.streams)
        self._survey.reasons.append(frame.reasons)
        self._states.append(np.full(7, np.nan) if frame.state is None else frame.state.astype(np.float64))
        for name, touch in self._touch.items():
            touch.add(frame.tactile.get(name))
        if is_still:
            time_s = (frame.time_ns - self._times[0]) * 1e-9
            images = {**frame.images, **frame.tactile}
            self._stills += [Still(name, time_s, image) for name, image in images.items()]

    def _trace(self, task: str, damage: str, silences: tuple[Silence, ...]) -> Trace:
        messages = {name: watch.messages() for name, watch in self._watches.items()}
        for name, seen in messages.items():
            counters = [counted[name] for counted in self._counters]
            report = stream_report(self._contract, name, self._left_out, counters)
            report.count(seen.receives_ns)
            self._survey.streams[name] = report
        damages = [f'{file.path.name}: {file.damage}' for file in self._bag.files if file.damage]
        time_ns = np.array(self._times, np.int64)
        return Trace(
            contract=self._contract,
            source=f'{self._bag.path}, {self._label}' if self._label else str(self._bag.path),
            task=task,
            time_ns=time_ns,
            survey=self._survey,
            messages=messages,
            state=np.array(self._states).reshape(-1, 7),
            action=None,
            touch={name: touch.trace(time_ns) for name, touch in self._touch.items()},
            stills=tuple(self._stills),
            damage=tuple(damages + [damage] * bool(damage)),
            notes=tuple(note for note in self._bag.notes if note not in damages),
            silences=silences,
            clock_set_back_ns=self._bag.clock_set_back_ns,
        )

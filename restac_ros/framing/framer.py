"""The Framer: samples in, frames out, causally. The node, the recorder and the converter all use this one.

Time is an argument: nothing here reads a clock. A frame at t is made of samples with receive_ns <= t only,
of which each stream contributes the one captured last.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from typing import NamedTuple

import numpy as np

from restac_ros.contract.schema import Contract, Role
from restac_ros.framing.buffer import Entry, StreamBuffer, StreamCounters
from restac_ros.framing.decode import load_types
from restac_ros.framing.errors import DecodeError
from restac_ros.framing.frame import Frame, StreamStatus
from restac_ros.framing.grid import Grid
from restac_ros.framing.sample import Sample
from restac_ros.framing.values import decode_value, pose_vector, state_change, state_vector

HISTORY_NS = 500_000_000
OTHER_CLOCK_NS = 3600 * 10**9  # between stamp and receipt: no delay, but two different clocks

Choice = tuple[Entry | None, StreamStatus]


class Selection(NamedTuple):
    """The samples that a frame will be made of: found in microseconds, not yet decoded.

    `earlier` holds those of the state one period before; empty at an episode's start.
    """

    time_ns: int
    chosen: dict[str, Choice]
    earlier: dict[str, Choice]


class Framer:
    """Keeps each stream's recent samples and makes frames of them.

    Frames can be asked for at any time up to HISTORY_NS before the newest sample. A message is decoded
    once, and only if a frame uses it. Not thread safe; a node that must not block its subscriptions while
    images are decoded holds its lock for `push` and `select`, and calls `compose` outside it.
    """

    def __init__(self, contract: Contract, start_ns: int) -> None:
        load_types()
        self.contract = contract
        self.start_ns = start_ns
        kept_ns = HISTORY_NS + contract.period_ns
        self._buffers = {
            name: StreamBuffer(spec, contract.max_skew_ns, kept_ns) for name, spec in contract.streams.items()
        }

    @property
    def counters(self) -> dict[str, StreamCounters]:
        """What has happened to each stream's messages so far (live objects)."""
        return {name: buffer.counters for name, buffer in self._buffers.items()}

    def push(self, sample: Sample) -> None:
        """Add a sample, in the order of arrival; ContractError for a stream not in the contract."""
        if sample.stream not in self._buffers:
            self.contract.stream(sample.stream)  # raises, with the nearest known name
        self._buffers[sample.stream].push(sample)

    def frame_at(self, time_ns: int, streams: Collection[str] | None = None) -> Frame:
        """The frame at `time_ns`, of all streams or of the named ones.

        State and action_prev are there (and asked of a usable frame) when both their streams are among them.
        """
        return self.compose(self.select(time_ns, streams))

    def select(self, time_ns: int, streams: Collection[str] | None = None) -> Selection:
        """Choose each stream's sample for a frame at `time_ns`."""
        names = [name for name in self._buffers if streams is None or name in streams]
        for name in streams or ():
            self.contract.stream(name)
        chosen = {name: self._choose(name, time_ns) for name in names}
        before_ns = time_ns - self.contract.period_ns
        earlier = {}
        if before_ns >= self.start_ns and all(name in chosen for name in self.contract.state_streams):
            earlier = {name: self._choose(name, before_ns) for name in self.contract.state_streams}
        return Selection(time_ns, chosen, earlier)

    def compose(self, selection: Selection) -> Frame:
        """Decode a selection into a frame. Touches no buffer."""
        values, statuses = self._decode_all(selection.chosen)
        reasons = [
            f'{name}: {status.reason}'
            for name, status in statuses.items()
            if self.contract.streams[name].required and not status.valid
        ]
        state, action_prev = self._state(values), None
        if state is not None:
            action_prev, problem = self._action_prev(state, selection)
            reasons += [problem] if problem else []
        return Frame(
            time_ns=selection.time_ns,
            images=self._of_role('camera', values),
            tactile=self._of_role('tactile', values),
            state=_read_only_float32(state),
            action_prev=_read_only_float32(action_prev),
            target=_read_only_float32(self._target(values)),
            streams=statuses,
            reasons=tuple(reasons),
        )

    def _choose(self, name: str, time_ns: int) -> Choice:
        """Return a stream's sample at `time_ns` and its status by its times."""
        entry = self._buffers[name].newest_at(time_ns)
        reason = self._fault(name, entry, time_ns)
        if entry is None:
            return None, StreamStatus(None, None, None, valid=False, reason=reason)
        age_ns = time_ns - entry.stamp_ns
        return entry, StreamStatus(entry.stamp_ns, entry.receive_ns, age_ns, valid=not reason, reason=reason)

    def _fault(self, name: str, entry: Entry | None, time_ns: int) -> str:
        """Why `entry` is no valid sample at `time_ns`, or ''."""
        spec = self._buffers[name].spec
        if entry is not None and time_ns - entry.stamp_ns <= spec.max_age_ns:
            return ''
        future = self._buffers[name].future_at(time_ns)
        if future and (entry is None or future.receive_ns > entry.receive_ns):
            ahead_ms, limit_ms = (future.stamp_ns - future.receive_ns) / 1e6, self.contract.max_skew_ms
            if ahead_ms * 1e6 > OTHER_CLOCK_NS:
                return f'future: {other_clock(future.stamp_ns, future.receive_ns)}'
            found = f'stamped {ahead_ms:.0f} ms after its receipt (limit {limit_ms:g} ms)'
            return f'future: {found}; synchronise the clocks'
        if entry is None:
            return f'missing: nothing received on {spec.topic}'
        if self._buffers[name].counters.repeats_one_stamp:
            received = self._buffers[name].counters.received
            return f'stale: {received} messages, one stamp: the driver does not set it'
        if entry.receive_ns - entry.stamp_ns > OTHER_CLOCK_NS:
            return f'stale: {other_clock(entry.stamp_ns, entry.receive_ns)}'
        return f'stale: age {(time_ns - entry.stamp_ns) / 1e6:.0f} ms > {spec.max_age_ms:g} ms'

    def _decode_all(self, chosen: dict[str, Choice]) -> tuple[dict[str, np.ndarray], dict[str, StreamStatus]]:
        """Values of the valid choices, and all statuses, now with what decoding found."""
        values: dict[str, np.ndarray] = {}
        statuses = {}
        for name, (entry, status) in chosen.items():
            if status.valid and entry is not None:
                value = self._decode(name, entry)
                if value is None:
                    status = replace(status, valid=False, reason=f'undecodable: {entry.error}')
                else:
                    values[name] = value
            statuses[name] = status
        return values, statuses

    def _decode(self, name: str, entry: Entry) -> np.ndarray | None:
        """Return an entry's value, decoded at the first call, which drops its bytes. None: see `error`."""
        cdr = entry.cdr
        if cdr is None:
            return entry.value
        counters = self._buffers[name].counters
        try:
            entry.value = decode_value(self.contract, name, cdr)
            counters.decoded += 1
        except DecodeError as error:
            entry.error = str(error)
            counters.undecodable += 1
        entry.cdr = None
        return entry.value

    def _of_role(self, role: Role, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: values[name] for name in self.contract.by_role(role) if name in values}

    def _target(self, values: dict[str, np.ndarray]) -> np.ndarray | None:
        poses = list(self._of_role('target_pose', values).values())
        return pose_vector(self.contract, poses[0]) if poses else None

    def _state(self, values: dict[str, np.ndarray]) -> np.ndarray | None:
        if not all(name in values for name in self.contract.state_streams):
            return None
        gripper = self.contract.gripper_stream
        constant = np.array(self.contract.gripper.opening_m[0])
        opening = constant if gripper is None else values[gripper]
        return state_vector(self.contract, values[self.contract.pose_stream], opening)

    def _action_prev(self, state: np.ndarray, selection: Selection) -> tuple[np.ndarray | None, str]:
        """The change of the state over the last period, or why it isn't known."""
        if not selection.earlier:  # an episode's start, where the reference defines it as zero
            return np.zeros(7), ''
        values, statuses = self._decode_all(selection.earlier)
        before = self._state(values)
        if before is None:
            faults = [f'{name} {status.reason}' for name, status in statuses.items() if not status.valid]
            return None, f'action_prev: no state one period earlier: {"; ".join(faults)}'
        return state_change(self.contract, state, before), ''


def frames(
    contract: Contract, samples: Iterable[Sample], start_ns: int, end_ns: int, framer: Framer | None = None
) -> Iterator[Frame]:
    """Frames of recorded samples at the grid's ticks in [start_ns, end_ns).

    `samples` come in the order of arrival, as in a journal. Give a `framer` (made for the same contract and
    start) to read its counters afterwards.
    """
    framer = framer or Framer(contract, start_ns)
    grid = Grid(start_ns, contract.fps)
    arrivals = iter(samples)
    upcoming = next(arrivals, None)
    for index in count():
        tick_ns = grid.tick_ns(index)
        while upcoming is not None and upcoming.receive_ns <= min(tick_ns, end_ns):
            framer.push(upcoming)
            upcoming = next(arrivals, None)
        if tick_ns >= end_ns:
            return
        yield framer.frame_at(tick_ns)


def _read_only_float32(values: np.ndarray | None) -> np.ndarray | None:
    if values is None:
        return None
    values = values.astype(np.float32)
    values.flags.writeable = False
    return values


def other_clock(stamp_ns: int, receive_ns: int) -> str:
    """Describe a stamp that is of another clock than its receipt, with the remedy."""
    found = f'stamped {_clock_text(stamp_ns)}, received {_clock_text(receive_ns)}'
    return f'another clock: {found}; set the time domain of the driver, or use_sim_time for all nodes alike'


def _clock_text(time_ns: int) -> str:
    """A time as a date, or as seconds where the clock began with the device or the simulation."""
    seconds = time_ns / 1e9
    if time_ns < 366 * 24 * OTHER_CLOCK_NS:
        return f'{seconds:.0f} s after its zero'
    date = datetime.fromtimestamp(seconds, UTC)
    return f'{date:%Y-%m-%d %H:%M}'

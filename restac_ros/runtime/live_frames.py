"""A framer behind a lock: subscriptions push samples, workers request frames."""

import threading
from collections.abc import Callable, Collection
from dataclasses import replace

from restac_ros.contract.schema import Contract
from restac_ros.framing.frame import Frame, StreamStatus
from restac_ros.framing.framer import Framer, Selection
from restac_ros.framing.sample import Sample
from restac_ros.runtime.freeze_watch import FreezeWatch
from restac_ros.runtime.waiting import WakeEvent


class LiveFrames:
    """Keeps recent samples of all streams, and signals each arrival.

    `now_ns` is the node's clock; `poll` pushes the messages that wait in the queues. The lock is held while
    samples are selected, never while images are decoded. Streams that repeat one image for longer than
    `max_frozen_ns` are invalid; 0: none is. `why_silent` returns which other joints a stream's topic has, or
    ''.
    """

    def __init__(
        self,
        contract: Contract,
        now_ns: Callable[[], int],
        poll: Callable[[], None],
        max_frozen_ns: int = 0,
        why_silent: Callable[[str], str] = lambda name: '',
    ) -> None:
        self._contract = contract
        self._framer = Framer(contract, now_ns())
        self._now_ns = now_ns
        self._poll = poll
        self._why_silent = why_silent
        self._freezes = FreezeWatch(contract, max_frozen_ns)
        self._lock = threading.Lock()
        self._arrived: dict[str, list[WakeEvent]] = {name: [] for name in contract.streams}

    def push(self, sample: Sample) -> None:
        """Add a sample."""
        with self._lock:
            self._framer.push(sample)
            self._freezes.add(sample)
        for event in self._arrived[sample.stream]:
            event.set()

    def signal(self, streams: Collection[str], event: WakeEvent) -> None:
        """Set `event` whenever a sample of one of `streams` arrives."""
        for name in streams:
            self._arrived[name].append(event)

    def frame(self, streams: Collection[str]) -> Frame:
        """Return the present frame of the named streams, made of all that has arrived."""
        return self._framer.compose(self._select(streams))

    def frame_with_statuses(self, streams: Collection[str]) -> tuple[Frame, dict[str, StreamStatus]]:
        """Return the frame of the named streams, and whether every stream is in time, at one instant.

        Streams that are not named are not decoded: their status leaves open whether they can be.
        """
        selection = self._select(None)
        statuses = {name: status for name, (_, status) in selection.chosen.items()}
        named = {name: selection.chosen[name] for name in streams}
        return self._framer.compose(selection._replace(chosen=named)), statuses

    def _select(self, streams: Collection[str] | None) -> Selection:
        time_ns = self._now_ns()
        self._poll()
        with self._lock:
            if time_ns < self._framer.start_ns:  # the clock was set back: what was before doesn't count
                self._framer = Framer(self._contract, time_ns)
                self._freezes.forget()
            selection, frozen = self._framer.select(time_ns, streams), self._freezes.reasons(time_ns)
        for name, (entry, status) in selection.chosen.items():
            reason = frozen.get(name, '') if status.valid else self._other_joints(name, status, time_ns)
            if reason:
                selection.chosen[name] = entry, replace(status, valid=False, reason=reason)
        return selection

    def _other_joints(self, name: str, status: StreamStatus, time_ns: int) -> str:
        """Return the reason of a stream whose topic now has joint states of other joints only, or ''."""
        silent = status.reason.startswith('missing') or (
            status.reason.startswith('stale')
            and status.receive_ns is not None
            and time_ns - status.receive_ns > self._contract.streams[name].max_age_ns
        )
        why = self._why_silent(name) if silent else ''
        return f'other joints: {why}' if why else ''

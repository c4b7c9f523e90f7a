"""Samples from the subscriptions' threads in, frames for the workers out: the framer behind a lock."""

import threading
from collections.abc import Callable, Collection
from dataclasses import replace

from restac_ros.contract.schema import Contract
from restac_ros.framing.frame import Frame, StreamStatus
from restac_ros.framing.framer import Framer, Selection
from restac_ros.framing.sample import Sample
from restac_ros.runtime.freeze_watch import FreezeWatch


class LiveFrames:
    """The recent past of all streams, and a signal per stream that something new has come.

    `now_ns` is the node's clock; `take_pending` hands over what has arrived but waits for its turn. The lock
    is held for choosing samples only, never while images are decoded. Streams that show one image for longer
    than `max_frozen_ns` are invalid; 0: none is. `why_silent` returns what came on a stream's topic instead
    of its own messages, or ''.
    """

    def __init__(
        self,
        contract: Contract,
        now_ns: Callable[[], int],
        take_pending: Callable[[], None],
        max_frozen_ns: int = 0,
        why_silent: Callable[[str], str] = lambda name: '',
    ) -> None:
        self._contract = contract
        self._framer = Framer(contract, now_ns())
        self._now_ns = now_ns
        self._take_pending = take_pending
        self._why_silent = why_silent
        self._freezes = FreezeWatch(contract, max_frozen_ns)
        self._lock = threading.Lock()
        self._arrived: dict[str, list[threading.Event]] = {name: [] for name in contract.streams}

    def push(self, sample: Sample) -> None:
        """Take in one sample."""
        with self._lock:
            self._framer.push(sample)
            self._freezes.add(sample)
        for event in self._arrived[sample.stream]:
            event.set()

    def signal(self, streams: Collection[str], event: threading.Event) -> None:
        """Set `event` from now on whenever one of `streams` has something new."""
        for name in streams:
            self._arrived[name].append(event)

    def frame(self, streams: Collection[str]) -> Frame:
        """Return the frame of now, of the named streams: everything that had arrived by now is in it."""
        return self._framer.compose(self._select(streams))

    def frame_with_statuses(self, streams: Collection[str]) -> tuple[Frame, dict[str, StreamStatus]]:
        """Return the frame of the named streams, and whether every stream is in time, at one instant.

        Streams that are not named are not decoded, so that their status does not tell whether they can be.
        """
        selection = self._select(None)
        statuses = {name: status for name, (_, status) in selection.chosen.items()}
        named = {name: selection.chosen[name] for name in streams}
        return self._framer.compose(selection._replace(chosen=named)), statuses

    def _select(self, streams: Collection[str] | None) -> Selection:
        time_ns = self._now_ns()
        self._take_pending()
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

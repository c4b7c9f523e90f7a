"""One recording: messages go through a bounded queue to a journal, which a thread of its own writes."""

import heapq
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from restac_ros.contract.schema import Contract
from restac_ros.dataset.bag.bag_writer import Compression
from restac_ros.dataset.errors import JournalError
from restac_ros.dataset.journal import Journal

# Streams are taken from the middleware one by one: messages come to us a little out of order. They are
# held back so long to be sorted; what comes later still is dated by when it came.
HOLD_BACK_NS = 250_000_000
_IDLE_S = 0.25  # how long the writer waits before it looks whether a flush is due
PAUSE, RESUME = '/pause', '/resume'  # no stream has such a name


class _Entry(NamedTuple):
    receive_ns: int
    number: int  # decides between equal times
    stream: str  # or PAUSE, RESUME
    cdr: bytes


class Recording:
    """A journal and the thread that writes it. `offer` never blocks: what finds no room is dropped, counted.

    It ends by `finish` (closed and checked by its thread, then `done`) or `discard`. `failure` is set when
    the disk refuses; what was written then stays as NAME.partial, to be recovered. `high_water` are the most
    messages that waited at once, by stream; a quarter of a second's always wait, to be sorted.
    """

    def __init__(
        self,
        path: Path,
        contract: Contract,
        task: str,
        now_ns: Callable[[], int],
        queue_bytes: int,
        compression: Compression = 'none',
    ) -> None:
        """Begin. Raises JournalError: the journal exists already, or the disk refuses."""
        self.failure = ''
        self.received = dict.fromkeys(contract.streams, 0)
        self.dropped = dict.fromkeys(contract.streams, 0)
        self.high_water = dict.fromkeys(contract.streams, 0)
        self._waiting = dict.fromkeys(contract.streams, 0)
        self._now_ns = now_ns
        self._queue_bytes = queue_bytes
        self._queued: list[_Entry] = []
        self._held_bytes = 0  # queued, or held back by the thread
        self._newest_ns = self._written_ns = 0
        self._ending = self._saving = False
        self._changed = threading.Condition()
        begin_ns = now_ns()
        self._journal = Journal(path, contract, start_ns=begin_ns, task=task, compression=compression)
        self._taken_ns = 0  # length of the stretches that are over
        self._since_ns: int | None = begin_ns  # when the stretch under way began; None while paused
        self._resumed_ns = 0
        self._boundary_ns = begin_ns  # of pauses, which must be in order even while the clock stands still
        self._thread = threading.Thread(target=self._run, name='journal', daemon=True)
        self._thread.start()

    @property
    def path(self) -> Path:
        """Where the bag will be; until it is finished it is called NAME.partial."""
        return self._journal.path

    @property
    def done(self) -> bool:
        """Whether it has ended: `path` is a bag then, or `failure` says why not."""
        return not self._thread.is_alive()

    @property
    def paused(self) -> bool:
        """Whether it takes nothing at present; it ends so when it ends in a pause."""
        return self._since_ns is None

    @property
    def duration_ns(self) -> int:
        """How long it has recorded, pauses left out."""
        since_ns = self._since_ns
        return self._taken_ns + (0 if since_ns is None else max(0, self._now_ns() - since_ns))

    @property
    def written(self) -> dict[str, int]:
        """Messages in the journal, by stream."""
        return dict(self._journal.counts)

    @property
    def bytes_written(self) -> int:
        """Sum of their sizes."""
        return self._journal.bytes_written

    def offer(self, stream: str, cdr: bytes, receive_ns: int) -> None:
        """Queue a message for the journal, unless it came in a pause."""
        with self._changed:
            if self._ending or self.paused or receive_ns < self._resumed_ns:
                return
            self.received[stream] += 1
            if self.failure or self._held_bytes + len(cdr) > self._queue_bytes:
                self.dropped[stream] += 1
                return
            self._queued.append(_Entry(receive_ns, self.received[stream], stream, cdr))
            self._held_bytes += len(cdr)
            self._waiting[stream] += 1
            self.high_water[stream] = max(self.high_water[stream], self._waiting[stream])
            self._changed.notify()

    def pause(self) -> None:
        """Take nothing until `resume`; what was taken is on the disk soon after."""
        with self._changed:
            self._end_stretch()
            self._queue_boundary(PAUSE, sys.maxsize)

    def resume(self) -> None:
        """Take messages again: the journal's next stretch."""
        with self._changed:
            self._since_ns = self._resumed_ns = self._now_ns()
            self._queue_boundary(RESUME, -1)

    def join(self) -> None:
        """Wait until it has ended."""
        self._thread.join()

    def finish(self) -> None:
        """Take no more, and let the thread write what is queued, close and check."""
        self._end(saving=True)

    def discard(self, trash: Path) -> Path:
        """Stop and move what there is into the folder `trash`, nothing is deleted; returns where it lies.

        Raises:
            JournalError: the disk refuses; it stays where it was.
        """
        self._end(saving=False)
        self.join()
        partial = self._journal.partial
        try:
            trash.mkdir(parents=True, exist_ok=True)
            return partial.rename(trash / partial.name)
        except OSError as error:
            raise JournalError(f'{partial} cannot be moved to {trash}: {error.strerror}; it stays') from error

    def _end(self, saving: bool) -> None:
        with self._changed:
            self._ending, self._saving = True, saving
            if not self.paused:
                self._end_stretch()
            self._changed.notify()

    def _end_stretch(self) -> None:
        self._taken_ns += max(0, self._now_ns() - self._since_ns)
        self._since_ns = None

    def _queue_boundary(self, kind: str, number: int) -> None:
        self._boundary_ns = max(self._now_ns(), self._boundary_ns + 1)
        self._queued.append(_Entry(self._boundary_ns, number, kind, b''))
        self._changed.notify()

    def _run(self) -> None:
        held: list[_Entry] = []
        try:
            while (batch := self._next_batch()) is not None:
                for entry in batch:
                    heapq.heappush(held, entry)
                    self._newest_ns = max(self._newest_ns, entry.receive_ns)
                self._write(held, max(self._newest_ns, self._now_ns()) - HOLD_BACK_NS)
                self._journal.flush_if_due(self._now_ns())
            if self._saving:
                self._write(held, self._newest_ns)
                self._journal.close(self._now_ns())
        except JournalError as error:
            self.failure = str(error)
        if self.failure or not self._saving:
            self._journal.abandon()

    def _write(self, held: list[_Entry], until_ns: int) -> None:
        """Write what was received by `until_ns`, in the order of receipt."""
        while held and held[0].receive_ns <= until_ns:
            entry = heapq.heappop(held)
            self._written_ns = max(self._written_ns, entry.receive_ns)
            if entry.stream == PAUSE:
                self._journal.pause(self._written_ns)
            elif entry.stream == RESUME:
                self._journal.resume(self._written_ns)
            else:
                self._journal.write(entry.stream, entry.cdr, self._written_ns)
                with self._changed:
                    self._held_bytes -= len(entry.cdr)
                    self._waiting[entry.stream] -= 1

    def _next_batch(self) -> list[_Entry] | None:
        """What is queued (nothing after a while); None when the end was asked for and all is taken."""
        with self._changed:
            self._changed.wait_for(lambda: self._queued or self._ending, _IDLE_S)
            if self._ending and not (self._queued and self._saving):
                return None
            batch, self._queued = self._queued, []
            return batch

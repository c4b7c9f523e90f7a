"""One recording: messages go through a bounded queue to a journal, which a thread of its own writes."""

import heapq
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from restac_ros.contract.schema import Contract
from restac_ros.dataset.errors import JournalError
from restac_ros.dataset.journal import Journal

# Streams are taken from the middleware one by one: messages come to us a little out of order. They are
# held back so long to be sorted; what comes later still is dated by when it came.
HOLD_BACK_NS = 250_000_000
IDLE_S = 0.25  # how long the writer waits before it looks whether a flush is due


class _Entry(NamedTuple):
    receive_ns: int
    number: int  # decides between equal times
    stream: str
    cdr: bytes


class Recording:
    """A journal and the thread that writes it. `offer` never blocks: what finds no room is dropped, counted.

    It ends by `finish` (closed and checked by its thread, then `done`) or `discard`. `failure` is set when
    the disk refuses; what was written then stays as NAME.partial, to be recovered.
    """

    def __init__(
        self, path: Path, contract: Contract, task: str, now_ns: Callable[[], int], queue_bytes: int
    ) -> None:
        """Begin. Raises JournalError: the journal exists already, or the disk refuses."""
        self.failure = ''
        self.received = dict.fromkeys(contract.streams, 0)
        self.dropped = dict.fromkeys(contract.streams, 0)
        self._now_ns = now_ns
        self._queue_bytes = queue_bytes
        self._queued: list[_Entry] = []
        self._held_bytes = 0  # queued, or held back by the thread
        self._newest_ns = self._written_ns = 0
        self._ending = self._saving = False
        self._changed = threading.Condition()
        self._journal = Journal(path, contract, start_ns=now_ns(), task=task)
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
    def written(self) -> dict[str, int]:
        """Messages in the journal, by stream."""
        return dict(self._journal.counts)

    @property
    def bytes_written(self) -> int:
        """Sum of their sizes."""
        return self._journal.bytes_written

    def offer(self, stream: str, cdr: bytes, receive_ns: int) -> None:
        """Queue a message for the journal."""
        with self._changed:
            if self._ending:
                return
            self.received[stream] += 1
            if self.failure or self._held_bytes + len(cdr) > self._queue_bytes:
                self.dropped[stream] += 1
                return
            self._queued.append(_Entry(receive_ns, self.received[stream], stream, cdr))
            self._held_bytes += len(cdr)
            self._changed.notify()

    def join(self) -> None:
        """Wait until it has ended."""
        self._thread.join()

    def finish(self) -> None:
        """Take no more, and let the thread write what is queued, close and check."""
        self._end(saving=True)

    def discard(self, trash: Path) -> Path:
        """Stop and move what there is into the folder `trash`, nothing is deleted; returns where it lies."""
        self._end(saving=False)
        self.join()
        trash.mkdir(parents=True, exist_ok=True)
        return self._journal.partial.rename(trash / self._journal.partial.name)

    def _end(self, saving: bool) -> None:
        with self._changed:
            self._ending, self._saving = True, saving
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
            self._journal.write(entry.stream, entry.cdr, self._written_ns)
            with self._changed:
                self._held_bytes -= len(entry.cdr)

    def _next_batch(self) -> list[_Entry] | None:
        """What is queued (nothing after a while); None when the end was asked for and all is taken."""
        with self._changed:
            self._changed.wait_for(lambda: self._queued or self._ending, IDLE_S)
            if self._ending and not (self._queued and self._saving):
                return None
            batch, self._queued = self._queued, []
            return batch

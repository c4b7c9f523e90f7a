"""One recording: messages go through a bounded queue to a journal, which a thread of its own writes."""

import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from restac_ros.contract.schema import Contract
from restac_ros.dataset.errors import JournalError
from restac_ros.dataset.journal import Journal

IDLE_S = 0.25  # how long the writer waits before it looks whether a flush is due


class _Entry(NamedTuple):
    stream: str
    cdr: bytes
    receive_ns: int


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
        self._queued: deque[_Entry] = deque()
        self._queued_bytes = 0
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
            if self.failure or self._queued_bytes + len(cdr) > self._queue_bytes:
                self.dropped[stream] += 1
                return
            self._queued.append(_Entry(stream, cdr, receive_ns))
            self._queued_bytes += len(cdr)
            self._changed.notify()

    def finish(self) -> None:
        """Take no more, and let the thread write what is queued, close and check."""
        self._end(saving=True)

    def discard(self, trash: Path) -> Path:
        """Stop and move what there is into the folder `trash`, nothing is deleted; returns where it lies."""
        self._end(saving=False)
        self._thread.join()
        trash.mkdir(parents=True, exist_ok=True)
        return self._journal.partial.rename(trash / self._journal.partial.name)

    def _end(self, saving: bool) -> None:
        with self._changed:
            self._ending, self._saving = True, saving
            self._changed.notify()

    def _run(self) -> None:
        try:
            while (batch := self._next_batch()) is not None:
                for entry in batch:
                    self._journal.write(*entry)
                self._journal.flush_if_due(self._now_ns())
            if self._saving:
                self._journal.close(self._now_ns())
        except JournalError as error:
            self.failure = str(error)
        if self.failure or not self._saving:
            self._journal.abandon()

    def _next_batch(self) -> list[_Entry] | None:
        """What is queued (nothing after a while); None when the end was asked for and all is written."""
        with self._changed:
            self._changed.wait_for(lambda: self._queued or self._ending, IDLE_S)
            if self._ending and not (self._queued and self._saving):
                return None
            batch = list(self._queued)
            self._queued.clear()
            self._queued_bytes = 0
            return batch

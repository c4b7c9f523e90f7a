"""One recording: a thread writes the messages of a bounded queue to a journal."""

import heapq
import sys
import threading
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple

from restac_ros.contract.schema import Contract
from restac_ros.dataset.bag.bag_writer import Compression
from restac_ros.dataset.errors import JournalError
from restac_ros.dataset.journal import Journal
from restac_ros.framing.sample import Sample
from restac_ros.recording.take_watch import TakeWatch
from restac_ros.runtime.worker import Worker

# Streams are polled one by one, so that messages arrive slightly out of order. They are held back this long
# to be sorted; the log time of a later one is that of its predecessor.
HOLD_BACK_NS = 250_000_000
_IDLE_S = 0.25  # how long the writer waits before it checks whether a flush is due
PAUSE, RESUME, SUBTASK = '/pause', '/resume', '/subtask'  # no stream has such a name
TOUCH_REFERENCE = '/reference'  # nor this; its sample is the reference image of a tactile stream
CALM_SHARE = 0.25  # of the queue: while no more waits, the disk keeps up


class RecordingClocks(NamedTuple):
    """Clocks in ns: the node's (may be simulated), a steady one, UTC."""

    now_ns: Callable[[], int]
    steady_ns: Callable[[], int]
    utc_ns: Callable[[], int]


class _Entry(NamedTuple):
    receive_ns: int
    number: int  # decides between equal times
    stream: str  # or PAUSE, RESUME, SUBTASK, TOUCH_REFERENCE
    sample: Sample | None  # None of the first three
    text: str = ''  # of SUBTASK


class Recording:
    """A journal and the thread that writes it. `offer` never blocks: without room it drops and counts.

    `finish` has its thread close and check it, then it is `done`; `discard` ends it, too. If it ended in
    another way, `failure` is the reason, and what was written stays as NAME.partial, to be recovered.
    `high_water` is the largest number of waiting messages by stream; those of 250 ms always wait, to be
    sorted.
    """

    def __init__(
        self,
        path: Path,
        contract: Contract,
        task: str,
        clocks: RecordingClocks,
        queue_bytes: int,
        compression: Compression = 'none',
        needed: Collection[str] = (),
    ) -> None:
        """Begin to record; usable frames need the `needed` optional streams, too.

        Raises:
            JournalError: the journal exists already, or the disk refuses.
        """
        self.closed = False
        self._failure = ''
        self._trashed: Path | None = None
        self.received = dict.fromkeys(contract.streams, 0)
        self.dropped = dict.fromkeys(contract.streams, 0)
        self.high_water = dict.fromkeys(contract.streams, 0)
        self._waiting = dict.fromkeys(contract.streams, 0)
        self._now_ns, self._steady_ns = clocks.now_ns, clocks.steady_ns
        self._queue_bytes = queue_bytes
        self._queued: list[_Entry] = []
        self._held: list[_Entry] = []  # by the thread, to be sorted
        self._held_bytes = 0  # queued, or held back by the thread
        self._newest_ns = self._written_ns = 0
        self._ending = self._saving = False
        self._changed = threading.Condition()
        begin_ns = self._now_ns()
        self._journal = Journal(
            path, contract, start_ns=begin_ns, task=task, compression=compression, steady_ns=self._steady_ns
        )
        self.watch = TakeWatch(contract, begin_ns, needed)
        self._calm = (self._steady_ns(), self._journal.disk_ns)  # when little waited last
        self._taken_ns = 0  # length of the stretches that are over
        self._since_ns: int | None = begin_ns  # when the stretch under way began; None while paused
        self._resumed_ns = 0
        self._boundary_ns = begin_ns  # of pauses, which must be in order even while the clock stands still
        self._writer = Worker('journal', self._step, self._on_failure)
        self._writer.start()

    @property
    def path(self) -> Path:
        """Path of the finished bag, until then NAME.partial; once discarded, where it lies in the trash."""
        return self._trashed or self._journal.path

    @property
    def done(self) -> bool:
        """Whether it is closed, discarded or failed."""
        return not self._writer.is_alive

    @property
    def failure(self) -> str:
        """Reason of an end without a request, or of a failed close; else ''."""
        discarded = self._ending and not self._saving
        if self._failure or discarded or not self.done or self.closed:
            return self._failure
        return self._unfinished('its thread ended without closing it')

    @property
    def paused(self) -> bool:
        """Whether it is paused, or has ended in a pause."""
        return self._since_ns is None

    @property
    def duration_ns(self) -> int:
        """Recorded time without pauses, ns."""
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

    @property
    def disk_share(self) -> float:
        """Share of the time since the queue was last short that the writer waited for the disk, 0 .. 1."""
        since_ns, before_ns = self._calm
        elapsed_ns = self._steady_ns() - since_ns
        return min(1.0, (self._journal.disk_ns - before_ns) / elapsed_ns) if elapsed_ns > 0 else 0.0

    def offer(self, sample: Sample) -> None:
        """Queue a message for the journal, unless it was received in a pause."""
        stream, size = sample.stream, len(sample.cdr)
        with self._changed:
            if self._ending or self.paused or sample.receive_ns < self._resumed_ns:
                return
            self.received[stream] += 1
            if self._failure or self._held_bytes + size > self._queue_bytes:
                self.dropped[stream] += 1
                return
            self._queued.append(_Entry(sample.receive_ns, self.received[stream], stream, sample))
            self._held_bytes += size
            self._waiting[stream] += 1
            self.high_water[stream] = max(self.high_water[stream], self._waiting[stream])
            self._changed.notify()

    def pause(self) -> None:
        """Ignore messages until `resume`; those received before belong to the ending stretch."""
        with self._changed:
            self._end_stretch()
            self._queue_boundary(PAUSE, sys.maxsize)

    def resume(self) -> None:
        """Begin the journal's next stretch."""
        with self._changed:
            self._since_ns = self._resumed_ns = self._now_ns()
            self._queue_boundary(RESUME, -1)

    def begin_subtask(self, text: str) -> None:
        """Note which part of the task begins now."""
        with self._changed:
            self._queue_boundary(SUBTASK, 0, text)

    def offer_reference(self, sample: Sample) -> None:
        """Note the reference image of a tactile stream from now on."""
        with self._changed:
            self._queue_boundary(TOUCH_REFERENCE, -1, sample=sample)

    def join(self) -> None:
        """Wait until it has ended."""
        self._writer.join()

    def finish(self) -> None:
        """Accept no more messages; the thread writes the queue, closes and checks."""
        self._end(saving=True)

    def discard(self, trash: Path) -> Path:
        """Stop and move the recording into the folder `trash`; return its new path. Nothing is deleted.

        Raises:
            JournalError: the disk refuses; it stays where it was.
        """
        self._end(saving=False)
        self.join()
        partial = self._journal.partial
        try:
            trash.mkdir(parents=True, exist_ok=True)
            self._trashed = partial.rename(trash / partial.name)
        except OSError as error:
            raise JournalError(f'{partial} cannot be moved to {trash}: {error.strerror}; it stays') from error
        return self._trashed

    def _end(self, saving: bool) -> None:
        with self._changed:
            self._ending, self._saving = True, saving
            self._end_stretch()
            self._changed.notify()

    def _end_stretch(self) -> None:
        if self._since_ns is not None:
            self._taken_ns += max(0, self._now_ns() - self._since_ns)
        self._since_ns = None

    def _queue_boundary(self, kind: str, number: int, text: str = '', sample: Sample | None = None) -> None:
        self._boundary_ns = max(self._now_ns(), self._boundary_ns + 1)
        self._queued.append(_Entry(self._boundary_ns, number, kind, sample, text))
        self._changed.notify()

    def _step(self) -> None:
        """One round of the writer; exceptions other than JournalError go to `_on_failure`."""
        try:
            if (batch := self._next_batch()) is None:
                self._writer.ask_to_stop()
                self._close()
                return
            for entry in batch:
                heapq.heappush(self._held, entry)
                self._newest_ns = max(self._newest_ns, entry.receive_ns)
            self._write(max(self._newest_ns, self._now_ns()) - HOLD_BACK_NS)
            self._journal.flush_if_due(self._now_ns())
            if self._held_bytes < CALM_SHARE * self._queue_bytes:
                self._calm = (self._steady_ns(), self._journal.disk_ns)
        except JournalError as error:
            self._writer.ask_to_stop()
            self._fail(str(error))

    def _close(self) -> None:
        if self._saving:
            self._write(self._newest_ns)
            self._journal.close(self._now_ns())
            self.closed = True
        else:
            self._journal.abandon()

    def _on_failure(self, text: str) -> None:
        self._fail(self._unfinished(text))

    def _unfinished(self, why: str) -> str:
        return f'{self.path} was not finished: {why}. What was written is kept in {self._journal.partial}'

    def _fail(self, text: str) -> None:
        self._failure = text
        self._journal.abandon()

    def _write(self, until_ns: int) -> None:
        """Write what was received by `until_ns`, in the order of receipt."""
        while self._held and self._held[0].receive_ns <= until_ns:
            entry = heapq.heappop(self._held)
            self._written_ns = max(self._written_ns, entry.receive_ns)
            if entry.stream == PAUSE:
                self._journal.pause(self._written_ns)
            elif entry.stream == RESUME:
                self._journal.resume(self._written_ns)
                self.watch.begin(self._written_ns)
            elif entry.stream == SUBTASK:
                self._journal.begin_subtask(entry.text, self._written_ns)
            elif entry.stream == TOUCH_REFERENCE and entry.sample:
                self._journal.write_reference(entry.sample.stream, entry.sample.cdr, self._written_ns)
            elif sample := entry.sample:
                self._journal.write(entry.stream, sample.cdr, self._written_ns)
                self.watch.add(sample._replace(receive_ns=self._written_ns))
                with self._changed:
                    self._held_bytes -= len(sample.cdr)
                    self._waiting[entry.stream] -= 1

    def _next_batch(self) -> list[_Entry] | None:
        """Wait for queued messages and return them; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._queued or self._ending, _IDLE_S)
            if self._ending and not (self._queued and self._saving):
                return None
            batch, self._queued = self._queued, []
            return batch

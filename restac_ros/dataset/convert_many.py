"""Many recordings into one data set, by several processes, in the order given whoever finishes first.

Each process converts a recording into a data set of its own, a shard, beside the target; shards are appended
one by one. A recording that the data set holds already is skipped: what was interrupted goes on where it was.
"""

import multiprocessing as mp
import os
import queue
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from functools import partial
from multiprocessing.queues import Queue
from pathlib import Path
from typing import NamedTuple

from restac_ros.dataset.dataset_files import is_dataset
from restac_ros.dataset.errors import DatasetError
from restac_ros.dataset.fingerprint import bag_files, converted_recordings, fingerprint
from restac_ros.dataset.shards import Outcome, Request, append_made, make_shard, shard_path, shards_folder

POLL_S = 0.1
AHEAD = 1               # recordings begun besides one per process, so that none waits for an append


class Progress(NamedTuple):
    """`bytes` of `total_bytes` in the recordings are done, `seconds` of episode."""

    bytes: int
    total_bytes: int
    seconds: float


OnProgress = Callable[[Progress], None]


def convert_many(
    requests: Sequence[Request], root: Path, workers: int = 1, on_progress: OnProgress | None = None
) -> Iterator[Outcome]:
    """Append an episode per recording to the data set at `root`; outcomes in the order of the requests.

    The result does not depend on the number of workers. Stopping it, in whatever way, leaves a data set of
    complete episodes.

    Raises:
        DatasetError: the data set cannot take episodes, or a worker died.
        OSError: the disk refuses.
    """
    if workers < 1:
        raise ValueError(f'workers: {workers}, at least 1 is needed')
    root = root.absolute()
    if root.exists() and not is_dataset(root) and (not root.is_dir() or any(root.iterdir())):
        raise DatasetError(f'{root} is neither empty nor a LeRobot data set. Choose another.')
    todo, skipped = _sorted_out(requests, root)
    meter = _Meter([bag_bytes(requests[number].bag) for number in todo], on_progress)
    if min(workers, len(todo)) > 1:
        made = _in_parallel([requests[number] for number in todo], root, min(workers, len(todo)), meter)
    else:
        made = _one_by_one([requests[number] for number in todo], root, meter)
    with closing(made):
        for number in range(len(requests)):
            yield skipped[number] if number in skipped else next(made)
        next(made, None)        # past its last outcome, so that it ends in order, not by being closed


def _sorted_out(requests: Sequence[Request], root: Path) -> tuple[list[int], dict[int, Outcome]]:
    """Numbers of the requests to work on, and the outcomes of those that need no work."""
    held = converted_recordings(root) if is_dataset(root) else {}
    first_of: dict[str, int] = {}
    todo, skipped = [], {}
    for number, request in enumerate(requests):
        try:
            identity = fingerprint(request.bag)
        except OSError as error:
            skipped[number] = Outcome(request.bag, refusal=f'{request.bag} cannot be read: {error.strerror}')
            continue
        if identity in held:
            skipped[number] = Outcome(request.bag, already=held[identity])
        elif identity in first_of:
            other = requests[first_of[identity]].bag
            skipped[number] = Outcome(request.bag, refusal=f'{request.bag} is the same recording as {other}')
        else:
            first_of[identity] = number
            todo.append(number)
    return todo, skipped


def bag_bytes(bag: Path) -> int:
    """Size of a bag's files."""
    return sum(file.stat().st_size for file in bag_files(bag))


class _Meter:
    """Adds up what the workers tell."""

    def __init__(self, sizes: list[int], listener: OnProgress | None) -> None:
        self.sizes, self.listener = sizes, listener
        self.shares = [0.0] * len(sizes)
        self.seconds = [0.0] * len(sizes)

    def tell(self, number: int, share: float, seconds: float) -> None:
        """Recording `number` is done to this share (0..1)."""
        self.shares[number], self.seconds[number] = share, seconds
        if self.listener:
            done = sum(share * size for share, size in zip(self.shares, self.sizes, strict=True))
            self.listener(Progress(round(done), sum(self.sizes), sum(self.seconds)))

    def finish(self, number: int, outcome: Outcome) -> None:
        """Recording `number` has its outcome."""
        report = outcome.report
        self.tell(number, 1.0, report.rows / report.fps if report else 0.0)


def _one_by_one(requests: list[Request], root: Path, meter: _Meter) -> Iterator[Outcome]:
    """The same steps in this process."""
    with shards_folder(root) as folder:
        for number, request in enumerate(requests):
            shard = shard_path(folder, number)
            outcome = make_shard(request, root, shard, partial(meter.tell, number))
            if outcome.report and not request.dry_run:
                outcome = append_made(request, outcome, root, shard)
            meter.finish(number, outcome)
            yield outcome


def _in_parallel(requests: list[Request], root: Path, workers: int, meter: _Meter) -> Iterator[Outcome]:
    """Shards are begun in order, a few ahead, and appended in order; the disk holds only those few."""
    # Forking from a clean server: threads of this process do no harm, LeRobot is loaded once.
    context = mp.get_context('forkserver')
    context.set_forkserver_preload(['restac_ros.dataset.merge'])
    events = context.Queue()
    ours = set(mp.active_children())
    with shards_folder(root) as folder:
        pool = ProcessPoolExecutor(workers, context, _begin_worker, (events,))
        try:
            waiting: deque[Future[Outcome]] = deque()
            for number in range(len(requests)):
                while len(waiting) <= workers + AHEAD - 1 and number + len(waiting) < len(requests):
                    begun = number + len(waiting)
                    shard = shard_path(folder, begun)
                    waiting.append(pool.submit(_in_worker, begun, requests[begun], root, shard))
                outcome = _wait(waiting.popleft(), events, meter)
                if outcome.report and not requests[number].dry_run:
                    shard = shard_path(folder, number)
                    appending = pool.submit(append_made, requests[number], outcome, root, shard)
                    outcome = _wait(appending, events, meter)
                meter.finish(number, outcome)
                yield outcome
        except BrokenProcessPool as error:
            raise DatasetError(f'a worker died while {root} was written, perhaps for want of memory. What is '
                               'complete is kept: start again, with fewer workers.') from error
        except BaseException:
            for child in set(mp.active_children()) - ours:
                child.terminate()
            raise
        finally:
            pool.shutdown(cancel_futures=True)
            events.close()
            events.join_thread()


def _wait(future: Future[Outcome], events: Queue, meter: _Meter) -> Outcome:
    while not future.done():
        try:
            meter.tell(*events.get(timeout=POLL_S))
        except queue.Empty:
            continue
    return future.result()


_events: Queue | None = None         # of a worker process


def _begin_worker(events: Queue) -> None:
    global _events    # a pool's initialiser can leave nothing behind in another way
    _events = events
    os.environ.setdefault('HF_HUB_OFFLINE', '1')
    signal.signal(signal.SIGINT, signal.SIG_IGN)        # the parent ends its workers


def _in_worker(number: int, request: Request, root: Path, shard: Path) -> Outcome:
    return make_shard(request, root, shard, lambda share, seconds: _events.put((number, share, seconds)))

"""Engines that make the shards of a conversion: this process, several, or a Ray cluster.

All run the same function, `shards.make_shard`, and report its progress.
"""

import multiprocessing as mp
import os
import queue
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any, Literal, Protocol

from restac_ros.dataset.errors import EngineError
from restac_ros.dataset.shards import Answer, EpisodeRequest, append_made, make_shard

EngineKind = Literal['processes', 'ray']
OnShare = Callable[[int, float, float], None]  # number of the recording, its share done (0..1), s of episode
_POLL_S = 0.1
AHEAD = 1  # recordings begun besides one per worker, so that none waits for an append


class Engine(Protocol):
    """Makes shards; up to `ahead` of them are begun before the first has ended."""

    ahead: int

    def make(self, number: int, request: EpisodeRequest, root: Path, shard: Path) -> Future[Answer]:
        """Begin `make_shard` for the recording of this number."""

    def append(self, request: EpisodeRequest, outcome: Answer, root: Path, shard: Path) -> Future[Answer]:
        """Begin `append_made`."""

    def wait(self, future: Future[Answer]) -> Answer:
        """Wait for the outcome; report the progress of all recordings meanwhile.

        Raises:
            DatasetError, OSError: what the function raised.
            EngineError: its worker died.
        """


def start_engine(
    kind: EngineKind, workers: int | None, most: int, ray_address: str | None, report_progress: OnShare
) -> AbstractContextManager[Engine]:
    """An engine with `workers` (None: one per core), of which at most `most` have work.

    Leaving its block ends running jobs.

    Raises:
        EngineError: there is no such engine here.
    """
    if kind != 'ray' and ray_address is not None:
        raise EngineError(f'an address of Ray ({ray_address}) is of use with the engine ray only')
    if kind == 'ray' and most:
        from restac_ros.dataset.ray_engine import ray_engine

        return ray_engine(ray_address, workers, most, report_progress)
    workers = min(workers or len(os.sched_getaffinity(0)), most)
    return _processes(workers, report_progress) if workers > 1 else nullcontext(_Here(report_progress))


class _Here:
    """Makes shards in this process."""

    ahead = 1

    def __init__(self, report_progress: OnShare) -> None:
        self.report_progress = report_progress

    def make(self, number: int, request: EpisodeRequest, root: Path, shard: Path) -> Future[Answer]:
        return done(make_shard(request, root, shard, partial(self.report_progress, number)))

    def append(self, request: EpisodeRequest, outcome: Answer, root: Path, shard: Path) -> Future[Answer]:
        return done(append_made(request, outcome, root, shard))

    def wait(self, future: Future[Answer]) -> Answer:
        return future.result()


def done(outcome: Answer) -> Future[Answer]:
    """A future that has its result."""
    future: Future[Answer] = Future()
    future.set_result(outcome)
    return future


def wait_reporting(future: Future[Answer], events: Any, report_progress: OnShare) -> Answer:
    """Wait for the result; report the events that workers queue, with Python's or Ray's queue."""
    while not future.done():
        try:
            report_progress(*events.get(timeout=_POLL_S))
        except queue.Empty:
            continue
    return future.result()


class _Processes:
    """A pool of processes; appends run there too, where LeRobot is loaded."""

    def __init__(
        self, pool: ProcessPoolExecutor, events: Queue, workers: int, report_progress: OnShare
    ) -> None:
        self.pool, self.events, self.report_progress = pool, events, report_progress
        self.ahead = workers + AHEAD

    def make(self, number: int, request: EpisodeRequest, root: Path, shard: Path) -> Future[Answer]:
        return self.pool.submit(_in_worker, number, request, root, shard)

    def append(self, request: EpisodeRequest, outcome: Answer, root: Path, shard: Path) -> Future[Answer]:
        return self.pool.submit(append_made, request, outcome, root, shard)

    def wait(self, future: Future[Answer]) -> Answer:
        return wait_reporting(future, self.events, self.report_progress)


@contextmanager
def _processes(workers: int, report_progress: OnShare) -> Iterator[Engine]:
    # Forking from a clean server: threads of this process do no harm, LeRobot is loaded once.
    context = mp.get_context('forkserver')
    context.set_forkserver_preload(['restac_ros.dataset.merge'])
    events = context.Queue()
    ours = set(mp.active_children())
    pool = ProcessPoolExecutor(workers, context, _begin_worker, (events,))
    try:
        yield _Processes(pool, events, workers, report_progress)
    except BrokenProcessPool as error:
        raise EngineError(
            'a worker died, perhaps for want of memory. What is complete is kept: start again, '
            'with fewer workers.'
        ) from error
    except BaseException:
        for child in set(mp.active_children()) - ours:
            child.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        events.close()
        events.join_thread()


_events: Queue | None = None  # of a worker process


def _begin_worker(events: Queue) -> None:
    global _events  # a pool's initialiser can leave nothing behind in another way
    _events = events
    os.environ.setdefault('HF_HUB_OFFLINE', '1')
    for number in (signal.SIGINT, signal.SIGHUP):  # of the terminal, to all: the parent ends its workers
        signal.signal(number, signal.SIG_IGN)


def _in_worker(number: int, request: EpisodeRequest, root: Path, shard: Path) -> Answer:
    def report_progress(share: float, seconds: float) -> None:
        if _events is not None:
            _events.put((number, share, seconds))

    return make_shard(request, root, shard, report_progress)

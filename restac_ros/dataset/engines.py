"""Makes the shards of a conversion: in this process, in several, or on a Ray cluster.

All engines run the same function, `shards.make_shard`, and report its progress.
"""

import multiprocessing as mp
import os
import queue
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any, Literal

from restac_ros.dataset.errors import EngineError
from restac_ros.dataset.shards import Answer, EpisodeRequest, append_made, make_shard, with_survey

EngineKind = Literal['processes', 'ray']
OnShare = Callable[[int, float, float], None]  # number of the recording, its share done (0..1), s of episode
_POLL_S = 0.1
SURVEYED_BYTES = 8 * 10**9  # about 4 s of a core, in which libraries are loaded
AHEAD = 1  # recordings begun besides one per worker, so that none waits for an append


class Engine(ABC):
    """Makes shards; up to `ahead` of them are begun before the first has ended.

    `events` is the queue, Python's or Ray's, on which workers put progress.
    """

    def __init__(self, ahead: int, report_progress: OnShare, events: Any = None) -> None:
        self.ahead, self.report_progress, self.events = ahead, report_progress, events

    def prepared(self, requests: Sequence[EpisodeRequest], sizes: Sequence[int]) -> list[EpisodeRequest]:
        """Return the requests, some with what was found of them while workers start; `sizes` in bytes."""
        del sizes
        return list(requests)

    @abstractmethod
    def make(self, number: int, request: EpisodeRequest, root: Path, shard: Path) -> Future[Answer]:
        """Begin `make_shard` for the recording of this number."""

    def append(self, request: EpisodeRequest, outcome: Answer, root: Path, shard: Path) -> Future[Answer]:
        """Begin `append_made`."""
        return done(append_made(request, outcome, root, shard))

    def wait(self, future: Future[Answer]) -> Answer:
        """Wait for the outcome; report the progress of all recordings meanwhile.

        Raises:
            DatasetError, OSError: what the function raised.
            EngineError: its worker died.
        """
        while not future.done():
            with suppress(queue.Empty):
                self.report_progress(*self.events.get(timeout=_POLL_S))
        return future.result()


def start_engine(
    kind: EngineKind, workers: int | None, most: int, ray_address: str | None, report_progress: OnShare
) -> AbstractContextManager[Engine]:
    """Start an engine with `workers` (None: one per core), of which at most `most` have work.

    Leaving its block ends running jobs.

    Raises:
        EngineError: there is no such engine here.
    """
    if kind != 'ray' and ray_address is not None:
        raise EngineError(
            f'--ray-address {ray_address}: only the engine ray has an address; add `--engine ray`'
        )
    if kind == 'ray' and most:
        from restac_ros.dataset.ray_engine import ray_engine

        return ray_engine(ray_address, workers, most, report_progress)
    workers = min(workers or len(os.sched_getaffinity(0)), most)
    return _processes(workers, report_progress) if workers > 1 else nullcontext(_Here(1, report_progress))


class _Here(Engine):
    """Makes shards in this process."""

    def make(self, number: int, request: EpisodeRequest, root: Path, shard: Path) -> Future[Answer]:
        return done(make_shard(request, root, shard, partial(self.report_progress, number)))


def done(outcome: Answer) -> Future[Answer]:
    """Return a future that has its result."""
    future: Future[Answer] = Future()
    future.set_result(outcome)
    return future


class _Processes(Engine):
    """Makes shards in a pool of processes; appends run there too, where LeRobot is loaded."""

    def __init__(
        self, pool: ProcessPoolExecutor, ahead: int, report_progress: OnShare, events: Queue
    ) -> None:
        super().__init__(ahead, report_progress, events)
        self.pool = pool

    def prepared(self, requests: Sequence[EpisodeRequest], sizes: Sequence[int]) -> list[EpisodeRequest]:
        """Survey recordings while libraries are loaded for the workers, which leaves the other cores idle.

        Only as much as takes about so long: of long recordings, which load libraries once, the workers do it.
        """
        found, spent = list(requests), 0
        with ThreadPoolExecutor(1) as beside:
            started = beside.submit(self.pool.submit, os.getpid)  # returns when there are processes
            for number, request in enumerate(requests):
                spent += sizes[number]
                if spent > SURVEYED_BYTES or (number and started.done()):
                    break
                found[number] = with_survey(request)
        return found

    def make(self, number: int, request: EpisodeRequest, root: Path, shard: Path) -> Future[Answer]:
        return self.pool.submit(_in_worker, number, request, root, shard)

    def append(self, request: EpisodeRequest, outcome: Answer, root: Path, shard: Path) -> Future[Answer]:
        return self.pool.submit(append_made, request, outcome, root, shard)


@contextmanager
def _processes(workers: int, report_progress: OnShare) -> Iterator[Engine]:
    # Forking from a clean server: threads of this process do no harm, LeRobot is loaded once.
    context = mp.get_context('forkserver')
    context.set_forkserver_preload(['restac_ros.dataset.preloaded'])
    events = context.Queue()
    ours = set(mp.active_children())
    pool = ProcessPoolExecutor(workers, context, _begin_worker, (events,))
    try:
        yield _Processes(pool, workers + AHEAD, report_progress, events)
    except BrokenProcessPool as error:
        raise EngineError(
            'a worker died, perhaps for want of memory. What is complete is kept: start again, '
            'with fewer workers.'
        ) from error
    except BaseException:  # also an interrupt, or the end of a generator: no worker may outlive the call
        for child in set(mp.active_children()) - ours:
            child.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        events.close()
        events.join_thread()


_events: Queue | None = None  # of a worker process


def _begin_worker(events: Queue) -> None:
    global _events  # a pool's initialiser has no other way to pass it on
    _events = events
    os.environ.setdefault('HF_HUB_OFFLINE', '1')
    for number in (signal.SIGINT, signal.SIGHUP):  # of the terminal, to all: the parent ends its workers
        signal.signal(number, signal.SIG_IGN)


def _in_worker(number: int, request: EpisodeRequest, root: Path, shard: Path) -> Answer:
    def report_progress(share: float, seconds: float) -> None:
        if _events is not None:
            _events.put((number, share, seconds))

    return make_shard(request, root, shard, report_progress)

"""Converts many recordings into one data set, by several workers, in the order given.

Each worker converts a recording into a data set of its own, a shard, beside the target; shards are appended
one by one. A recording that the data set holds already is skipped, so that the same call resumes what was
interrupted.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import NamedTuple

from restac_ros.dataset.dataset_files import check_usable
from restac_ros.dataset.dataset_place import dataset_place
from restac_ros.dataset.engines import Engine, EngineKind, start_engine
from restac_ros.dataset.episode_notes import converted_recordings, deleted_recordings
from restac_ros.dataset.fingerprint import bag_files, fingerprint
from restac_ros.dataset.shards import Answer, EpisodeRequest, shard_path, shards_folder


class Progress(NamedTuple):
    """Progress: `bytes` of `total_bytes` of the recordings, `seconds` of episode."""

    bytes: int
    total_bytes: int
    seconds: float


OnProgress = Callable[[Progress], None]


def convert_many(
    requests: Sequence[EpisodeRequest],
    root: Path,
    workers: int | None = 1,
    on_progress: OnProgress | None = None,
    *,
    engine: EngineKind = 'processes',
    ray_address: str | None = None,
) -> Iterator[Answer]:
    """Append an episode per recording to the data set at `root`; yield outcomes in the order of the requests.

    The result depends neither on the engine nor on the number of workers (None: one per core, of this machine
    or of the cluster). Stopping it, in whatever way, leaves a data set of complete episodes.

    Raises:
        DatasetError: no episodes can be appended to the data set.
        EngineError: a worker died, or there is no Ray.
        OSError: the disk refuses.
    """
    if workers is not None and workers < 1:
        raise ValueError(f'workers: {workers}, at least 1 is needed')
    root = dataset_place(root)
    check_usable(root)
    todo, skipped = _sorted_out(requests, root)
    sizes = [round(bag_bytes(requests[number].bag) * requests[number].span.share) for number in todo]
    meter = _Meter(sizes, on_progress)
    starting = start_engine(engine, workers, len(todo), ray_address, meter.report_progress)
    made = _in_order([requests[number] for number in todo], root, starting, meter)
    with closing(made):
        for number in range(len(requests)):
            yield skipped[number] if number in skipped else next(made)
        next(made, None)  # past its last outcome, so that it ends in order, not by being closed


def _sorted_out(requests: Sequence[EpisodeRequest], root: Path) -> tuple[list[int], dict[int, Answer]]:
    """Return the numbers of the requests to work on, and the outcomes of those that need no work."""
    held, deleted = converted_recordings(root), deleted_recordings(root)
    first_of: dict[str, int] = {}
    todo, skipped = [], {}
    for number, request in enumerate(requests):
        try:
            identity = fingerprint(request.bag, request.span.start_ns, request.span.end_ns)
        except OSError as error:
            skipped[number] = Answer(request, refusal=f'{request.bag} cannot be read: {error.strerror}')
            continue
        if identity in held:
            skipped[number] = Answer(request, already=held[identity])
        elif identity in deleted and not request.again:
            skipped[number] = Answer(request, deleted=True)
        elif identity in first_of:
            other = requests[first_of[identity]].name
            skipped[number] = Answer(request, refusal=f'{request.name} is the same recording as {other}')
        else:
            first_of[identity] = number
            todo.append(number)
    return todo, skipped


def bag_bytes(bag: Path) -> int:
    """Return the size of a bag's files."""
    return sum(file.stat().st_size for file in bag_files(bag))


class _Meter:
    """Adds up the progress of the workers."""

    def __init__(self, sizes: list[int], listener: OnProgress | None) -> None:
        self.sizes, self.listener = sizes, listener
        self.shares = [0.0] * len(sizes)
        self.seconds = [0.0] * len(sizes)
        if listener:
            listener(Progress(0, sum(sizes), 0.0))

    def report_progress(self, number: int, share: float, seconds: float) -> None:
        """Set the share (0..1) of recording `number` that is done."""
        self.shares[number], self.seconds[number] = share, seconds
        if self.listener:
            done = sum(share * size for share, size in zip(self.shares, self.sizes, strict=True))
            self.listener(Progress(round(done), sum(self.sizes), sum(self.seconds)))

    def finish(self, number: int, outcome: Answer) -> None:
        """Set recording `number` done."""
        report = outcome.report
        self.report_progress(number, 1.0, report.rows / report.fps if report else 0.0)


def _in_order(
    requests: list[EpisodeRequest], root: Path, starting: AbstractContextManager[Engine], meter: _Meter
) -> Generator[Answer]:
    """Begin shards in order, a few ahead, and append them in order; the disk holds only those few."""
    with shards_folder(root) as folder, starting as engine:
        requests = engine.prepared(requests, meter.sizes)
        waiting: deque[Future[Answer]] = deque()
        for number, request in enumerate(requests):
            while len(waiting) < engine.ahead and number + len(waiting) < len(requests):
                begun = number + len(waiting)
                waiting.append(engine.make(begun, requests[begun], root, shard_path(folder, begun)))
            outcome = engine.wait(waiting.popleft())
            if outcome.report and not request.dry_run:
                outcome = engine.wait(engine.append(request, outcome, root, shard_path(folder, number)))
            meter.finish(number, outcome)
            yield outcome

"""How fast training samples come, beside a plain decode of the same pictures; and statistics of many rows.

Loader and plain decode take turns, on the same samples and as many threads: other programs slow both down.
"""

import itertools
import os
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import cast

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter

from restac_ros.bench.processes import scratch
from restac_ros.bench.settings import LoaderBench
from restac_ros.bench.table import Figure, finish, judged
from restac_ros.bench.training_data import MIN_RANGE, record_dataset, write_numbers
from restac_ros.bench.turns import spent
from restac_ros.contract.load import load_contract
from restac_ros.training.batch import Batch
from restac_ros.training.config import DataConfig, LoaderConfig, TrainConfig
from restac_ros.training.data.episodes import Episodes, open_episodes
from restac_ros.training.data.loader import batches, reading_threads
from restac_ros.training.data.pictures import StoredPictures
from restac_ros.training.data.tables import read_pictures
from restac_ros.training.norm_stats import measure_norm_stats
from restac_ros.training.prepare import prepare

MIN_SAMPLES_PER_S = 400.0  # on two cores
MAX_DECODE_RATIO = 1.5
MAX_STATS_S = 60.0
STATS_ROWS = 1_000_000  # that the last target is for
_BATCH = 16
_SEED = 1
_NEEDED_BYTES = 3 * 10**9


@dataclass(frozen=True)
class LoaderFigures:
    """Results: medians over the rounds; `ratio` is the loader's time to that of the plain decode."""

    samples_per_s: float
    decode_samples_per_s: float
    ratio: float
    cpu_ratio: float
    ratios: tuple[float, ...]
    threads: int
    workers: int
    cores: int
    stats_rows: int
    stats_s: float
    load_average: float

    @property
    def rows(self) -> list[Figure]:
        """The table."""
        name = f'statistics of {self.stats_rows:,} frames'
        stats = judged(name, self.stats_s, '<=', MAX_STATS_S, '{:.1f} s')
        return [
            judged('samples/s: 3 views, touch, state', self.samples_per_s, '>=', MIN_SAMPLES_PER_S, '{:.0f}'),
            Figure('  plain decode of the same pictures', f'{self.decode_samples_per_s:.0f}'),
            judged('time, ratio to the plain decode', self.ratio, '<=', MAX_DECODE_RATIO, '{:.2f}'),
            Figure('  in all rounds', f'{min(self.ratios):.2f} to {max(self.ratios):.2f}'),
            Figure('  of CPU time', f'{self.cpu_ratio:.2f}'),
            stats.judged_if(self.stats_rows >= STATS_ROWS),
            Figure('load average, cores', f'{self.load_average:.1f}, {self.cores}'),
        ]


class PlainDecode:
    """What no loader can do without: packets and pictures, in memory already, become pixels."""

    def __init__(self, episodes: Episodes) -> None:
        self._local = threading.local()
        self._videos: list[tuple[str, bytes, list[bytes]]] = []  # codec, its parameters, packet of each row
        self._first = {span.index: span.first for span in episodes.tables.spans.values()}
        stored = StoredPictures(episodes.tables)
        for column in episodes.cameras.values():
            packets = []
            for span in episodes.tables.spans.values():
                for frame in range(span.length):
                    index, number = stored.video_frame(column, span, frame)
                    offset, size = index.places[number].tolist()
                    with index.path.open('rb') as file:
                        packets.append(os.pread(file.fileno(), size, offset))
            self._videos.append((index.codec, index.extradata, packets))
        touch = episodes.tactile
        pictures = read_pictures(episodes.tables.root, touch) if touch else []
        self._pictures = [pictures[int(row)].as_py() for row in episodes.tables.place_of_row] if touch else []

    def sample(self, place: Sequence[int]) -> None:
        """Decode all pictures of an episode's frame to RGB."""
        row = self._first[place[0]] + place[1]
        for (_, _, packets), context in zip(self._videos, self._contexts(), strict=True):
            pictures = context.decode(av.Packet(packets[row])) or context.decode(None)
            self._local.converter.reformat(pictures[0], format='rgb24').to_ndarray()
        if self._pictures:
            cv2.imdecode(np.frombuffer(self._pictures[row], np.uint8), cv2.IMREAD_COLOR_RGB)

    def _contexts(self) -> list[av.VideoCodecContext]:
        """One decoder for each camera and thread."""
        if not hasattr(self._local, 'contexts'):
            self._local.converter = VideoReformatter()
            self._local.contexts = []
            for codec, extradata, _ in self._videos:
                context = cast(av.VideoCodecContext, av.VideoCodecContext.create(codec, 'r'))
                context.extradata, context.thread_count = extradata, 1
                self._local.contexts.append(context)
        return self._local.contexts


def main(settings: LoaderBench) -> int:
    """Measure, print, write JSON if asked; 1 when a target is missed. What was made is removed.

    Raises:
        JournalError: too little free disk in `settings.directory`.
    """
    contract = load_contract(settings.contract_file)
    with scratch(settings.directory, _NEEDED_BYTES) as folder:
        root = settings.dataset or record_dataset(folder, contract, settings.seconds, 2)
        like = root if settings.dataset is None else record_dataset(folder, contract, 1.0, 1)
        numbers = write_numbers(folder / 'numbers', like, settings.rows)
        figures = measure_loader(root, numbers, settings)
    title = f'loader, {figures.threads} threads, {figures.workers} workers'
    return finish(title, figures.rows, settings.json, asdict(figures))


def measure_loader(root: Path, numbers: Path, settings: LoaderBench) -> LoaderFigures:
    """Load and decode in turns, then measure statistics."""
    loader = LoaderConfig(threads=settings.threads, workers=settings.workers)
    threads = reading_threads(loader)
    data = DataConfig(datasets=(root,), min_range=MIN_RANGE, validation_share=0.0)
    prepared = prepare(TrainConfig('tiny', data=data, batch_size=_BATCH, to=numbers.parent / 'run'))
    stream = batches(prepared.sources, [], _BATCH, _SEED, 0, loader)
    plain = PlainDecode(prepared.sources[0].episodes)
    rounds: list[tuple[float, float, float, float]] = []
    with ThreadPoolExecutor(threads) as pool:
        for number in range(-1, settings.rounds):
            places: list[Sequence[int]] = []
            ours = spent(partial(_load, stream, settings.samples // _BATCH, places))
            theirs = spent(partial(_decode, pool, plain, places))
            if number >= 0:  # the first fills caches, and what was read ahead is not timed
                rounds.append((*ours, *theirs))
    begun_s = time.perf_counter()
    many = open_episodes(numbers)
    measure_norm_stats([many], [list(many.tables.spans)], settings.horizon, widen=MIN_RANGE)
    stats_s = time.perf_counter() - begun_s
    wall, cpu, decode_wall, decode_cpu = (list(column) for column in zip(*rounds, strict=True))
    made = settings.samples // _BATCH * _BATCH
    ratios = tuple(one / other for one, other in zip(wall, decode_wall, strict=True))
    return LoaderFigures(
        samples_per_s=made / statistics.median(wall),
        decode_samples_per_s=made / statistics.median(decode_wall),
        ratio=statistics.median(ratios),
        cpu_ratio=statistics.median(one / other for one, other in zip(cpu, decode_cpu, strict=True)),
        ratios=ratios,
        threads=threads,
        workers=settings.workers,
        cores=len(os.sched_getaffinity(0)),
        stats_rows=settings.rows,
        stats_s=stats_s,
        load_average=os.getloadavg()[0],
    )


def _load(stream: Iterator[Batch], count: int, places: list[Sequence[int]]) -> None:
    """Draw batches, and record which samples were in them."""
    for batch in itertools.islice(stream, count):
        places += batch.place.tolist()


def _decode(pool: ThreadPoolExecutor, plain: PlainDecode, places: list[Sequence[int]]) -> None:
    for _ in pool.map(plain.sample, places):
        pass

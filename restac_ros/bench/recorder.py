"""Costs of recording: losses, CPU, memory, disk, with the real node and a source at full rate.

The recorder must lose nothing, use less than half a core, and keep its memory, for as long as one records.
"""

import os
import signal
import statistics
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from restac_ros.bench.processes import (
    FileWatch,
    Usage,
    Watch,
    cpu_share,
    ended_in_order,
    scratch,
    started,
    summary_of,
)
from restac_ros.bench.settings import RecordBench, size_px
from restac_ros.bench.table import Figure, finish, judged
from restac_ros.contract.load import load_contract
from restac_ros.contract.schema import Contract
from restac_ros.dataset.bag.bag_reader import open_bag
from restac_ros.installation import GraphError
from restac_ros.process import ParameterValue, Process

MAX_CPU_SHARE = 0.50
MAX_GROWTH_MB = 24.0  # after the warm-up; the file's own index takes about 1 kB per chunk of 768 kB
WARM_UP = 0.2  # of the time: shared memory and queues are touched for the first time
_MARGIN_S = 0.5
_STOP_TIMEOUT_S = 180.0
_SPARE_BYTES = 3 * 10**9  # the recorder itself stops when 2 GB are left
TACTILE_BYTES = 240 * 320 * 3
SMALL_BYTES = 600  # a joint state with names, in the file


@dataclass(frozen=True)
class StreamFigures:
    """Messages of a stream: published, received, written, dropped, found in the bag.

    `waiting_max` is the most that waited for the disk at once.
    """

    published: int
    received: int
    written: int
    dropped: int
    in_bag: int
    waiting_max: int

    def row(self, name: str) -> Figure:
        """Return its line of the table."""
        counts = (self.published, self.received, self.written, self.dropped, self.in_bag)
        good = not self.dropped and len({self.published, self.received, self.written, self.in_bag}) == 1
        what = f'{name}: sent / received / written / dropped / in the bag'
        return Figure(what, ' / '.join(map(str, counts)), 'none lost', good)


@dataclass(frozen=True)
class RecorderFigures:
    """Results. Shares are of one core, memory is resident and in MB, `slope` in MB per minute."""

    seconds: float
    size_px: tuple[int, int]
    compression: str
    streams: dict[str, StreamFigures]
    cpu_share: float
    source_cpu_share: float
    memory_begin_mb: float
    memory_warm_mb: float
    memory_end_mb: float
    memory_peak_mb: float
    memory_slope_mb_per_min: float
    written_mb_per_s: float
    file_mb: float
    file_still_max_ms: float
    source_late_max_ms: float
    closing_s: float
    load_average: float

    @property
    def lost(self) -> int:
        """Messages that were sent and are not in the bag."""
        return sum(stream.published - stream.in_bag for stream in self.streams.values())

    @property
    def rows(self) -> list[Figure]:
        """The table."""
        growth_mb = self.memory_end_mb - self.memory_warm_mb
        most, stream = max(self.streams.items(), key=lambda item: item[1].waiting_max)
        return [
            *(stream.row(name) for name, stream in self.streams.items()),
            Figure('messages lost', str(self.lost), '0', self.lost == 0),
            judged('recorder, share of a core', self.cpu_share, '<', MAX_CPU_SHARE, '{:.0%}'),
            Figure('source, share of a core', f'{self.source_cpu_share:.0%}'),
            Figure('most messages waiting for the disk', f'{stream.waiting_max} of {most}'),
            Figure('source, latest message', f'{self.source_late_max_ms:.0f} ms late'),
            Figure('memory at the beginning', f'{self.memory_begin_mb:.0f} MB'),
            Figure('memory after the warm-up', f'{self.memory_warm_mb:.0f} MB'),
            Figure('memory at the end', f'{self.memory_end_mb:.0f} MB'),
            judged('memory, growth after the warm-up', growth_mb, '<', MAX_GROWTH_MB, '{:+.1f} MB'),
            Figure('memory, slope after the warm-up', f'{self.memory_slope_mb_per_min:+.2f} MB/min'),
            Figure('memory, peak', f'{self.memory_peak_mb:.0f} MB'),
            Figure('written', f'{self.written_mb_per_s:.1f} MB/s'),
            Figure('file', f'{self.file_mb:.0f} MB'),
            Figure('longest time in which the file did not grow', f'{self.file_still_max_ms:.0f} ms'),
            Figure('closing and checking', f'{self.closing_s:.1f} s'),
            Figure('load average of the machine', f'{self.load_average:.1f}'),
        ]


def main(settings: RecordBench) -> int:
    """Run, print a table, write JSON if asked; 1 when a target is missed. What is recorded is removed.

    Raises:
        GraphError: a node did not do its part.
        JournalError: too little free disk in `settings.directory`.
    """
    expected = expected_bytes(settings, load_contract(settings.contract_file))
    with scratch(settings.directory, expected + _SPARE_BYTES) as folder:
        figures = measure_recorder(settings, folder)
    return finish(_title(settings), figures.rows, settings.json, asdict(figures))


def expected_bytes(settings: RecordBench, contract: Contract) -> int:
    """Size of the journal if nothing is compressed."""
    width, height = size_px(settings.size)
    sizes = {'camera': width * height * 3, 'tactile': TACTILE_BYTES}
    rate = sum(spec.rate_hz * sizes.get(spec.role, SMALL_BYTES) for spec in contract.streams.values())
    return round(rate * settings.seconds)


def measure_recorder(settings: RecordBench, folder: Path) -> RecorderFigures:
    """Record into `folder` what a source publishes, and read the summaries of both.

    Raises:
        GraphError: a node did not do its part.
    """
    recorder, source = _processes(settings, folder)
    logs = [folder / f'{process.executable}.log' for process in (recorder, source)]
    with (
        started(recorder, logs[0]) as listening,
        Watch(listening.pid) as heard,
        started(source, logs[1]) as speaking,
        Watch(speaking.pid) as said,
        FileWatch(folder / 'journals') as file,
    ):
        ended_in_order('the source', speaking, logs[1], settings.seconds + _STOP_TIMEOUT_S)
        ended_s = time.monotonic()
        listening.send_signal(signal.SIGINT)
        ended_in_order('the recorder', listening, logs[0], _STOP_TIMEOUT_S)
        closing_s = time.monotonic() - ended_s
    window = (file.begun_s + _MARGIN_S, file.begun_s + settings.seconds - _MARGIN_S)
    written = summary_of(recorder)
    published = summary_of(source)
    memory = _memory(heard.between(*window))
    return RecorderFigures(
        seconds=settings.seconds,
        size_px=size_px(settings.size),
        compression=settings.compression,
        streams=_streams(load_contract(settings.contract_file), published, written),
        cpu_share=cpu_share(heard.between(*window)),
        source_cpu_share=cpu_share(said.between(*window)),
        **memory,
        memory_peak_mb=max(sample.rss_bytes for sample in heard.samples) / 1e6,
        written_mb_per_s=written['bytes'] / settings.seconds / 1e6,
        file_mb=sum(path.stat().st_size for path in Path(written['journal']).iterdir()) / 1e6,
        file_still_max_ms=file.longest_still_s() * 1e3,
        source_late_max_ms=published['late_max_ms'],
        closing_s=closing_s,
        load_average=os.getloadavg()[0],
    )


def _processes(settings: RecordBench, folder: Path) -> tuple[Process, Process]:
    width_px, height_px = size_px(settings.size)
    shared: dict[str, ParameterValue] = {'contract': str(settings.contract_file), 'exit_on_refusal': True}
    recorder: dict[str, ParameterValue] = {
        'summary_file': str(folder / 'recorder.json'),
        'journal_dir': str(folder / 'journals'),
        'task': 'bench',
        'autostart_recording': True,
        'compression': settings.compression,
    }
    source: dict[str, ParameterValue] = {
        'summary_file': str(folder / 'source.json'),
        'seconds': float(settings.seconds),
        'wait_subscribers': 1,
        'camera_width_px': width_px,
        'camera_height_px': height_px,
    }
    return Process('recorder_node', shared | recorder), Process('synthetic_node', shared | source)


def _streams(contract: Contract, source: Mapping, recorder: Mapping) -> dict[str, StreamFigures]:
    if not recorder['journal']:
        raise GraphError('the recorder has not recorded: see recorder_node.log')
    topics = open_bag(recorder['journal']).topics
    return {
        name: StreamFigures(
            source['streams'].get(name, 0),
            recorder['received'][name],
            recorder['written'][name],
            recorder['dropped'][name],
            topics[spec.topic].count,
            recorder['high_water'][name],
        )
        for name, spec in contract.streams.items()
    }


def _memory(samples: list[Usage]) -> dict[str, float]:
    """Resident memory in MB: at the beginning, after the warm-up and at the end (medians of a tenth each)."""
    begin_s, end_s = samples[0].time_s, samples[-1].time_s
    warm = [sample for sample in samples if sample.time_s >= begin_s + WARM_UP * (end_s - begin_s)]
    tenth = max(1, len(warm) // 10)
    minutes = np.array([(sample.time_s - begin_s) / 60 for sample in warm])
    slope, _ = np.polyfit(minutes, [sample.rss_bytes / 1e6 for sample in warm], 1)
    return {
        'memory_begin_mb': samples[0].rss_bytes / 1e6,
        'memory_warm_mb': statistics.median(sample.rss_bytes for sample in warm[:tenth]) / 1e6,
        'memory_end_mb': statistics.median(sample.rss_bytes for sample in warm[-tenth:]) / 1e6,
        'memory_slope_mb_per_min': float(slope),
    }


def _title(settings: RecordBench) -> str:
    width, height = size_px(settings.size)
    return f'recorder, {settings.seconds:g} s, cameras {width}x{height}, compression {settings.compression}'

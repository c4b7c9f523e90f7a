"""Costs of receiving in the policy node: losses, framing time, CPU share, while a bag plays at full rate.

CPU shares are read from /proc: 'ingest' is the main thread, which runs the executor, the thread that polls
messages, and the middleware's threads. The network's threads, and the workers that frame and call it, are not
ingest.
"""

import os
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from restac_ros.bench.processes import summary_of
from restac_ros.bench.ros_domain import own_domain
from restac_ros.bench.settings import NodeBench
from restac_ros.bench.table import Figure, finish, judged
from restac_ros.dataset.bag.bag_reader import open_bag
from restac_ros.graph import Run, Source, processes
from restac_ros.installation import GraphError
from restac_ros.process import Process
from restac_ros.supervise import command, environment

SYNTHETIC_S = 10.0
_SAMPLE_PERIOD_S = 0.2
_STOP_TIMEOUT_S = 30.0
_MARGIN_S = 0.5  # left out at either end of the playing time
FRAMING = ('frame_cameras', 'frame_tactile', 'frame_state')

MAX_FRAMING_P99_MS = 15.0
MAX_INGEST_SHARE = 0.40
RECEIVER = 'receive'  # name of the thread that polls messages


@dataclass(frozen=True)
class CpuSample:
    """CPU seconds that the threads of a process have used, at `time_s`."""

    time_s: float
    receiving: float
    middleware: float
    others: float


@dataclass(frozen=True)
class NodeFigures:
    """Results. Shares are of one core; `framing_p99_ms` adds the three parts of a frame."""

    published: int
    received: int
    lost: int
    framing_p99_ms: float
    framing_parts_p99_ms: dict[str, float]
    ingest_share: float
    receiving_share: float
    middleware_share: float
    network_and_framing_share: float
    seconds: float
    chunks: int
    held: int
    load_average: float

    @property
    def rows(self) -> list[Figure]:
        """The table."""
        lost, form = self.published - self.received, '{:.1f} ms'
        return [
            Figure('messages published', str(self.published)),
            Figure('messages lost', str(lost), '0', lost == 0),
            judged('framing and decode, p99 per frame', self.framing_p99_ms, '<', MAX_FRAMING_P99_MS, form),
            *(Figure(f'  {stage}', form.format(ms)) for stage, ms in self.framing_parts_p99_ms.items()),
            judged('ingest, share of a core', self.ingest_share, '<', MAX_INGEST_SHARE, '{:.0%}'),
            Figure('  executor and receiving thread', f'{self.receiving_share:.0%}'),
            Figure('  middleware', f'{self.middleware_share:.0%}'),
            Figure('framing and network, share', f'{self.network_and_framing_share:.0%}'),
            Figure('chunks', str(self.chunks)),
            Figure('replans held', str(self.held)),
            Figure('load average of the machine', f'{self.load_average:.1f}'),
        ]


def main(settings: NodeBench) -> int:
    """Run, print a table, write JSON if asked; 1 when a target is missed.

    Raises:
        GraphError: no such bag or checkpoint, or a node that did not do its part.
    """
    figures = _measure(settings.bag, settings.existing_checkpoint())
    return finish('policy node, ingest', figures.rows, settings.json, asdict(figures))


def _measure(bag: Path | None, checkpoint: Path) -> NodeFigures:
    """Play the bag (or the synthetic source) to a policy node, and read what both leave behind."""
    with tempfile.TemporaryDirectory(prefix='restac-bench-') as folder:
        run = Run(
            directory=Path(folder),
            checkpoint=checkpoint,
            prompt='bench',
            source=Source.BAG if bag else Source.SYNTHETIC,
            bag=bag,
            seconds=SYNTHETIC_S,
        )
        listener, source = processes(run)
        samples, ended_s = _play(listener, source)
        left = summary_of(listener), summary_of(source)
    begin_s = ended_s - _length_s(bag) + _MARGIN_S
    window = [sample for sample in samples if begin_s <= sample.time_s <= ended_s - _MARGIN_S]
    if len(window) < 2:
        raise GraphError(f'{bag} is too short: expected some seconds')
    return _figures(*left, window[0], window[-1])


def _play(listener: Process, source: Process) -> tuple[list[CpuSample], float]:
    """Run both until the source has ended; CPU samples of the listener, and when the source ended."""
    env = environment(publishes_sensor_topics=True) | {'ROS_DOMAIN_ID': str(own_domain())}
    samples: list[CpuSample] = []
    with _child(listener, env) as listening:
        try:
            with _child(source, env) as speaking:
                while speaking.poll() is None:
                    samples.append(_sample(listening.pid))
                    time.sleep(_SAMPLE_PERIOD_S)
                ended_s = time.monotonic()
            if speaking.returncode != 0:
                raise GraphError(f'{source.executable} ended with status {speaking.returncode}: see above')
        finally:
            listening.terminate()
            listening.wait(_STOP_TIMEOUT_S)
    return samples, ended_s


def _child(process: Process, env: Mapping[str, str]) -> subprocess.Popen:
    return subprocess.Popen(command(process), env=env)


def _sample(pid: int) -> CpuSample:
    """CPU time by kind of thread. A thread may end while the list is read."""
    used = {'receiving': 0.0, 'middleware': 0.0, 'others': 0.0}
    for thread in psutil.Process(pid).threads():
        try:
            name = Path(f'/proc/{pid}/task/{thread.id}/comm').read_text()
        except FileNotFoundError:
            continue
        receives = thread.id == pid or name.strip() == RECEIVER
        kind = 'receiving' if receives else 'middleware' if name.startswith('dds.') else 'others'
        used[kind] += thread.user_time + thread.system_time
    return CpuSample(time.monotonic(), **used)


def _length_s(bag: Path | None) -> float:
    if bag is None:
        return SYNTHETIC_S
    first_ns, last_ns = open_bag(bag).bounds_ns or (0, 0)
    return (last_ns - first_ns) * 1e-9


def _figures(listener: Mapping, source: Mapping, first: CpuSample, last: CpuSample) -> NodeFigures:
    seconds = last.time_s - first.time_s
    receiving_share = (last.receiving - first.receiving) / seconds
    middleware_share = (last.middleware - first.middleware) / seconds
    streams, latencies = listener['streams'], listener['latency_ms']
    parts = {stage: latencies[stage]['p99_ms'] for stage in FRAMING if stage in latencies}
    return NodeFigures(
        published=sum(source['streams'].values()),
        received=sum(tally['received'] for tally in streams.values()),
        lost=sum(tally['lost'] or 0 for tally in streams.values()),
        framing_p99_ms=sum(parts.values()),
        framing_parts_p99_ms=parts,
        ingest_share=receiving_share + middleware_share,
        receiving_share=receiving_share,
        middleware_share=middleware_share,
        network_and_framing_share=(last.others - first.others) / seconds,
        seconds=seconds,
        chunks=listener['chunks'],
        held=listener['held'],
        load_average=os.getloadavg()[0],
    )

"""What the benchmark of the whole graph measures, beside what is wanted."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from restac_ros.bench.table import Figure, judged

# With larger networks these are the networks' own times.
JUDGED_PRESET = 'tiny'
NETWORK_LIMITS = (
    ('GelSight frame to GateState', 'touch_to_gate', 40.0),
    ('gate rise to new chunk', 'gate_rise_to_chunk', 80.0),
)
MAX_JITTER_MS = 5.0
MAX_OVERHEAD_MS = 10.0
MAX_VIEW_SHARE = 0.10
MIN_RATE_SHARE = 0.9  # of the replan rate that goes on while a prefix is computed

type _Latencies = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class RuntimeFigures:
    """Results. Latencies by stage in ms, as in the nodes' summaries; CPU shares of one core."""

    preset: str
    seconds: float
    replan_hz: float
    gate_threshold: float
    load_average: float
    policy_ms: _Latencies
    streamer_ms: _Latencies
    lost: Mapping[str, int]
    cpu_shares: Mapping[str, float]
    counts: Mapping[str, Any]

    @property
    def prefix_replan_hz(self) -> float:
        """Chunks a second that were ready while a prefix was being computed."""
        busy_s = self.counts['prefix_busy_s']
        return self.counts['chunks_in_prefix'] / busy_s if busy_s else 0.0

    @property
    def rows(self) -> list[Figure]:
        """The table."""
        ms = self.policy_ms
        stages = ('prefix', 'tactile', 'act', *(stage for stage in ms if stage.startswith('frame_')))
        names = ('prefixes', 'touches', 'surprises', 'chunks', 'triggered', 'held')
        return [
            *self._judged(),
            Figure('capture to chunk', _percentiles(ms, 'camera_to_chunk')),
            Figure('contact to chunk', _percentiles(ms, 'contact_to_chunk')),
            *(Figure(f'  {stage}', _percentiles(ms, stage)) for stage in stages),
            *(Figure(f'CPU {name}', f'{share:.0%}') for name, share in self.cpu_shares.items()),
            *(Figure(name, str(self.counts[name])) for name in names),
            Figure('load average of the machine', f'{self.load_average:.1f}'),
        ]

    def _judged(self) -> Iterator[Figure]:
        for name, stage, limit_ms in NETWORK_LIMITS:
            yield _within(name, self.policy_ms, stage, limit_ms).judged_if(self.preset == JUDGED_PRESET)
        yield _within('streamer period jitter', self.streamer_ms, 'jitter', MAX_JITTER_MS)
        yield _within('node overhead per tactile frame', self.policy_ms, 'touch_overhead', MAX_OVERHEAD_MS)
        yield _within('node overhead per chunk', self.policy_ms, 'act_overhead', MAX_OVERHEAD_MS)
        least_hz = MIN_RATE_SHARE * self.replan_hz
        yield judged('replans while a prefix is computed', self.prefix_replan_hz, '>', least_hz, '{:.1f} Hz')
        yield judged('gate view', self.cpu_shares['gate_view_node'], '<', MAX_VIEW_SHARE, '{:.1%} of a core')
        for stream, count in self.lost.items():
            yield Figure(f'lost of {stream}', str(count), '0', count == 0)


def _within(name: str, stages: _Latencies, stage: str, limit_ms: float) -> Figure:
    good = stage in stages and stages[stage]['p99_ms'] < limit_ms
    return Figure(f'{name}, p50 / p99', _percentiles(stages, stage), f'p99 < {limit_ms:g} ms', good)


def _percentiles(stages: _Latencies, stage: str) -> str:
    if stage not in stages:
        return 'never'
    return f'{stages[stage]["p50_ms"]:.1f} / {stages[stage]["p99_ms"]:.1f} ms'

"""What the benchmark of the whole graph measures, beside what is wanted."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from restac_ros.bench.table import Row

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


class Judged(NamedTuple):
    """A figure that has a target."""

    name: str
    value: str
    target: str
    good: bool


@dataclass(frozen=True)
class RuntimeFigures:
    """Results. Latencies by stage in ms, as in the nodes' summaries; CPU shares of one core."""

    preset: str
    seconds: float
    replan_hz: float
    gate_threshold: float
    load_average: float
    policy_ms: Mapping[str, Mapping[str, float]]
    streamer_ms: Mapping[str, Mapping[str, float]]
    lost: Mapping[str, int]
    cpu_shares: Mapping[str, float]
    counts: Mapping[str, Any]

    @property
    def missed(self) -> list[str]:
        """Targets that are missed, in words."""
        judged = self._judged()
        return [f'{name}: {value}, expected {target}' for name, value, target, good in judged if not good]

    @property
    def prefix_replan_hz(self) -> float:
        """Chunks a second that were ready while a prefix was being computed."""
        busy_s = self.counts['prefix_busy_s']
        return self.counts['chunks_in_prefix'] / busy_s if busy_s else 0.0

    @property
    def rows(self) -> list[Row]:
        """The table."""
        judged = [(name, value, target) for name, value, target, _ in self._judged()]
        calls = [self._latency(f'  {stage}', self.policy_ms, stage) for stage in ('prefix', 'tactile', 'act')]
        stages = [stage for stage in self.policy_ms if stage.startswith('frame_')]
        framing = [self._latency(f'  {stage}', self.policy_ms, stage) for stage in stages]
        shares = [(f'CPU {name}', f'{share:.0%}', '') for name, share in self.cpu_shares.items()]
        counts = [
            (name.replace('_', ' '), str(self.counts[name]), '')
            for name in ('prefixes', 'touches', 'surprises', 'chunks', 'triggered', 'held')
        ]
        unjudged = () if self.preset == JUDGED_PRESET else NETWORK_LIMITS
        slow = [self._latency(f'{name}, p50 / p99', self.policy_ms, stage) for name, stage, _ in unjudged]
        capture = self._latency('capture to chunk', self.policy_ms, 'camera_to_chunk')
        contact = self._latency('contact to chunk', self.policy_ms, 'contact_to_chunk')
        load = ('load average of the machine', f'{self.load_average:.1f}', '')
        return [*judged, *slow, capture, contact, *calls, *framing, *shares, *counts, load]

    def _latency(self, name: str, table: Mapping[str, Mapping[str, float]], stage: str) -> Row:
        if stage not in table:
            return name, 'never', ''
        return name, f'{table[stage]["p50_ms"]:.1f} / {table[stage]["p99_ms"]:.1f} ms', ''

    def _judged(self) -> Iterator[Judged]:
        network = NETWORK_LIMITS if self.preset == JUDGED_PRESET else ()
        limits = (
            *((name, self.policy_ms, stage, limit_ms) for name, stage, limit_ms in network),
            ('streamer period jitter', self.streamer_ms, 'jitter', MAX_JITTER_MS),
            ('node overhead per tactile frame', self.policy_ms, 'touch_overhead', MAX_OVERHEAD_MS),
            ('node overhead per chunk', self.policy_ms, 'act_overhead', MAX_OVERHEAD_MS),
        )
        for name, table, stage, limit_ms in limits:
            good = stage in table and table[stage]['p99_ms'] < limit_ms
            _, value, _ = self._latency(name, table, stage)
            yield Judged(f'{name}, p50 / p99', value, f'p99 < {limit_ms:g} ms', good)
        rate_hz, least_hz = self.prefix_replan_hz, MIN_RATE_SHARE * self.replan_hz
        name = 'replans while a prefix is computed'
        yield Judged(name, f'{rate_hz:.1f} Hz', f'> {least_hz:.1f} Hz', rate_hz > least_hz)
        share = self.cpu_shares['gate_view_node']
        yield Judged(
            'gate view', f'{share:.1%} of a core', f'< {MAX_VIEW_SHARE:.0%} of a core', share < MAX_VIEW_SHARE
        )
        for stream, count in self.lost.items():
            yield Judged(f'lost of {stream}', str(count), '0', count == 0)

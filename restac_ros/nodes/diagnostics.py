"""Statuses for /diagnostics, as plain values and as messages."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from restac_ros.runtime.latency import Latencies
from restac_ros.runtime.tally import RateMeter, StreamTally

StatusLevel = Literal['ok', 'warn', 'error']
_LEVELS = {'ok': DiagnosticStatus.OK, 'warn': DiagnosticStatus.WARN, 'error': DiagnosticStatus.ERROR}


@dataclass(frozen=True)
class Status:
    """One status of /diagnostics. The node's name is added before `name`."""

    name: str
    level: StatusLevel
    message: str
    values: Mapping[str, str] = field(default_factory=dict)


def diagnostic_array(node_name: str, stamp: Time, statuses: Iterable[Status]) -> DiagnosticArray:
    """Statuses as the message that rqt_robot_monitor and the aggregator read.

    `node_name` carries the namespace, such as `left/policy_node`, so that two robots stay apart there.
    """
    namespace = node_name.rpartition('/')[0]
    array = DiagnosticArray()
    array.header.stamp = stamp
    array.status = [
        DiagnosticStatus(
            level=_LEVELS[status.level],
            name=f'{node_name}: {status.name}',
            message=status.message,
            hardware_id=f'restac_ros/{namespace}' if namespace else 'restac_ros',
            values=[KeyValue(key=key, value=value) for key, value in status.values.items()],
        )
        for status in statuses
    ]
    return array


class StreamDiagnostics:
    """Rate, age and losses of each stream; rates since the call before."""

    def __init__(self, expected_hz: Mapping[str, float]) -> None:
        self._expected_hz = expected_hz
        self._meters = {name: RateMeter() for name in expected_hz}

    def statuses(
        self,
        tallies: Mapping[str, StreamTally],
        ages_ns: Mapping[str, int | None],
        reasons: Mapping[str, str],
        now_ns: int,
    ) -> list[Status]:
        """`ages_ns` and `reasons` (why invalid; empty when valid) are of the newest samples."""
        return [
            self._status(name, tally, ages_ns.get(name), reasons.get(name, ''), now_ns)
            for name, tally in tallies.items()
        ]

    def _status(self, name: str, tally: StreamTally, age_ns: int | None, reason: str, now_ns: int) -> Status:
        rate_hz = self._meters[name].rate_hz(tally.received, now_ns)
        values = {
            'rate_hz': 'unknown' if rate_hz is None else f'{rate_hz:.1f}',
            'expected_hz': f'{self._expected_hz[name]:g}',
            'age_ms': 'none' if age_ns is None else f'{age_ns / 1e6:.1f}',
            'received': str(tally.received),
            'lost': str(tally.lost) if tally.numbered else 'unknown',
            'zero_stamps': str(tally.zero_stamps),
            'refused': str(tally.refused),
        }
        level: StatusLevel = 'error' if reason else 'warn' if tally.lost or tally.zero_stamps else 'ok'
        text = reason or f'{values["rate_hz"]} Hz'
        if tally.zero_stamps:
            text += ', stamps are zero: receipt counts as capture'
        return Status(f'stream {name}', level, text, values)


def latency_statuses(latencies: Latencies) -> list[Status]:
    """p50, p99 and max of each stage."""
    return [
        Status(
            f'latency {stage}',
            'ok',
            f'p50 {times.p50_ms:.1f} ms, p99 {times.p99_ms:.1f} ms',
            {
                'p50_ms': f'{times.p50_ms:.2f}',
                'p99_ms': f'{times.p99_ms:.2f}',
                'max_ms': f'{times.max_ms:.2f}',
                'count': str(times.count),
            },
        )
        for stage, times in latencies.table().items()
    ]

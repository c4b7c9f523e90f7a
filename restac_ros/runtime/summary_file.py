"""The summary that a node writes at its end, as JSON: read by `restac-ros up` and by the benchmarks."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from restac_ros.runtime.latency import Latencies
from restac_ros.runtime.tally import StreamTally
from restac_ros.whole_files import replaced


def write_summary(path: Path, values: Mapping[str, object]) -> None:
    """Write the whole file, or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced(path) as partial:
        partial.write_text(json.dumps(values, indent=2) + '\n', encoding='utf-8')


def streams_summary(tallies: Mapping[str, StreamTally]) -> dict[str, dict]:
    """Counts of every stream by name."""
    return {name: tally.summary() for name, tally in tallies.items()}


def latency_summary(latencies: Latencies) -> dict[str, dict[str, float]]:
    """p50, p99, max (ms) and count of every stage by name."""
    return {
        stage: {key: round(value, 3) for key, value in asdict(percentiles).items()}
        for stage, percentiles in latencies.table().items()
    }

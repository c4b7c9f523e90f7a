"""The whole graph's figures: what is judged, and how."""

from dataclasses import replace

import pytest

from restac_ros.bench.runtime_figures import RuntimeFigures
from restac_ros.bench.settings import RuntimeBench
from restac_ros.bench.table import missed_targets
from restac_ros.installation import GraphError


def latency(p99_ms: float) -> dict[str, float]:
    return {'count': 100, 'p50_ms': p99_ms / 2, 'p99_ms': p99_ms, 'max_ms': 2 * p99_ms}


GOOD = RuntimeFigures(
    preset='tiny',
    seconds=10.0,
    replan_hz=10.0,
    gate_threshold=0.7,
    load_average=1.0,
    policy_ms={
        'touch_to_gate': latency(39.0),
        'gate_rise_to_chunk': latency(79.0),
        'contact_to_chunk': latency(100.0),
        'camera_to_chunk': latency(150.0),
        'touch_overhead': latency(9.0),
        'act_overhead': latency(9.0),
        'prefix': latency(60.0),
        'tactile': latency(20.0),
        'act': latency(10.0),
        'frame_cameras': latency(8.0),
    },
    streamer_ms={'jitter': latency(4.0)},
    lost={'joints': 0, 'main': 0},
    cpu_shares={'policy_node': 1.2, 'gate_view_node': 0.09},
    counts={
        'prefixes': 300,
        'touches': 180,
        'surprises': 5,
        'chunks': 100,
        'triggered': 5,
        'held': 0,
        'chunks_in_prefix': 46,
        'prefix_busy_s': 5.0,
    },
)


def test_a_run_that_meets_every_target_misses_none() -> None:
    assert missed_targets(GOOD.rows) == []
    table = {name: (value, target) for name, value, target, _ in GOOD.rows}
    assert table['gate rise to new chunk, p50 / p99'] == ('39.5 / 79.0 ms', 'p99 < 80 ms')
    assert table['replans while a prefix is computed'] == ('9.2 Hz', '> 9.0 Hz')
    assert table['capture to chunk'][0] == '75.0 / 150.0 ms'
    assert table['triggered'][0] == '5'


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'policy_ms': {**GOOD.policy_ms, 'touch_to_gate': latency(40.0)}}, 'GelSight frame to GateState'),
        ({'policy_ms': {**GOOD.policy_ms, 'gate_rise_to_chunk': latency(80.0)}}, 'gate rise to new chunk'),
        ({'policy_ms': {**GOOD.policy_ms, 'act_overhead': latency(10.0)}}, 'node overhead per chunk'),
        ({'streamer_ms': {'jitter': latency(5.0)}}, 'streamer period jitter'),
        ({'streamer_ms': {}}, 'streamer period jitter, p50 / p99: never'),
        ({'lost': {'joints': 3, 'main': 0}}, 'lost of joints: 3, expected 0'),
        ({'cpu_shares': {'gate_view_node': 0.1}}, 'gate view: 10.0% of a core'),
        ({'counts': {**GOOD.counts, 'chunks_in_prefix': 45}}, 'replans while a prefix is computed: 9.0 Hz'),
        ({'counts': {**GOOD.counts, 'prefix_busy_s': 0.0}}, 'replans while a prefix is computed: 0.0 Hz'),
    ],
)
def test_each_target_is_missed_alone_and_in_words(changes: dict, words: str) -> None:
    [missed] = missed_targets(replace(GOOD, **changes).rows)
    assert words in missed


def test_a_larger_network_is_not_judged_by_the_tiny_ones_times() -> None:
    slow = {**GOOD.policy_ms, 'touch_to_gate': latency(300.0), 'gate_rise_to_chunk': latency(900.0)}
    mid = replace(GOOD, preset='mid', policy_ms=slow)
    assert missed_targets(mid.rows) == []
    assert ('gate rise to new chunk, p50 / p99', '450.0 / 900.0 ms', '', True) in mid.rows


def test_the_replan_rate_is_the_presets_or_the_users_and_never_guessed() -> None:
    assert RuntimeBench(None, 'mid').rate_hz < RuntimeBench(None, 'tiny').rate_hz
    assert RuntimeBench(None, 'mid', replan_hz=7.0).rate_hz == 7.0
    with pytest.raises(GraphError, match='give --replan-hz'):
        _ = RuntimeBench(None, 'pi05').rate_hz

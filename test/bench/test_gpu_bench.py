"""The accelerator benchmark: its reading of traces, its bounds, and that it runs end to end on the CPU."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import micro
from restac_ros.bench.card import Rates, in_integers, lower_bounds, random_params, without_touch
from restac_ros.bench.gpu import GpuCase, cases
from restac_ros.bench.kernels import device_time
from restac_ros.bench.settings import GpuBench
from restac_ros.model.checkpoint.network import leaf_shapes
from restac_ros.model.checkpoint.params import num_bytes
from restac_ros.model.int8 import Int8Weight
from restac_ros.model.presets import PRESETS


def _named(kind: str, name: str, pid: int, tid: int = 0) -> dict:
    return {'ph': 'M', 'name': f'{kind}_name', 'pid': pid, 'tid': tid, 'args': {'name': name}}


def _kernel(name: str, begin_us: float, length_us: float, pid: int, tid: int, **args: str) -> dict:
    return {'ph': 'X', 'name': name, 'ts': begin_us, 'dur': length_us, 'pid': pid, 'tid': tid, 'args': args}


def test_kernels_of_a_gpu_trace_are_counted_and_its_gaps_are_idle() -> None:
    """Two streams that overlap; a module's grouping and the host's threads are no kernels."""
    events = [
        _named('process', '/device:GPU:0 NVIDIA H100', 1),
        _named('process', '/host:CPU', 2),
        _named('thread', 'Stream #13(Compute)', 1, 13),
        _named('thread', 'Stream #14(MemcpyH2D)', 1, 14),
        _named('thread', 'XLA Modules', 1, 15),
        _kernel('fusion_1', 100, 10, 1, 13),
        _kernel('fusion_22', 110, 20, 1, 13),
        _kernel('gemm', 125, 15, 1, 14),
        _kernel('gemm', 180, 20, 1, 13),
        _kernel('jit_run', 100, 100, 1, 15),
        _kernel('python', 0, 1000, 2, 1),
    ]
    found = device_time(events)
    assert found.launches == 4
    assert found.span_s == pytest.approx(100e-6)
    assert found.idle_share == pytest.approx(0.4)
    assert [(kernel.name, kernel.launches) for kernel in found.kernels] == [('gemm', 2), ('fusion', 2)]
    assert found.kernels[0].seconds == pytest.approx(35e-6)
    with pytest.raises(ValueError, match='found no kernels'):
        device_time(events[:5])


def test_bounds_follow_from_sizes_and_rates() -> None:
    """At the published size, with an H100's data sheet: the figures of others' calculations."""
    config = PRESETS['pi05_restac_token_in_ae']
    shapes = leaf_shapes(config)
    params = {name: jax.ShapeDtypeStruct(shape, np.float16) for name, shape in shapes.items()}
    sized = {name: _Sized(2 * int(np.prod(leaf.shape))) for name, leaf in params.items()}
    bounds = lower_bounds(config, sized, Rates(989e12, 3.35e12), 3, 50, 10)
    assert bounds.prefix_s == pytest.approx(3.9e-3, rel=0.05)
    assert bounds.act_s == pytest.approx(1.9e-3, rel=0.05)
    assert bounds.full_s == bounds.prefix_s + bounds.act_s


class _Sized:
    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes


def test_random_weights_of_integers_take_half_and_the_base_policy_takes_no_touch() -> None:
    micro.add_micro_preset()
    config = PRESETS[micro.MICRO]
    params = random_params(config)
    assert {name: leaf.shape for name, leaf in params.items()} == leaf_shapes(config)
    integers = in_integers(params)
    weights = {name: leaf for name, leaf in integers.items() if isinstance(leaf, Int8Weight)}
    before = num_bytes({name: params[name] for name in weights})
    assert 0.5 < num_bytes(weights) / before < 0.6  # few values share a scale in so small a network
    base, kept = without_touch(config, params)
    assert not base.uses_touch
    assert not any(name.startswith('tactile') for name in kept)


def test_the_order_of_cases_puts_what_is_asked_most_first() -> None:
    assert [str(case) for case in cases(GpuBench())] == [
        'bf16, 3 views, 10 steps',
        'bf16, 3 views, 5 steps',
        'int8, 3 views, 10 steps',
        'int8, 3 views, 5 steps',
        'bf16, 2 views, 10 steps',
        'bf16, 1 views, 10 steps',
    ]
    assert next(cases(GpuBench(views=(2,), weights=('int8',)))) == GpuCase('int8', 2, 10)


def test_the_command_measures_every_call_and_lists_what_it_had_no_time_for(tmp_path: Path) -> None:
    figures = tmp_path / 'figures.json'
    words = ['--preset', micro.MICRO, '--runs', '3', '--views', '3', '1', '--steps', '2', '--limit-s', '1e9']
    command = [sys.executable, micro.__file__, 'bench', 'gpu', *words, '--json', figures]
    run = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    report = json.loads(figures.read_text())
    bf16, int8, one_view = report['cases']
    assert report['skipped'] == []
    assert set(bf16['calls']) == {'prefix', 'act', 'full call', 'tactile', 'replan on a kept prefix'}
    assert set(bf16['beside']) == {'as deployed', 'one piece', '7 slices'}
    assert set(one_view['calls']) == {'prefix', 'act', 'full call'}
    assert int8['weights_bytes'] < bf16['weights_bytes']
    for latency in bf16['calls'].values():
        assert 0 < latency['p50_ms'] <= latency['p99_ms']
    assert bf16['calls']['full call']['p50_ms'] > 1e3 * bf16['bounds']['act_s']
    assert bf16['device']['act']['launches'] > 0
    assert 0 <= bf16['device']['act']['idle_share'] < 1
    assert 'GB/s' in run.stdout
    assert 'launches in' in run.stdout

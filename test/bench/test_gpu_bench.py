"""The accelerator benchmark: its reading of traces, its bounds, and that it runs end to end on the CPU."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

import micro
from restac_ros.bench import card, gpu
from restac_ros.bench.card import LeastTimes, Rates, in_integers, lower_bounds, random_params, without_touch
from restac_ros.bench.gpu_report import CaseFigures, GpuCase, GpuReport, Latency, cases
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


def test_a_prefix_reads_of_its_last_layer_what_keys_and_values_need() -> None:
    """Counted leaf by leaf: a device whose products take no time is bound by what it reads."""
    config = PRESETS['tiny']
    depth = config.paligemma.depth
    names = {
        'PaliGemma/img/head/kernel': 1.0,
        'PaliGemma/llm/layers/attn/kv_einsum/w': 1.0,
        'PaliGemma/llm/layers/pre_attention_norm/scale': 1.0,
        'PaliGemma/llm/layers/attn/q_einsum/w': (depth - 1) / depth,
        'PaliGemma/llm/layers/attn/attn_vec_einsum/w': (depth - 1) / depth,
        'PaliGemma/llm/layers/mlp/linear': (depth - 1) / depth,
        'PaliGemma/llm/layers/pre_ffw_norm/scale': (depth - 1) / depth,
        'PaliGemma/llm/layers/attn/kv_einsum_1/w': 0.0,
        'PaliGemma/llm/final_norm/scale': 0.0,
        'PaliGemma/llm/embedder/input_embedding': 0.0,
        'action_in_proj/kernel': 0.0,
    }
    assert set(names) <= set(leaf_shapes(config))
    for name, share in names.items():
        bounds = lower_bounds(config, {name: _Sized(1000)}, Rates(float('inf'), 1.0), 3, 50, 10)
        assert bounds.prefix_s == pytest.approx(1000 * share), name


def test_what_the_rates_time_reads_its_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a constant, the compiler would write a value that it computed ahead, and read nothing."""
    timed: list[tuple[Callable, jax.Array]] = []

    def spy(call: Callable, argument: jax.Array) -> float:
        timed.append((call, argument))
        return 1.0

    monkeypatch.setattr(card, '_best_s', spy)
    monkeypatch.setattr(card, '_CPU_SIZES', (64, 4096))
    assert card.measure_rates() == Rates(2.0 * 64**3, 2.0 * 4096)
    for (call, argument), shape in zip(timed, [r'bf16\[64,64\]', r'u8\[4096\]'], strict=True):
        text = call.lower(argument).compile().as_text()
        entry = text[text.index('ENTRY') :]
        assert re.search(rf'= {shape}\S* parameter\(0\)', entry), text
        root = re.search(r'ROOT .*', entry)
        assert root is not None
        assert not re.search(r' (broadcast|constant)\(', root[0]), text
        assert len(np.unique(np.asarray(argument, np.float32))) > 100


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
    assert (report['failed'], report['complete']) == ([], True)
    assert bf16['unprofiled'] == {}
    assert [path.name for path in tmp_path.iterdir()] == ['figures.json']
    assert 'GB/s' in run.stdout
    assert 'launches in' in run.stdout


def _figures(case: GpuCase) -> CaseFigures:
    calls = {name: Latency(30.0, 31.0) for name in ('prefix', 'act', 'full call', 'tactile')}
    return CaseFigures(case, calls, LeastTimes(1e-3, 1e-3), {}, {}, {}, 1.0, 10**9)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> GpuBench:
    """Three cases of the smallest network; no rate is measured."""
    micro.add_micro_preset()
    monkeypatch.setattr(gpu, 'measure_rates', lambda: Rates(1e12, 1e11))
    return GpuBench(preset=micro.MICRO, runs=1, steps=(2,), views=(3, 1), json=tmp_path / 'figures.json')


def _measure(settings: GpuBench) -> tuple[int, dict]:
    assert settings.json is not None
    status = gpu.measure_cases(settings, PRESETS[micro.MICRO])
    return status, json.loads(settings.json.read_text())


def test_a_profiler_that_sees_nothing_takes_no_latency_away(
    quick: GpuBench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in a container that may not read the GPU's counters; one call's trace fails in another way."""
    traces = iter([[], PermissionError('CUPTI: not permitted')])

    def traced(call: Callable[[], None]) -> list[dict]:
        if isinstance(found := next(traces), OSError):
            raise found
        return found

    monkeypatch.setattr(gpu, 'traced', traced)
    monkeypatch.setattr(gpu, '_beside', lambda *_: {})
    status, report = _measure(replace(quick, views=(3,), weights=('bf16',)))
    (case,) = report['cases']
    assert status == 0
    assert case['calls']['act']['p50_ms'] > 0
    assert (case['device'], case['unprofiled']['act']) == ({}, 'CUPTI: not permitted')
    assert 'found no kernels' in case['unprofiled']['prefix']
    printed = capsys.readouterr().out
    assert 'bf16, 3 views, 2 steps: no profile of prefix: trace: found no kernels' in printed
    assert 'p50 ms' in printed


def test_a_case_without_memory_is_told_and_the_next_goes_on(
    quick: GpuBench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measured(case: GpuCase, *_: object, is_first: bool) -> CaseFigures:
        if case.weights == 'int8':
            raise jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: Out of memory, 3 GiB\nand more lines')
        assert is_first == (case.views == 3)
        return _figures(case)

    monkeypatch.setattr(gpu, '_measured', measured)
    status, report = _measure(quick)
    assert (status, report['complete']) == (0, True)
    assert [case['case']['views'] for case in report['cases']] == [3, 1]
    told = 'RESOURCE_EXHAUSTED: Out of memory, 3 GiB'
    assert report['failed'] == [{'case': {'weights': 'int8', 'views': 3, 'steps': 2}, 'reason': told}]
    assert f'int8, 3 views, 2 steps: not measured: {told}\n' in capsys.readouterr().out


def test_where_no_case_has_memory_the_command_fails(quick: GpuBench, monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(*_: object, **__: object) -> CaseFigures:
        raise jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: Out of memory')

    monkeypatch.setattr(gpu, '_measured', measured)
    status, report = _measure(quick)
    assert (status, report['cases'], len(report['failed'])) == (1, [], 3)


def test_what_was_measured_before_another_failure_is_kept_and_shown(
    quick: GpuBench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measured(case: GpuCase, *_: object, is_first: bool) -> CaseFigures:
        if not is_first:
            raise jax.errors.JaxRuntimeError('INTERNAL: the device fell off the bus')
        return _figures(case)

    monkeypatch.setattr(gpu, '_measured', measured)
    with pytest.raises(jax.errors.JaxRuntimeError, match='fell off'):
        _measure(quick)
    assert quick.json is not None
    report = json.loads(quick.json.read_text())
    assert ([case['case']['weights'] for case in report['cases']], report['complete']) == (['bf16'], False)
    assert 'bf16, 3 views, 2 steps, batch 1' in capsys.readouterr().out


def test_targets_of_the_published_size_are_missed_by_being_slow_or_without_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
    first, second = GpuCase('bf16', 3, 10), GpuCase('bf16', 3, 5)
    rates = Rates(1e12, 1e11)
    slow = GpuReport(GpuBench(), rates, measured=[_figures(first), _figures(second)])
    assert slow.missed()[0] == 'full call: 30.0 ms, expected <= 20.0 ms'
    assert len(slow.missed()) == 3
    full = GpuReport(GpuBench(), rates, measured=[_figures(second)], failed={first: 'out of memory'})
    assert full.missed() == ['bf16, 3 views, 10 steps: out of memory']
    assert GpuReport(GpuBench(preset='mid'), rates, measured=[_figures(first)]).missed() == []

"""Latency of every call on an accelerator: views, steps and weights in turn, as far as the time allows."""

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

from restac_ros.bench.card import (
    LeastTimes,
    Rates,
    in_integers,
    lower_bounds,
    measure_rates,
    random_params,
    without_touch,
)
from restac_ros.bench.kernels import DeviceTime, device_time
from restac_ros.bench.model import Calls, network_of
from restac_ros.bench.profile import traced
from restac_ros.bench.settings import GpuBench
from restac_ros.bench.table import table_of, write_figures
from restac_ros.bench.turns import in_turns
from restac_ros.model.checkpoint.params import Params, num_bytes
from restac_ros.model.config import ModelConfig
from restac_ros.model.device import describe_device, describe_memory
from restac_ros.model.observation import CAMERA_SLOTS
from restac_ros.policy.compile_cache import enable_compile_cache
from restac_ros.policy.dispatch import make_room_for_calls

WARM_UPS = 3
SHOWN_KERNELS = 12
TARGETS_MS = {'full call': 20.0, 'act': 8.0, 'tactile': 5.0}
"""p50 of the published size, three views, ten steps, bfloat16, on an H100 or H200."""


@dataclass(frozen=True)
class GpuCase:
    """What is measured together."""

    weights: str
    views: int
    steps: int

    def __str__(self) -> str:
        return f'{self.weights}, {self.views} views, {self.steps} steps'


@dataclass(frozen=True)
class Latency:
    """Of one call."""

    p50_ms: float
    p99_ms: float

    @classmethod
    def of(cls, seconds: list[float]) -> 'Latency':
        """Median and 99th percentile."""
        return cls(*(1e3 * float(np.quantile(seconds, q)) for q in (0.5, 0.99)))


@dataclass(frozen=True)
class CaseFigures:
    """Latency of each call, the lower bounds, and where the device's time goes.

    `beside` is the tactile call's latency while another thread encodes one prefix after the other, by how a
    prefix is sliced; measured for one case.
    """

    case: GpuCase
    calls: dict[str, Latency]
    bounds: LeastTimes
    device: dict[str, DeviceTime]
    beside: dict[str, Latency]
    prepared_s: float
    weights_bytes: int


def main(settings: GpuBench) -> int:
    """Measure case by case, the most informative first; print tables, write JSON.

    Raises:
        PolicyError: no such preset.
    """
    network = network_of(settings.preset)
    make_room_for_calls()
    with tempfile.TemporaryDirectory() as folder:  # cases share programs; each is compiled here, once
        enable_compile_cache(Path(folder))
        return _run(settings, replace(network, dtype='bfloat16'))


def _run(settings: GpuBench, config: ModelConfig) -> int:
    begun_s, console = time.perf_counter(), Console()
    console.print(describe_device())
    rates = measure_rates()
    console.print(f'measured: {rates.flop_s / 1e12:.1f} TFLOP/s (bfloat16), {rates.byte_s / 1e9:.0f} GB/s')
    params = random_params(config)
    console.print(f'{num_bytes(params) / 1e9:.2f} GB of random weights made{describe_memory()}')
    figures, skipped, longest_s = list[CaseFigures](), list[GpuCase](), 0.0
    for case in cases(settings):
        elapsed_s = time.perf_counter() - begun_s
        if figures and elapsed_s + longest_s > settings.limit_s:
            skipped.append(case)
            continue
        figures.append(_measured(case, config, params, rates, settings, is_first=not figures))
        longest_s = max(longest_s, time.perf_counter() - begun_s - elapsed_s)
        console.print(f'{case}: done after {time.perf_counter() - begun_s:.0f} s{describe_memory()}')
    for figure in figures:
        console.print(_table(figure))
    for name, device in figures[0].device.items():
        console.print(_kernel_table(f'{figures[0].case}: {name}', device))
    for case in skipped:
        console.print(f'not measured, no time left: {case}', style='yellow')
    missed = _missed(settings, figures)
    for text in missed:
        console.print(f'missed: {text}', style='bold red')
    described = {
        'preset': settings.preset,
        'device': jax.devices()[0].device_kind,
        'jax': jax.__version__,
        'rates': asdict(rates),
        'cases': [asdict(figure) for figure in figures],
        'skipped': [asdict(case) for case in skipped],
        'seconds': time.perf_counter() - begun_s,
        'missed': missed,
    }
    write_figures(settings.json, described)
    return 1 if missed else 0


def cases(settings: GpuBench) -> Iterator[GpuCase]:
    """Yield all of the first number of views, then of the others the first weights and steps only."""
    for weights in settings.weights:
        for steps in settings.steps:
            yield GpuCase(weights, settings.views[0], steps)
    for views in settings.views[1:]:
        yield GpuCase(settings.weights[0], views, settings.steps[0])


def _measured(
    case: GpuCase, config: ModelConfig, params: Params, rates: Rates, settings: GpuBench, *, is_first: bool
) -> CaseFigures:
    begun_s = time.perf_counter()
    if case.views < len(CAMERA_SLOTS):
        config, params = without_touch(config, params)
    if case.weights == 'int8':
        params = in_integers(params)
    calls = Calls(config, params, CAMERA_SLOTS[: case.views], case.steps)
    calls.compile()
    calls.full()
    prepared_s = time.perf_counter() - begun_s
    timed = {'prefix': calls.prefix, 'act': calls.act, 'full call': calls.full}
    if config.uses_touch:
        timed |= {'tactile': calls.tactile, 'replan on a kept prefix': calls.replan}
    return CaseFigures(
        case=case,
        calls={name: Latency.of(_times(call, settings.runs)) for name, call in timed.items()},
        bounds=lower_bounds(config, params, rates, case.views, calls.prompt_tokens, case.steps),
        device={name: device_time(traced(timed[name])) for name in ('prefix', 'act')},
        beside=_beside(calls, config, params, settings.runs) if is_first and config.uses_touch else {},
        prepared_s=prepared_s,
        weights_bytes=num_bytes(params),
    )


def _beside(calls: Calls, config: ModelConfig, params: Params, runs: int) -> dict[str, Latency]:
    """The tactile call while prefixes run: in the slices that are deployed, in one piece, and in many."""
    found = {'as deployed': _beside_prefixes(calls, runs)}
    for slices in (1, 7):
        other = Calls(config, params, slices=slices)
        other.compile()
        other.full()
        found[f'{slices} slices' if slices > 1 else 'one piece'] = _beside_prefixes(other, runs)
    return found


def _beside_prefixes(calls: Calls, runs: int) -> Latency:
    ended = threading.Event()

    def encode() -> None:
        while not ended.is_set():
            calls.prefix()

    with ThreadPoolExecutor(max_workers=1) as beside:
        running = beside.submit(encode)
        try:
            times = _times(calls.tactile, runs)
        finally:
            ended.set()
        running.result()  # raises what that thread did
    return Latency.of(times)


def _times(call: Callable[[], None], runs: int) -> list[float]:
    return [took.wall_s for (took,) in in_turns([call], runs, WARM_UPS)]


def _missed(settings: GpuBench, figures: list[CaseFigures]) -> list[str]:
    """Targets hold for the published size on a GPU."""
    first = figures[0]
    holds = settings.preset == GpuBench.preset and first.case == GpuCase('bf16', 3, 10)
    if jax.default_backend() == 'cpu' or not holds:
        return []
    return [
        f'{name}: {first.calls[name].p50_ms:.1f} ms, expected at most {target:g} ms'
        for name, target in TARGETS_MS.items()
        if first.calls[name].p50_ms > target
    ]


def _table(figures: CaseFigures) -> Table:
    size = f'{figures.weights_bytes / 1e9:.2f} GB of weights'
    headings = ('p50 ms', 'p99 ms', 'lower bound ms')
    table = table_of(f'{figures.case}, batch 1, {size}', ['call'], headings)
    least = figures.bounds
    bounds = {'prefix': least.prefix_s, 'act': least.act_s, 'full call': least.full_s}
    beside = {f'tactile beside a prefix, {name}': latency for name, latency in figures.beside.items()}
    for name, latency in (figures.calls | beside).items():
        bound = f'{1e3 * bounds[name]:.2f}' if name in bounds else ''
        table.add_row(name, f'{latency.p50_ms:.2f}', f'{latency.p99_ms:.2f}', bound)
    return table


def _kernel_table(title: str, device: DeviceTime) -> Table:
    told = f'{device.launches} launches in {1e3 * device.span_s:.2f} ms, idle {device.idle_share:.0%}'
    table = table_of(f'{title}: {told}', ['kernel'], ('launches', 'ms', 'share'))
    total = sum(kernel.seconds for kernel in device.kernels)
    for kernel in device.kernels[:SHOWN_KERNELS]:
        share = f'{kernel.seconds / total:.1%}'
        table.add_row(kernel.name, str(kernel.launches), f'{1e3 * kernel.seconds:.3f}', share)
    return table

"""Latency of every call on an accelerator: views, steps and weights in turn, as far as the time allows."""

import gc
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import jax
from rich.console import Console

from restac_ros.bench.card import (
    Rates,
    in_integers,
    lower_bounds,
    measure_rates,
    random_params,
    without_touch,
)
from restac_ros.bench.gpu_report import CaseFigures, GpuCase, GpuReport, Latency, cases
from restac_ros.bench.kernels import DeviceTime, device_time
from restac_ros.bench.model import Calls, network_of
from restac_ros.bench.profile import traced
from restac_ros.bench.settings import GpuBench
from restac_ros.bench.turns import in_turns
from restac_ros.model.checkpoint.params import Params, num_bytes
from restac_ros.model.config import ModelConfig
from restac_ros.model.device import describe_device, describe_memory
from restac_ros.model.observation import CAMERA_SLOTS
from restac_ros.policy.compile_cache import enable_compile_cache
from restac_ros.policy.dispatch import make_room_for_calls

WARM_UPS = 3
OUT_OF_MEMORY = 'RESOURCE_EXHAUSTED'  # in XLA's message


def main(settings: GpuBench) -> int:
    """Measure case by case, the most informative first; after each, print its table and write the JSON.

    Raises:
        PolicyError: no such preset.
    """
    network = network_of(settings.preset)
    make_room_for_calls()
    with tempfile.TemporaryDirectory() as folder:  # cases share programs; each is compiled here, once
        enable_compile_cache(Path(folder))
        return measure_cases(settings, replace(network, dtype='bfloat16'))


def measure_cases(settings: GpuBench, config: ModelConfig) -> int:
    """Measure the cases that the time allows; exit status 1 where a target is missed or nothing measured."""
    begun_s, console = time.perf_counter(), Console()
    console.print(describe_device())
    rates = measure_rates()
    console.print(f'measured: {rates.flop_s / 1e12:.1f} TFLOP/s (bfloat16), {rates.byte_s / 1e9:.0f} GB/s')
    params = random_params(config)
    console.print(f'{num_bytes(params) / 1e9:.2f} GB of random weights made{describe_memory()}')
    report, longest_s = GpuReport(settings, rates), 0.0
    for case in cases(settings):
        elapsed_s = time.perf_counter() - begun_s
        if longest_s and elapsed_s + longest_s > settings.limit_s:
            report.skipped.append(case)
            continue
        _measure_into(report, case, config, params, console)
        report.seconds = time.perf_counter() - begun_s
        longest_s = max(longest_s, report.seconds - elapsed_s)
        console.print(f'{case}: ended after {report.seconds:.0f} s{describe_memory()}')
        report.keep()
    report.is_complete = True
    report.keep()
    report.show_end(console)
    return 1 if report.missed() or not report.measured else 0


def _measure_into(
    report: GpuReport, case: GpuCase, config: ModelConfig, params: Params, console: Console
) -> None:
    """Add a case's figures to the report, or that the device has no memory for it."""
    is_first = not report.measured
    try:
        report.measured.append(
            _measured(case, config, params, report.rates, report.settings, is_first=is_first)
        )
    except jax.errors.JaxRuntimeError as error:
        if OUT_OF_MEMORY not in str(error):
            raise
        report.failed[case] = str(error).splitlines()[0]
    if case in report.failed:
        gc.collect()  # what the failed case held, for the next one
        report.show_failed(console)
    else:
        report.show_measured(console)


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
    latencies = {name: Latency.of(_times(call, settings.runs)) for name, call in timed.items()}
    device, unprofiled = _profiled({name: timed[name] for name in ('prefix', 'act')})
    return CaseFigures(
        case=case,
        calls=latencies,
        bounds=lower_bounds(config, params, rates, case.views, calls.prompt_tokens, case.steps),
        device=device,
        unprofiled=unprofiled,
        beside=_beside(calls, config, params, settings.runs) if is_first and config.uses_touch else {},
        prepared_s=prepared_s,
        weights_bytes=num_bytes(params),
    )


def _profiled(
    timed: Mapping[str, Callable[[], None]],
) -> tuple[dict[str, DeviceTime], dict[str, str]]:
    """Return where each call's time goes, or why the profiler does not say: containers may refuse it."""
    device, unprofiled = dict[str, DeviceTime](), dict[str, str]()
    for name, call in timed.items():
        try:
            device[name] = device_time(traced(call))
        except (ValueError, RuntimeError, OSError) as error:
            unprofiled[name] = str(error) or type(error).__name__
    return device, unprofiled


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

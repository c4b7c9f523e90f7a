"""What the accelerator's benchmark found: tables on the terminal, JSON, and which targets are missed."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

from restac_ros.bench.card import LeastTimes, Rates
from restac_ros.bench.kernels import DeviceTime
from restac_ros.bench.settings import GpuBench
from restac_ros.bench.table import judged, missed_targets, show_missed, table_of, write_figures
from restac_ros.whole_files import replaced

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

    `unprofiled` says why a call has no `device`. `beside` is the tactile call's latency while another thread
    encodes one prefix after the other, by how a prefix is sliced; measured for one case.
    """

    case: GpuCase
    calls: dict[str, Latency]
    bounds: LeastTimes
    device: dict[str, DeviceTime]
    unprofiled: dict[str, str]
    beside: dict[str, Latency]
    prepared_s: float
    weights_bytes: int


@dataclass
class GpuReport:
    """All figures so far, kept and shown case by case: what ends a run early takes nothing of it away.

    Attributes:
        seconds: since the begin.
        measured: in their order.
        failed: cases that the device had no memory for, with what it said.
        skipped: cases that there was no time for.
        is_complete: whether all cases have had their turn.
    """

    settings: GpuBench
    rates: Rates
    seconds: float = 0.0
    measured: list[CaseFigures] = field(default_factory=list)
    failed: dict[GpuCase, str] = field(default_factory=dict)
    skipped: list[GpuCase] = field(default_factory=list)
    is_complete: bool = False

    def missed(self) -> list[str]:
        """Return the targets missed; they hold for the published size on a GPU."""
        target_case = GpuCase('bf16', 3, 10)
        if jax.default_backend() == 'cpu' or self.settings.preset != GpuBench.preset:
            return []
        missed = [f'{case}: {reason}' for case, reason in self.failed.items() if case == target_case]
        for figures in self.measured:
            if figures.case == target_case:
                missed += missed_targets(
                    judged(name, figures.calls[name].p50_ms, '<=', most_ms, '{:.1f} ms')
                    for name, most_ms in TARGETS_MS.items()
                )
        return missed

    def keep(self) -> None:
        """Write the JSON, if asked; until it is whole, the one before stays."""
        path: Path | None = self.settings.json
        if path is not None:
            with replaced(path) as partial:
                write_figures(partial, self._described())

    def show_measured(self, console: Console) -> None:
        """Print the tables of the case measured last; of the first, its kernels, too."""
        figures = self.measured[-1]
        console.print(_table(figures))
        if len(self.measured) == 1:
            for name, device in figures.device.items():
                console.print(_kernel_table(f'{figures.case}: {name}', device))
        for name, reason in figures.unprofiled.items():
            _warn(console, f'{figures.case}: no profile of {name}: {reason}')

    def show_failed(self, console: Console) -> None:
        """Print the case that failed last, and why."""
        case, reason = list(self.failed.items())[-1]
        _warn(console, f'{case}: not measured: {reason}')

    def show_end(self, console: Console) -> None:
        """Print what was not measured, and the targets missed."""
        for case in self.skipped:
            _warn(console, f'not measured, no time left: {case}')
        show_missed(console, self.missed())

    def _described(self) -> dict[str, Any]:
        return {
            'preset': self.settings.preset,
            'device': jax.devices()[0].device_kind,
            'jax': jax.__version__,
            'rates': asdict(self.rates),
            'cases': [asdict(figures) for figures in self.measured],
            'failed': [{'case': asdict(case), 'reason': reason} for case, reason in self.failed.items()],
            'skipped': [asdict(case) for case in self.skipped],
            'seconds': self.seconds,
            'missed': self.missed(),
            'complete': self.is_complete,
        }


def cases(settings: GpuBench) -> Iterator[GpuCase]:
    """Yield all of the first number of views, then of the others the first weights and steps only."""
    for weights in settings.weights:
        for steps in settings.steps:
            yield GpuCase(weights, settings.views[0], steps)
    for views in settings.views[1:]:
        yield GpuCase(settings.weights[0], views, settings.steps[0])


def _warn(console: Console, text: str) -> None:
    console.print(text, style='yellow', markup=False, soft_wrap=True)


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

"""One network in two arithmetics, in turn, on the same inputs: time of each call, change of the actions."""

import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from restac_ros.bench.card import in_integers
from restac_ros.bench.model import Calls, network_of
from restac_ros.bench.settings import ArithmeticBench
from restac_ros.bench.table import Figure, finish, judged, table_of
from restac_ros.bench.turns import in_turns
from restac_ros.model.checkpoint.network import initial_params, leaf_shapes
from restac_ros.model.checkpoint.params import CastRule, Params
from restac_ros.model.int8 import Int8Weight
from restac_ros.policy.arithmetic import choose_arithmetic, cpu_facts, measured_once
from restac_ros.policy.compile_cache import default_cache_directory

MAX_RATIOS = {'full call': 0.65, 'act': 0.7}
MAX_CHANGE = 0.01
"""Targets of `mid`: CPU time of what `auto` chooses over float32's; change of actions over their range."""


@dataclass(frozen=True)
class PairedFigures:
    """One call in float32 and in another arithmetic: medians, and of the ratios of neighbouring runs.

    CPU seconds count all threads of the process; a busy machine changes them less than wall time.
    """

    float32_ms: float
    other_ms: float
    ratio: float
    cpu_ratio: float


def main(settings: ArithmeticBench) -> int:
    """Measure and print; exit status 1 when `mid` misses a target.

    Raises:
        PolicyError: no such preset.
    """
    network = network_of(settings.preset)
    chosen = choose_arithmetic(
        jax.default_backend(), cpu_facts(), lambda: measured_once(default_cache_directory())
    )
    console = Console()
    console.print(f'auto: {chosen}', soft_wrap=True)
    config = replace(network, dtype='float32')
    exact = initial_params(config, leaf_shapes(config), 0, everything=True, consume=jax.device_put)
    other = _cast(exact, chosen.dtype)
    if settings.int8:
        other = {
            name: replace(leaf, integer_products=chosen.integer_products)
            if isinstance(leaf, Int8Weight)
            else leaf
            for name, leaf in in_integers(other).items()
        }
    pair = Calls(config, exact), Calls(replace(config, dtype=chosen.dtype), other)
    for calls in pair:
        calls.compile()
        calls.full()
    names = {'prefix': Calls.prefix, 'tactile': Calls.tactile, 'act': Calls.act, 'full call': Calls.full}
    figures = {
        name: _paired(partial(call, pair[0]), partial(call, pair[1]), settings.runs)
        for name, call in names.items()
        if name != 'tactile' or config.uses_touch
    }
    change = np.abs(pair[0].actions - pair[1].actions) / np.ptp(pair[0].actions)
    median, largest = float(np.median(change)), float(change.max())
    console.print(_table(settings.preset, figures))
    rows = _rows(figures, median, largest, is_judged=settings.preset == 'mid')
    described = {'preset': settings.preset, 'auto': str(chosen), 'median': median, 'largest': largest}
    described |= {name: asdict(one) for name, one in figures.items()}
    return finish('auto beside float32', rows, settings.json, described)


def _cast(params: Params, dtype: str) -> Params:
    rule = CastRule(dtype)
    return {
        name: jnp.asarray(leaf, rule(name, np.dtype(leaf.dtype)))
        for name, leaf in params.items()
        if not isinstance(leaf, Int8Weight)
    }


def _paired(exact: Callable[[], None], other: Callable[[], None], runs: int) -> PairedFigures:
    times = in_turns((exact, other), runs)
    return PairedFigures(
        1e3 * statistics.median(one.wall_s for one, _ in times),
        1e3 * statistics.median(two.wall_s for _, two in times),
        statistics.median(two.wall_s / one.wall_s for one, two in times),
        statistics.median(two.cpu_s / one.cpu_s for one, two in times),
    )


def _rows(
    figures: dict[str, PairedFigures], median: float, largest: float, *, is_judged: bool
) -> list[Figure]:
    """What has a target for `mid`: CPU time, and how far the actions move."""
    targets = [
        judged(f'{name}, CPU time', figures[name].cpu_ratio, '<=', most, '{:.2f} of float32')
        for name, most in MAX_RATIOS.items()
    ]
    targets.append(judged('actions, median change', median, '<=', MAX_CHANGE, '{:.3%} of their range'))
    targets = [row.judged_if(is_judged) for row in targets]
    return [*targets, Figure('actions, largest change', f'{largest:.3%} of their range')]


def _table(preset: str, figures: dict[str, PairedFigures]) -> Table:
    headings = ('float32 ms', 'auto ms', 'ratio', 'ratio of CPU time')
    table = table_of(f'preset {preset}, in turn', ['call'], headings)
    for name, one in figures.items():
        cells = f'{one.float32_ms:.1f}', f'{one.other_ms:.1f}', f'{one.ratio:.2f}', f'{one.cpu_ratio:.2f}'
        table.add_row(name, *cells)
    return table

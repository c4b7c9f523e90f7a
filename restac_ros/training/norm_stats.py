"""Normalisation statistics of recorded episodes: exact quantiles of states and delta actions.

Only numbers are read, no image. Several data sets are pooled over their raw values; quantiles are never
averaged. Each action of the horizon counts once for each frame it can follow, as in training; steps past an
episode's end count for none.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from restac_ros.contract.schema import Contract
from restac_ros.dataset.features import STATE_NAMES
from restac_ros.geometry.delta import DeltaRule
from restac_ros.policy.normalization import EPSILON, NormStats, Quantiles
from restac_ros.training.checks import check_one_meaning
from restac_ros.training.data.episodes import Episodes
from restac_ros.training.errors import TrainingError

LEAST_RANGE = (1e-3, 1e-3, 1e-3, 5e-3, 5e-3, 5e-3, 1e-3)
"""m, rad, m: narrower ranges of states or deltas make noise of the sensors as large as motion."""
_NO_GRIPPER_M = 0.01  # any: the constant becomes 0


@dataclass(frozen=True)
class MeasuredStats:
    """Statistics and what they were measured on.

    Attributes:
        stats: what the policy normalises with.
        largest: greatest absolute normalised value in the data, by 'state' and 'actions' and dimension.
        outside: share of values outside q01..q99, likewise; about 0.02.
        identity: see `identity_of`.
    """

    stats: NormStats
    largest: Mapping[str, tuple[float, ...]]
    outside: Mapping[str, tuple[float, ...]]
    identity: str

    def describe(self) -> list[str]:
        """One line per kind and dimension."""
        return [
            f'{kind:<8} {name:<9} q01 {quantiles.q01[dim]: .5f}  q99 {quantiles.q99[dim]: .5f}  '
            f'outside {self.outside[kind][dim]:.1%}  largest normalised {self.largest[kind][dim]:.2f}'
            for kind, quantiles in (('state', self.stats.state), ('actions', self.stats.actions))
            for dim, name in enumerate(STATE_NAMES)
        ]

    def to_dict(self) -> dict[str, Any]:
        """openpi's layout, with the identity beside it."""
        return {**self.stats.to_dict(), 'identity': self.identity}


def delta_rule(contract: Contract) -> DeltaRule:
    """The rule that turns the contract's absolute actions into deltas."""
    return DeltaRule(contract.rotation.convention, contract.action.delta)


def identity_of(sources: Sequence[Episodes], episodes: Sequence[Sequence[int]], horizon: int) -> str:
    """SHA-256 (hex) of what statistics depend on: the data, which episodes, contract, delta rule, horizon."""
    parts = [
        [source.fingerprint, list(numbers), source.contract.rotation.convention, source.contract.action.delta]
        for source, numbers in zip(sources, episodes, strict=True)
    ]
    return hashlib.sha256(json.dumps([parts, horizon, 'gripper absolute']).encode()).hexdigest()


def measure_norm_stats(
    sources: Sequence[Episodes],
    episodes: Sequence[Sequence[int]],
    horizon: int,
    least_range: Sequence[float] = LEAST_RANGE,
    widen: Mapping[str, float] | None = None,
) -> MeasuredStats:
    """Measure states and delta actions.

    Args:
        sources: data sets under contracts that mean the same.
        episodes: of each, which.
        horizon: steps of a chunk.
        least_range: narrowest range q99 - q01 that is accepted, by dimension.
        widen: by dimension name, a range to which a narrower one is widened around its middle. That of a
            gripper that the robot does not have, a constant, always is.

    Raises:
        TrainingError: the contracts differ in meaning, or a range is too narrow and not widened.
    """
    check_one_meaning(sources)
    if any(source.contract.gripper.absent for source in sources):
        widen = {STATE_NAMES[-1]: _NO_GRIPPER_M, **(widen or {})}
    state = np.concatenate([_rows(s, n, s.state) for s, n in zip(sources, episodes, strict=True)])
    measured = {'state': [state[:, dim] for dim in range(len(STATE_NAMES))]}
    measured['actions'] = _delta_columns(sources, episodes, horizon)
    quantiles, largest, outside = {}, {}, {}
    for kind, columns in measured.items():
        raw = Quantiles(*zip(*map(_exact, columns), strict=True))
        quantiles[kind] = _checked(kind, raw, columns, least_range, dict(widen or {}))
        largest[kind] = tuple(_largest(quantiles[kind], dim, column) for dim, column in enumerate(columns))
        outside[kind] = tuple(_outside(quantiles[kind], dim, column) for dim, column in enumerate(columns))
    names = ', '.join(source.name for source in sources)
    stated = f'; ranges widened: {_text(widen)}' if widen else ''
    stats = NormStats(**quantiles, source=f'measured on {names}{stated}')
    return MeasuredStats(stats, largest, outside, identity_of(sources, episodes, horizon))


def check_identity(found: str | None, expected: str, where: str) -> None:
    """Refuse statistics of other data.

    Raises:
        TrainingError: none stated, or another.
    """
    if found != expected:
        raise TrainingError(
            f'{where}: found statistics of {(found or "unstated data")[:12]}, expected {expected[:12]}: they '
            'were measured on other data, episodes, contract, delta rule or horizon; run '
            '`restac-ros norm-stats` again'
        )


def _rows(source: Episodes, numbers: Sequence[int], column: np.ndarray) -> np.ndarray:
    spans = [source.tables.spans[number] for number in numbers]
    return np.concatenate([column[span.first : span.first + span.length] for span in spans])


def _delta_columns(
    sources: Sequence[Episodes], episodes: Sequence[Sequence[int]], horizon: int
) -> list[np.ndarray]:
    """One array float32 per dimension over all frames and the steps after each."""
    lengths = [
        source.tables.spans[number].length
        for source, numbers in zip(sources, episodes, strict=True)
        for number in numbers
    ]
    total = sum(max(length - step, 0) for length in lengths for step in range(horizon))
    columns, filled = np.empty((len(STATE_NAMES), total), np.float32), 0
    for source, numbers in zip(sources, episodes, strict=True):
        rule = delta_rule(source.contract)
        for targets, anchors in _pairs(source, numbers, horizon):
            columns[:, filled : filled + len(targets)] = rule.deltas(targets, anchors).T
            filled += len(targets)
    return list(columns)


def _pairs(source: Episodes, numbers: Sequence[int], horizon: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Actions and the states of the frames that they follow, by steps between them, over all episodes."""
    spans = [source.tables.spans[number] for number in numbers]
    firsts = np.repeat([s.first for s in spans], [s.length for s in spans])
    lengths = np.repeat([s.length for s in spans], [s.length for s in spans])
    frames = np.concatenate([np.arange(s.length) for s in spans])
    for step in range(horizon):
        rows = (firsts + frames)[frames + step < lengths]
        if rows.size:
            yield source.actions[rows + step], source.state[rows]


def _exact(column: np.ndarray) -> tuple[float, float, float, float]:
    """q01, q99, mean and standard deviation."""
    q01, q99 = np.quantile(column, (0.01, 0.99))
    mean = column.mean(dtype=np.float64)
    return (
        float(q01),
        float(q99),
        float(mean),
        float(np.sqrt(np.square(column - mean).mean(dtype=np.float64))),
    )


def _checked(
    kind: str,
    raw: Quantiles,
    columns: Sequence[np.ndarray],
    least_range: Sequence[float],
    widen: dict[str, float],
) -> Quantiles:
    unknown = sorted(set(widen) - set(STATE_NAMES))
    if unknown:
        raise TrainingError(f'min-range: found {unknown}, expected names of {STATE_NAMES}')
    low, high = list(raw.q01), list(raw.q99)
    faults = []
    for dim, name in enumerate(STATE_NAMES):
        found = high[dim] - low[dim]
        if (wanted := widen.get(name)) is not None and found < wanted:
            middle = (high[dim] + low[dim]) / 2
            low[dim], high[dim] = middle - wanted / 2, middle + wanted / 2
        elif found < least_range[dim]:
            value = _largest(raw, dim, columns[dim])
            faults.append(
                f'{kind} {name}: q99 - q01 = {found:.3g}, expected at least {least_range[dim]:g}; the '
                f'largest normalised value would be {value:.3g}'
            )
    if faults:
        raise TrainingError(
            f'{"; ".join(faults)}. Record more motion, or accept it with a range for the dimension, which '
            f'the checkpoint states: --min-range {STATE_NAMES[-1]} 0.01 (--data.min-range in `train`)'
        )
    return replace(raw, q01=tuple(low), q99=tuple(high))


def _largest(quantiles: Quantiles, dim: int, column: np.ndarray) -> float:
    low, high = quantiles.q01[dim], quantiles.q99[dim]
    ends = (np.array([column.min(), column.max()], np.float64) - low) / (high - low + EPSILON) * 2 - 1
    return float(np.abs(ends).max())


def _outside(quantiles: Quantiles, dim: int, column: np.ndarray) -> float:
    return float(np.mean((column < quantiles.q01[dim]) | (column > quantiles.q99[dim])))


def _text(widen: Mapping[str, float] | None) -> str:
    return ', '.join(f'{name} {value:g}' for name, value in (widen or {}).items())

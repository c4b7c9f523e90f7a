"""Quantile normalisation of state and actions, with openpi's statistics file.

Values at the first and 99th percentile map to -1 and 1; nothing is clipped. `action_prev` is never
normalised and has no statistics.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from jaxtyping import Float

from restac_ros.whole_files import read_bounded_json

EPSILON = 1e-6
"""Added to every range, as in openpi."""

NARROW_RANGE = 1e-4
"""A dimension whose range (m, rad) is below this hardly moved: its normalised values are mostly noise."""

NOT_MEASURED = 'not measured'
"""How the source of a value begins that stands in for a measurement."""

_MAX_BYTES = 1 << 20


class NormStatsError(ValueError):
    """Statistics that cannot be used; the message names the entry, the value and what was expected."""


@dataclass(frozen=True)
class Quantiles:
    """Statistics of one vector, and the map to and from normalised values. D is its length."""

    q01: tuple[float, ...]
    q99: tuple[float, ...]
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        for name in ('q01', 'q99', 'mean', 'std'):
            values = getattr(self, name)
            if values is None:
                continue
            if len(values) != len(self.q01):
                raise NormStatsError(
                    f'{name}: found {len(values)} values, expected {len(self.q01)} as in q01'
                )
            if not np.isfinite(values).all():
                raise NormStatsError(f'{name}: found {list(values)}, expected finite numbers')
        for i, (low, high) in enumerate(zip(self.q01, self.q99, strict=True)):
            if high < low:
                raise NormStatsError(f'q99[{i}]: found {high}, expected at least q01[{i}] = {low}')

    def __len__(self) -> int:
        return len(self.q01)

    def normalize(self, values: Float[np.ndarray, '*batch D']) -> Float[np.ndarray, '*batch D']:
        """(x - q01) / (q99 - q01 + 1e-6) * 2 - 1, in float64, unclipped."""
        low, high = np.asarray(self.q01), np.asarray(self.q99)
        return (self._checked(values) - low) / (high - low + EPSILON) * 2.0 - 1.0

    def unnormalize(self, values: Float[np.ndarray, '*batch D']) -> Float[np.ndarray, '*batch D']:
        """Inverse of `normalize`."""
        low, high = np.asarray(self.q01), np.asarray(self.q99)
        return (self._checked(values) + 1.0) / 2.0 * (high - low + EPSILON) + low

    def narrow(self) -> tuple[int, ...]:
        """Dimensions whose range is below NARROW_RANGE."""
        ranges = np.subtract(self.q99, self.q01)
        return tuple(int(i) for i in np.flatnonzero(ranges < NARROW_RANGE))

    def _checked(self, values: np.ndarray) -> np.ndarray:
        values = np.asarray(values, np.float64)
        if values.shape[-1:] != (len(self),):
            raise NormStatsError(
                f'values: found shape {values.shape}, expected a last axis of {len(self)}, as the statistics'
            )
        return values


@dataclass(frozen=True)
class NormStats:
    """Statistics of state and (delta) actions; `source` names the data they were measured on."""

    state: Quantiles
    actions: Quantiles
    source: str = 'not stated'

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], where: str, dims: int | None = None) -> Self:
        """Read openpi's layout, {'norm_stats': {'state': {...}, 'actions': {...}}}.

        Args:
            data: the parsed JSON.
            where: file name for messages.
            dims: required length of both vectors.

        Raises:
            NormStatsError: missing quantiles, another length, or impossible values.
        """
        stats = data.get('norm_stats')
        if not isinstance(stats, Mapping) or not {'state', 'actions'} <= stats.keys():
            found = sorted(stats) if isinstance(stats, Mapping) else type(stats).__name__
            raise NormStatsError(f"{where}: norm_stats: found {found}, expected 'state' and 'actions'")
        parsed = {
            key: _quantiles(stats[key], f'{where}: norm_stats.{key}', dims) for key in ('state', 'actions')
        }
        return cls(**parsed, source=str(data.get('source', 'not stated')))

    def to_dict(self) -> dict[str, Any]:
        """openpi's layout, and the source beside it (which openpi ignores)."""
        return {
            'norm_stats': {'state': _entries(self.state), 'actions': _entries(self.actions)},
            'source': self.source,
        }

    def notes(self) -> list[str]:
        """One line per dimension that hardly moved in the data."""
        return [
            f'{key}[{i}] hardly moved in the training data: q99 - q01 = '
            f'{quantiles.q99[i] - quantiles.q01[i]:.2g}, below {NARROW_RANGE:g}; its normalised value is '
            'mostly noise'
            for key, quantiles in (('state', self.state), ('actions', self.actions))
            for i in quantiles.narrow()
        ]


def read_norm_stats(path: Path, dims: int | None = None) -> NormStats:
    """Read a norm_stats.json file.

    Raises:
        NormStatsError: no such file, too large, not JSON, or unusable statistics.
    """
    remedy = f'`restac-ros norm-stats DATASET --to {path}` writes it'
    data = read_bounded_json(path, _MAX_BYTES, NormStatsError, remedy=remedy)
    return NormStats.from_dict(data, str(path), dims)


def _quantiles(entry: Any, where: str, dims: int | None) -> Quantiles:
    if not isinstance(entry, Mapping) or entry.get('q01') is None or entry.get('q99') is None:
        found = sorted(entry) if isinstance(entry, Mapping) else type(entry).__name__
        raise NormStatsError(
            f'{where}: found {found}, expected q01 and q99; statistics without quantiles are of pi0'
        )
    columns = {}
    for name in ('q01', 'q99', 'mean', 'std'):
        values = entry.get(name)
        if values is None:
            continue
        numbers = isinstance(values, list) and all(
            isinstance(v, int | float) and not isinstance(v, bool) for v in values
        )
        if not numbers:
            raise NormStatsError(f'{where}.{name}: found {values!r}, expected a list of numbers')
        columns[name] = tuple(float(v) for v in values)
    if dims is not None and len(columns['q01']) != dims:
        raise NormStatsError(
            f'{where}: found {len(columns["q01"])} values, expected {dims} (position 3, rotation 3, gripper)'
        )
    try:
        return Quantiles(**columns)
    except NormStatsError as error:
        raise NormStatsError(f'{where}.{error}') from None


def _entries(quantiles: Quantiles) -> dict[str, list[float]]:
    columns = {name: getattr(quantiles, name) for name in ('mean', 'std', 'q01', 'q99')}
    return {name: list(values) for name, values in columns.items() if values is not None}

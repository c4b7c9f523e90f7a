"""What happened to each leaf when parameters were combined, as data and as a text table."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Literal, Self

from restac_ros.model.checkpoint.params import Leaf

LeafAction = Literal['loaded', 'kept', 'dropped']
"""loaded: from the source; kept: the model's own value; dropped: a leaf of the source without use."""


@dataclass(frozen=True)
class LeafRecord:
    """One row of the report."""

    name: str
    action: LeafAction
    shape: tuple[int, ...]
    dtype: str
    origin: str  # where the value came from, or why the leaf was dropped

    @property
    def size(self) -> int:
        """Number of values."""
        return prod(self.shape)


@dataclass(frozen=True)
class LoadReport:
    """All rows, in the order loaded, kept, dropped."""

    records: tuple[LeafRecord, ...]

    @classmethod
    def of(
        cls, params: Mapping[str, Leaf], origins: Mapping[str, str], dropped: Mapping[str, tuple[int, ...]]
    ) -> Self:
        """Report on merged parameters.

        Args:
            params: all leaves of the model.
            origins: file of the leaves that were loaded; the others were kept.
            dropped: leaves of the source without use, and their shapes.
        """
        loaded = [
            LeafRecord(name, 'loaded', leaf.shape, str(leaf.dtype), origins[name])
            for name, leaf in params.items()
            if name in origins
        ]
        kept = [
            LeafRecord(name, 'kept', leaf.shape, str(leaf.dtype), 'initial value')
            for name, leaf in params.items()
            if name not in origins
        ]
        unused = [LeafRecord(name, 'dropped', shape, '', 'no such leaf') for name, shape in dropped.items()]
        return cls((*loaded, *kept, *unused))

    def names(self, action: LeafAction) -> list[str]:
        """Leaves with this action."""
        return [record.name for record in self.records if record.action == action]

    def summary(self) -> str:
        """One line: leaves and values per action."""
        leaves = Counter(record.action for record in self.records)
        values: Counter[str] = Counter()
        for record in self.records:
            values[record.action] += record.size
        return ', '.join(
            f'{action} {leaves[action]} leaves ({values[action]:,} values)'
            for action in ('loaded', 'kept', 'dropped')
        )

    def rows(self) -> list[tuple[str, str, str, str, str]]:
        """Cells of the table: action, leaf, shape, dtype, origin."""
        return [
            (r.action, r.name, '×'.join(map(str, r.shape)) or 'scalar', r.dtype, r.origin)
            for r in self.records
        ]

    def table(self) -> str:
        """The rows under a header, aligned, and the summary."""
        rows = [('action', 'leaf', 'shape', 'dtype', 'origin'), *self.rows()]
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        lines = [
            '  '.join(
                [*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]]
            ).rstrip()
            for row in rows
        ]
        return '\n'.join([*lines, self.summary()])

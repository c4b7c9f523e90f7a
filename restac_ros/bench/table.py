"""Benchmarks' results: one table on the terminal, the same figures as JSON, missed targets in red."""

import json
import operator
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from rich.console import Console
from rich.table import Table

_RELATIONS = {'<': operator.lt, '<=': operator.le, '>': operator.gt, '>=': operator.ge}

type Row = tuple[str, str, str]
"""A figure's name, its value, its target ('' where there is none)."""


class Figure(NamedTuple):
    """A line of a benchmark's table; `good` where the target is met, or there is none."""

    name: str
    value: str
    target: str = ''
    good: bool = True

    def judged_if(self, holds: bool) -> 'Figure':
        """Return the same where its target holds, else without a target."""
        return self if holds else Figure(self.name, self.value)


def judged(
    name: str, value: float, relation: Literal['<', '<=', '>', '>='], limit: float, form: str
) -> Figure:
    """Return a figure whose target is a limit; `form`, such as '{:.1f} ms', tells both."""
    target = f'{relation} {form.format(limit)}'
    return Figure(name, form.format(value), target, _RELATIONS[relation](value, limit))


def finish(title: str, rows: Sequence[Figure], path: Path | None, figures: dict[str, Any]) -> int:
    """End a benchmark: print its table, write JSON if asked; return the exit status, 1 for a missed target.

    Args:
        title: of the table.
        rows: of the table.
        path: of the JSON; None: none is written.
        figures: to write; the missed targets are added to them.
    """
    missed = missed_targets(rows)
    show(title, [row[:3] for row in rows], missed)
    write_figures(path, figures | {'missed': missed})
    return 1 if missed else 0


def missed_targets(rows: Iterable[Figure]) -> list[str]:
    """Return the targets that are missed, in words."""
    return [f'{name}: {value}, expected {target}' for name, value, target, good in rows if not good]


def table_of(title: str, names: Sequence[str], figures: Sequence[str]) -> Table:
    """Return a table without rows: columns of names on the left, of figures aligned on the right."""
    table = Table(*names, title=title, title_justify='left')
    for heading in figures:
        table.add_column(heading, justify='right')
    return table


def show(title: str, rows: Iterable[Row], missed: Sequence[str]) -> None:
    """Print figures beside their targets, then every target that is missed."""
    table = table_of(title, ['figure'], ['measured', 'target'])
    for row in rows:
        table.add_row(*row)
    console = Console()
    console.print(table)
    show_missed(console, missed)


def show_missed(console: Console, missed: Iterable[str]) -> None:
    """Print every target that is missed."""
    for text in missed:
        console.print(f'missed: {text}', style='bold red', markup=False, soft_wrap=True)


def write_figures(path: Path | None, figures: dict[str, Any]) -> None:
    """Keep figures, if asked."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(figures, indent=2) + '\n', encoding='utf-8')

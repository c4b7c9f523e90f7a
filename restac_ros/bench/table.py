"""Benchmarks' results: one table on the terminal, the same figures as JSON, missed targets in red."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

type Row = tuple[str, str, str]
"""A figure's name, its value, its target ('' where there is none)."""


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
    for text in missed:
        console.print(f'missed: {text}', style='bold red', markup=False, soft_wrap=True)


def write_figures(path: Path | None, figures: dict[str, Any]) -> None:
    """Keep figures, if asked."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(figures, indent=2) + '\n', encoding='utf-8')

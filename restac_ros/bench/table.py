"""Benchmarks' results: one table on the terminal, the same figures as JSON, missed targets in red."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

type Row = tuple[str, str, str]
"""A figure's name, its value, its target ('' where there is none)."""


def show(title: str, rows: Iterable[Row], missed: Sequence[str]) -> None:
    """Print figures beside their targets, then every target that is missed."""
    table = Table('figure', title=title, title_justify='left')
    table.add_column('measured', justify='right')
    table.add_column('target', justify='right')
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

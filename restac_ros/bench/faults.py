"""Rehearses faults on a policy and a streamer: time to hold, reason on /diagnostics, recovery.

drill_node does the work, with a virtual arm or the simulated cell; here its outcomes become a table.
"""

import json
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from restac_ros.bench.settings import FaultsBench
from restac_ros.bench.table import table_of, write_figures
from restac_ros.installation import GraphError
from restac_ros.process import ParameterValue, Process, command
from restac_ros.supervise import environment


def main(settings: FaultsBench) -> int:
    """Run, print a table, write JSON if asked; 1 when a fault was not borne as it must be.

    Raises:
        GraphError: no such checkpoint, or the drill could not do its part.
    """
    size_px = (224, 224) if settings.source == 'sim' else (640, 480)  # the cell's are drawn in real time
    with tempfile.TemporaryDirectory(prefix='restac_ros_') as folder:
        summary = rehearse(settings, settings.directory or Path(folder), size_px=size_px)
    print_outcomes(summary['outcomes'])
    write_figures(settings.json, summary)
    return int(any(outcome['faults'] for outcome in summary['outcomes']))


def rehearse(
    settings: FaultsBench,
    directory: Path,
    *,
    size_px: tuple[int, int],
    compile_cache: Path | None = None,
) -> dict:
    """Run drill_node to its end and return its summary, with an outcome per case.

    Args:
        directory: for logs and messages.
        size_px: width and height of images.
        compile_cache: of the policy; None: under ~/.cache.

    Raises:
        GraphError: no such checkpoint, or the drill ended before it was through.
    """
    summary_file = directory / 'drill.json'
    parameters: dict[str, ParameterValue] = {
        'contract': str(settings.contract_file),
        'checkpoint': str(settings.existing_checkpoint()),
        'bag': str(settings.bag or ''),
        'arm': 'cell' if settings.source == 'sim' else 'virtual',
        'params': str(settings.params or ''),
        'cases': list(settings.cases),
        'compile_cache': str(compile_cache or ''),
        'directory': str(directory / 'drill'),
        'camera_width_px': size_px[0],
        'camera_height_px': size_px[1],
        'summary_file': str(summary_file),
    }
    line = command(Process('drill_node', parameters))
    status = subprocess.run(line, env=environment(publishes_sensor_topics=True), check=False).returncode
    summary = json.loads(summary_file.read_text(encoding='utf-8')) if summary_file.is_file() else {}
    if not summary.get('outcomes') or summary['problem']:
        problem = summary.get('problem') or 'its messages above say why'
        raise GraphError(f'drill_node ended with status {status} before it was through: {problem}')
    return summary


def print_outcomes(outcomes: Sequence[Mapping]) -> None:
    """Print a line per fault, and the failed checks below."""
    console = Console()
    table = table_of('faults, rehearsed', ('fault', 'then'), ('held ms', 'limit ms'))
    for name in ('on /diagnostics', 'in the log', 'recovered'):
        table.add_column(name, overflow='fold')
    for outcome in outcomes:
        table.add_row(
            escape(outcome['name']),
            outcome['expectation'],
            *('' if outcome[key] is None else f'{outcome[key]:.0f}' for key in ('held_ms', 'limit_ms')),
            escape(outcome['reason']),
            'yes' if outcome['logged'] else '[bold red]no[/]',
            'yes' if outcome['recovered'] else '[bold red]no[/]',
        )
    console.print(table)
    for outcome in outcomes:
        for fault in outcome['faults']:
            console.print(f'[bold red]{escape(outcome["name"])}[/]: {escape(fault)}', soft_wrap=True)
    failed = sum(bool(outcome['faults']) for outcome in outcomes)
    console.print(f'{len(outcomes) - failed} of {len(outcomes)} faults are borne as they must be')

"""`restac-ros doctor`: runs doctor_node as a process and prints its findings as a table."""

import json
import subprocess
import tempfile
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from restac_ros.commands.data import Doctor
from restac_ros.commands.paths import absolute
from restac_ros.commands.terminal import coloured, counted
from restac_ros.installation import config_file
from restac_ros.process import ParameterValue, Process, checked_remaps, full_namespace
from restac_ros.supervise import command


def run_doctor(asked: Doctor) -> int:
    """Listen, print the findings with their remedies, and write them as JSON if asked.

    Return the exit status: 0 healthy, 1 something is wrong, 2 the node could not do its work.
    """
    with tempfile.TemporaryDirectory(prefix='restac_ros_') as folder:
        summary_file = absolute(asked.json) or Path(folder) / 'doctor.json'
        summary_file.unlink(missing_ok=True)
        parameters: dict[str, ParameterValue] = {
            'contract': str(absolute(asked.contract) or config_file('contract.yaml')),
            'seconds': float(asked.seconds),
            'journal_dir': str(absolute(asked.journals or Path('runs'))),
            'summary_file': str(summary_file),
        }
        process = Process(
            'doctor_node',
            parameters,
            namespace=full_namespace(asked.namespace),
            remaps=checked_remaps(asked.remap),
        )
        status = subprocess.run(command(process), check=False).returncode
        summary = json.loads(summary_file.read_text(encoding='utf-8')) if summary_file.is_file() else {}
    if 'checks' not in summary:
        print(f'doctor_node ended with status {status} before it had listened, for the reason printed above')
        return 2
    print_checks(summary)
    return 0 if summary['healthy'] else 1


def print_checks(summary: dict, console: Console | None = None) -> None:
    """Print a line per finding, with its remedy."""
    console = console or Console()
    table = Table(title=f'{summary["contract"]}, {summary["seconds"]:.1f} s', title_justify='left')
    table.add_column('')
    table.add_column('what', no_wrap=True)
    table.add_column('found', overflow='fold', ratio=3)
    table.add_column('what mends it', overflow='fold', ratio=3)
    for check in summary['checks']:
        table.add_row(
            coloured(check['level']), *(escape(check[key]) for key in ('subject', 'found', 'remedy'))
        )
    console.print(table)
    levels = [check['level'] for check in summary['checks']]
    console.print(', '.join(counted(levels.count(level), level) for level in ('error', 'warning')))

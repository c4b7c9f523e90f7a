"""`restac-ros repair`: what is broken in a data set, on the terminal, and the mending of it."""

import shlex
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from restac_ros.dataset.repair.damage import Damage
from restac_ros.dataset.repair.examination import examine
from restac_ros.dataset.repair.leftovers import restore_interrupted

SHOWN_FILES = 10


def repair_dataset(root: Path, *, agreed: bool, console: Console | None = None) -> int:
    """Say what is broken and, when `agreed`, mend it; exit status 1 while something is broken.

    Raises:
        DatasetError: it is no v3.0 data set, is being written, or holds no whole episode.
    """
    console = console or Console()

    def say(text: str) -> None:
        console.print(escape(text), soft_wrap=True, highlight=False)

    if agreed and restore_interrupted(root):
        say(f'{root}: put back under its name, which an interrupted write had left without')
    damage = examine(root)
    if damage.is_fine:
        say(f'{root}: nothing is broken ({len(damage.whole)} episodes)')
        return 0
    for line in plan_lines(damage):
        say(line)
    if not agreed:
        say('Nothing was changed. To do this: the same command with --yes')
        return 1
    from restac_ros.dataset.repair.repair import repair  # loads torch

    aside = repair(damage)
    say(f'mended; what was replaced or left out is in {aside}, with a report.json')
    for lost in damage.lost:
        if lost.bag:
            again = shlex.join(['restac-ros', 'convert', lost.bag, '--to', str(root), '--task', lost.task])
            say(f'to have episode {lost.number} again: {again}')
    return 0


def plan_lines(damage: Damage) -> list[str]:
    """What is broken, and what would become of it."""
    lines = [f'{damage.root}: {len(damage.whole)} episodes are whole and stay as they are']
    for lost in damage.lost:
        origin = f', recorded in {lost.bag}' if lost.bag else ''
        lines.append(f'left out: episode {lost.number} "{lost.task}"{origin}')
        lines += [f'    {reason}' for reason in lost.reasons]
    lines += [f'mended: {fault}' for fault in damage.faults]
    paths = [*damage.leftovers, *damage.strays]
    lines += [f'moved aside: {path}' for path in paths[:SHOWN_FILES]]
    if len(paths) > SHOWN_FILES:
        lines.append(f'    and {len(paths) - SHOWN_FILES} more files')
    return lines

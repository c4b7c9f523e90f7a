"""`restac-ros repair`: examines a data set, prints the damage, and repairs it."""

import shlex
from functools import partial
from pathlib import Path

from rich.console import Console

from restac_ros.commands.terminal import counted, print_line
from restac_ros.dataset.repair.damage import DatasetDamage
from restac_ros.dataset.repair.examination import examine_dataset
from restac_ros.dataset.repair.leftovers import restore_interrupted

SHOWN_FILES = 10


def repair_dataset(root: Path, *, agreed: bool, console: Console | None = None) -> int:
    """Print the damage and, when `agreed`, repair it; exit status 1 while something is broken.

    Raises:
        DatasetError: it is no v3.0 data set, or is being written.
    """
    show = partial(print_line, console=console)
    if agreed and restore_interrupted(root):
        show(f'{root}: put back under its name after an interrupted write')
    damage = examine_dataset(root)
    if damage.is_fine:
        show(f'{root}: nothing is broken ({counted(len(damage.whole), "episode")})')
        return 0
    for line in plan_lines(damage, agreed=agreed):
        show(line)
    if not agreed or not damage.whole:
        show('Nothing was changed.' + (' To do this: the same command with --yes' if damage.whole else ''))
        return 1
    from restac_ros.dataset.repair.repair import repair  # loads torch

    aside = repair(damage)
    show(f'mended; what was replaced or left out is in {aside}, with a report.json')
    for lost in damage.lost:
        if again := lost.again(root):
            show(f'to append what was episode {lost.number} as a new one: {shlex.join(again)}')
    return 0


def plan_lines(damage: DatasetDamage, *, agreed: bool = False) -> list[str]:
    """Describe the damage and its repair, done or planned."""
    would = '' if agreed else 'would be '
    lines = [f'{damage.root}: {counted(len(damage.whole), "episode")} whole, to stay unchanged']
    for lost in damage.lost:
        origin = f', recorded in {lost.bag}' if lost.bag else ''
        verb = f'{would}left out' if damage.whole else 'broken'
        lines.append(f'{verb}: episode {lost.number} "{lost.task}"{origin}')
        lines += [f'    {reason}' for reason in lost.reasons]
    if damage.missing:
        lines.append(
            f'video files missing: {len(damage.missing)}. Bring them first if they exist elsewhere: a '
            'download may have left out large files (`git lfs pull`)'
        )
    if not damage.whole:
        return [*lines, 'No episode is whole, so nothing can be mended: restore the data set from a copy.']
    lines += [f'{would}mended: {fault}' for fault in damage.faults]
    paths = [*damage.leftovers, *damage.strays]
    lines += [f'{would}moved aside: {path}' for path in paths[:SHOWN_FILES]]
    if len(paths) > SHOWN_FILES:
        lines.append(f'    and {len(paths) - SHOWN_FILES} more files')
    return lines

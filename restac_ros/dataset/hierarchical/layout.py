"""Finds the runs in a folder of demonstrations: `task/subtask/run`, or `stageN/run`.

What a directory is follows from what it holds, not from its name alone: a camera folder called `run_cam`
makes no other layout of a data set.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from restac_ros.dataset.errors import DatasetError

RUN_ARRAYS, OLDER = ('actions.npy', 'qpos.npy'), 'data.txt'
IMAGE_ENDINGS = ('.png', '.jpg', '.jpeg')
_STAGE = re.compile(r'stage(\d+)')


@dataclass(frozen=True)
class DemonstrationRun:
    """One demonstration.

    Attributes:
        path: its directory.
        task: name of the task's directory; None in the layout by stages.
        subtask: name of the subtask's directory; None in the layout by stages.
        stage: number of the stage, from 1; None in the layout by tasks.
    """

    path: Path
    task: str | None = None
    subtask: str | None = None
    stage: int | None = None


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """Return a key that sorts names as people count: run2 before run10."""
    parts = re.findall(r'\d+|\D+', name)
    return tuple((0, int(part), '') if part.isdecimal() else (1, 0, part) for part in parts)


def find_runs(root: Path) -> list[DemonstrationRun]:
    """Return the runs under `root`, in natural order.

    Raises:
        DatasetError: there is none, both layouts are mixed, a stage has no number, or a directory that should
            be a run holds no numbers.
    """
    if not root.is_dir():
        raise DatasetError(f'{root}: no such directory, expected one of demonstrations')
    stages, tasks = ([run for run in _at_depth(root, depth) if is_run(run)] for depth in (2, 3))
    if stages and tasks:
        raise DatasetError(
            f'{root}: found runs in both layouts, {stages[0].relative_to(root)} and '
            f'{tasks[0].relative_to(root)}; expected stageN/run or task/subtask/run: import them apart'
        )
    if not stages and not tasks:
        raise DatasetError(
            f'{root}: found no run, expected directories stageN/run or task/subtask/run that hold '
            f'{" and ".join(RUN_ARRAYS)}, or {OLDER}'
        )
    beside = [path for path in _at_depth(root, 2 if stages else 3) if not is_run(path)]
    if beside:
        shown = ', '.join(str(path.relative_to(root)) for path in beside[:5])
        raise DatasetError(
            f'{root}: found neither {RUN_ARRAYS[0]} nor {OLDER} in {shown}, expected runs only: remove '
            f'{"it" if len(beside) == 1 else "them"}, or complete what was copied'
        )
    if stages:
        return [DemonstrationRun(path, stage=_stage(path.parent)) for path in stages]
    return [DemonstrationRun(path, path.parent.parent.name, path.parent.name) for path in tasks]


def is_run(path: Path) -> bool:
    """Return whether a directory holds the numbers of a demonstration."""
    return any((path / name).is_file() for name in (*RUN_ARRAYS, OLDER))


def folders(path: Path) -> list[Path]:
    """Return the directories in one, hidden ones left out, in natural order."""
    inside = [child for child in path.iterdir() if child.is_dir() and not child.name.startswith('.')]
    return sorted(inside, key=lambda child: natural(child.name))


def images_in(folder: Path) -> list[Path]:
    """Return the images in a directory, in natural order: frame 2 before frame 10."""
    found = [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_ENDINGS and path.is_file()]
    return sorted(found, key=lambda path: natural(path.name))


def _at_depth(root: Path, depth: int) -> Iterator[Path]:
    """Yield directories `depth` below; those inside a run are cameras."""
    if depth == 0:
        yield root
    elif not is_run(root):
        for folder in folders(root):
            yield from _at_depth(folder, depth - 1)


def _stage(folder: Path) -> int:
    found = _STAGE.fullmatch(folder.name)
    if not found or int(found[1]) < 1:
        raise DatasetError(
            f'{folder}: found a directory named {folder.name!r}, expected stage1, stage2, ...: a run two '
            'levels down is of a stage, one three levels down of a task and a subtask'
        )
    return int(found[1])

"""Data sets in the layouts of other programs, with progress on the terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from restac_ros.dataset.export_v21 import VERSION, export_v21


@contextmanager
def counting(verb: str) -> Iterator[Callable[[int, int], None]]:
    """A bar of episodes; yields f(done, total) that moves it."""
    columns = (TextColumn(verb), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, transient=True) as bars:
        task = bars.add_task('', total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


def export_dataset(dataset: Path, target: Path) -> int:
    """Export a data set and say how openpi finds it; exit status.

    Raises:
        DatasetError: it cannot be exported, or something else is at `target`.
    """
    with counting('exporting') as on_episode:
        episodes = export_v21(dataset, target, on_episode)
    plural = 's' * (episodes != 1)
    say = Console().print
    say(f'{escape(str(target))}: {episodes} episode{plural}, LeRobot {VERSION}', soft_wrap=True)
    place = f'HF_LEROBOT_HOME={target.parent} and repo_id {target.name!r}'
    say(escape(f'openpi reads it with {place}'), soft_wrap=True, highlight=False)
    return 0

"""Recordings into data sets, and unfinished recordings into whole ones, with progress on the terminal."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from restac_ros.commands.assessment import recording_contract
from restac_ros.contract.errors import ContractError
from restac_ros.dataset.bag_writer import PARTIAL
from restac_ros.dataset.convert import EpisodeReport, convert_episode
from restac_ros.dataset.errors import BagError, ConversionError, JournalError
from restac_ros.dataset.recovery import find_unfinished, recover


def convert_all(
    bags: Iterable[Path],
    dataset: Path,
    task: str | None,
    contract: Path | None,
    *,
    on_gap: Literal['refuse', 'longest_run'],
    allow_false_rate: bool,
) -> int:
    """Append an episode per bag, in the order given; exit status 1 when some were refused.

    A refused recording is named with the reason and does not stop the others. An interrupt leaves it
    with the episodes that are complete.

    Raises:
        DatasetError: the data set cannot take episodes; no later bag could change that.
    """
    refused = 0
    for bag in bags:
        try:
            report = _convert_one(bag, dataset, task, contract, on_gap, allow_false_rate)
        except (BagError, ContractError, ConversionError) as error:
            refused += 1
            Console(stderr=True).print(f'refused: {escape(str(error))}', soft_wrap=True, highlight=False)
        else:
            _print_report(report)
    return int(bool(refused))


def _convert_one(
    bag: Path,
    dataset: Path,
    task: str | None,
    contract: Path | None,
    on_gap: Literal['refuse', 'longest_run'],
    allow_false_rate: bool,
) -> EpisodeReport:
    columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, transient=True) as bars:
        bar = bars.add_task(f'{escape(bag.name)}: surveying', total=None)

        def advance(done: int, total: int) -> None:
            bars.update(bar, description=f'{escape(bag.name)}: frames', completed=done, total=total)

        return convert_episode(
            bag,
            recording_contract(bag, contract),
            dataset,
            task,
            advance,
            on_gap=on_gap,
            allow_false_rate=allow_false_rate,
        )


def _print_report(report: EpisodeReport) -> None:
    cut = report.trimmed_head + report.trimmed_tail
    trimmed = f', {cut} unusable at the ends left out' if cut else ''
    console = Console()
    console.print(
        f'{escape(report.bag)} -> episode {report.episode_index}: {report.rows} frames{trimmed}',
        soft_wrap=True,
        highlight=False,
    )
    for note in report.notes:
        console.print(f'  {escape(note)}', soft_wrap=True, highlight=False)


def recover_all(place: Path) -> int:
    """Recover one unfinished journal, or all in a directory; exit status 1 when one cannot be.

    Raises:
        FileNotFoundError: no such directory.
    """
    if not place.is_dir():
        raise FileNotFoundError(f'{place}: no such directory; name one of journals, or NAME{PARTIAL}')
    unfinished = [place] if place.suffix == PARTIAL else find_unfinished(place)
    if not unfinished:
        print(f'{place}: no unfinished recordings')
    failed = 0
    for partial in unfinished:
        try:
            recovered = recover(partial)
        except (BagError, JournalError) as error:
            failed += 1
            Console(stderr=True).print(
                f'not recovered: {escape(str(error))}', soft_wrap=True, highlight=False
            )
        else:
            lost = f'; cut off: {recovered.damage}' if recovered.damage else ''
            print(f'{recovered.path}: {recovered.messages} messages{lost}')
    return int(bool(failed))

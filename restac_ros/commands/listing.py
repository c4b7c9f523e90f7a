"""Lists recordings and data sets in a directory with task, length, state and verdict."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from restac_ros.commands.terminal import coloured, counted, print_line
from restac_ros.dataset.bag.bag_reader import open_bag
from restac_ros.dataset.bag.bag_writer import PARTIAL
from restac_ros.dataset.dataset_files import is_dataset, read_info
from restac_ros.dataset.dataset_tables import episode_rows
from restac_ros.dataset.episode_notes import converted_recordings
from restac_ros.dataset.errors import BagError, DatasetError
from restac_ros.dataset.fingerprint import fingerprint
from restac_ros.dataset.journal import read_notes
from restac_ros.dataset.quality.quality_file import read_verdicts
from restac_ros.dataset.recording_kind import conversion_refusal, holds_bag, kind_of
from restac_ros.dataset.recovery import is_being_written

_ASSESSED = ('bag', 'journal', 'data set', 'episode')


class ListEntry(NamedTuple):
    """One line of the list."""

    name: str
    kind: str
    task: str
    length: str
    state: str
    verdict: str


def print_list(directory: Path, console: Console) -> None:
    """Print the table of a directory; of a data set, its episodes.

    Raises:
        FileNotFoundError: there is no such directory.
        DatasetError: a data set, named itself, cannot be read.
    """
    if not directory.is_dir():
        raise FileNotFoundError(f'{directory}: no such directory')
    entries = list(_episodes(directory) if is_dataset(directory) else _inside(directory))
    if not entries:
        print_line(f'{directory}: neither recordings, data sets nor checkpoints', console)
        return
    table = Table()
    for heading in ListEntry._fields:  # a name is whole, or it names nothing
        table.add_column(heading, overflow='fold', no_wrap=heading in ('kind', 'length', 'verdict'))
    for entry in entries:
        table.add_row(*map(escape, entry[:-1]), coloured(entry.verdict) or '-')
    console.print(table)
    if any(not entry.verdict and entry.kind in _ASSESSED for entry in entries):
        print_line('verdict -: not assessed; `restac-ros quality PATH` does it', console)


def _inside(directory: Path) -> Iterator[ListEntry]:
    dataset = directory.with_name(directory.name.removesuffix('.journals'))
    held = converted_recordings(dataset) if dataset != directory else {}
    for path in sorted(directory.iterdir()):
        if path.name.startswith('.'):
            continue
        try:
            if is_dataset(path):
                yield _dataset(path)
            elif holds_bag(path):
                yield _recording(path, held, dataset)
            elif path.is_dir():
                yield from _other_directory(path)
        except (BagError, DatasetError, OSError) as error:
            yield ListEntry(path.name, 'damaged', '', '', str(error).removeprefix(f'{path}: ')[:60], '')


def _recording(path: Path, held: dict[str, int], dataset: Path) -> ListEntry:
    bag = open_bag(path)
    notes = read_notes(bag)
    length = '-'
    if bag.bounds_ns:
        length = f'{(bag.bounds_ns[1] - bag.bounds_ns[0]) / 1e9:.1f} s'
    state, reason = 'whole', conversion_refusal(path)
    if dataset != path.parent:
        state = f'no episode: {reason}' if reason else 'no episode'
    if path.name.endswith(PARTIAL):
        state = 'being recorded' if is_being_written(path) else 'unfinished: restac-ros recover'
    elif (index := _episode_of(path, held)) is not None:
        state = f'episode {index} of {dataset.name}'
    stretches = len(notes.segments)
    task = (notes.task or '') + (f' ({stretches} stretches)' if stretches > 1 else '')
    return ListEntry(path.name, kind_of(bag), task, length, state, read_verdicts(path).verdict)


def _other_directory(path: Path) -> Iterator[ListEntry]:
    """Yield a checkpoint, or a directory that holds what can be listed in its turn."""
    from restac_ros.model.checkpoint.store import MANIFEST  # loads jax

    if (path / MANIFEST).is_file():
        yield ListEntry(path.name, 'checkpoint', '', '', '`restac-ros info` describes it', '')
        return
    inside = [child for child in path.iterdir() if is_dataset(child) or holds_bag(child)]
    if inside:
        yield ListEntry(f'{path.name}/', 'directory', '', '', f'{len(inside)} inside, listed by its name', '')


def _episode_of(path: Path, held: dict[str, int]) -> int | None:
    """Return the episode that a recording became: of all of it, or of its first stretch."""
    identity = fingerprint(path) if held else ''
    found = [index for known, index in held.items() if known.partition(':')[0] == identity]
    return min(found, default=None)


def _dataset(path: Path) -> ListEntry:
    info = read_info(path)
    rows = episode_rows(path)
    tasks = sorted({task for row in rows.values() for task in row['tasks']})
    length_s = info['total_frames'] / info['fps']
    state = counted(info['total_episodes'], 'episode')
    shown = '; '.join(tasks[:3]) + ('; ...' if len(tasks) > 3 else '')
    return ListEntry(path.name, 'data set', shown, f'{length_s:.1f} s', state, read_verdicts(path).verdict)


def _episodes(root: Path) -> Iterator[ListEntry]:
    verdicts, fps = read_verdicts(root).episodes, read_info(root)['fps']
    recordings = {index: identity for identity, index in converted_recordings(root).items()}
    for index, row in sorted(episode_rows(root).items()):
        verdict = verdicts[index] if index < len(verdicts) else ''
        state = 'converted' if index in recordings else 'of unknown origin'
        length = f'{row["length"] / fps:.1f} s'
        yield ListEntry(str(index), 'episode', '; '.join(row['tasks']), length, state, verdict)

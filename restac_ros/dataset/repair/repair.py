"""Mends a LeRobot v3.0 data set: whole episodes stay, broken ones are moved aside, nothing is deleted.

LeRobot's `delete_episodes` is not used, as it encodes videos anew where episodes share a file: here videos
stay untouched, and the frames of an episode that is left out are merely named by none.
"""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from lerobot.datasets.compute_stats import aggregate_stats, compute_episode_stats
from lerobot.datasets.io_utils import load_stats, write_stats, write_tasks

from restac_ros.dataset.dataset_files import INFO, STATS, TASKS, made, write_description, write_info
from restac_ros.dataset.dataset_place import link_or_copy
from restac_ros.dataset.episode_notes import episode_notes, notes_path
from restac_ros.dataset.errors import DatasetError
from restac_ros.dataset.lerobot_access import open_dataset, private_cache
from restac_ros.dataset.repair.damage import DatasetDamage, Whole
from restac_ros.dataset.repair.damage_numbers import totals
from restac_ros.dataset.repair.damage_rows import NUMBERS, numbers_of
from restac_ros.dataset.repair.damage_video import copy_whole_part
from restac_ros.dataset.repair.whole import broken_parts
from restac_ros.dataset.table_writing import stored_stats, tasks_table, with_column, write_table
from restac_ros.dataset.transaction import directory_state, shards_lock, transaction, writing_lock

EPISODES = Path('meta', 'episodes', 'chunk-000', 'file-000.parquet')
Stats = dict[str, dict[str, np.ndarray]]


def repair(
    damage: DatasetDamage, purpose: str = 'repair', notes: Mapping[Path, dict[str, Any]] | None = None
) -> Path:
    """Mend the damage in one step; return the folder with all that was replaced or left out.

    The folder lies beside the data set as DATASET.`purpose`-N, holds these files under their old names, and a
    report.json. `notes` are JSON files (relative) to be written, too.

    Raises:
        DatasetError: no episode is whole, the data set was changed since it was examined, or the result does
            not read back. It is as before.
    """
    root = damage.root
    if not damage.whole:
        raise DatasetError(
            f'{root}: no episode is whole, so nothing would be left. It stays as it is: '
            'restore it from a copy, or convert the recordings again.'
        )
    aside = _free_name(root, purpose)
    with shards_lock(root):
        with writing_lock(root):
            _check_unchanged(damage)
            _move_aside(root, damage.leftovers, aside)
        with transaction(root, lambda _: False) as staging, private_cache():
            _check_unchanged(damage)
            touched = _Repair(damage, staging).run(notes or {})
            _verify(staging, damage)
            _keep_originals(damage, aside, touched)
    return aside


def _free_name(root: Path, purpose: str) -> Path:
    number = 1
    while (path := root.with_name(f'{root.name}.{purpose}-{number}')).exists():
        number += 1
    return path


def _check_unchanged(damage: DatasetDamage) -> None:
    """Refuse what another process has appended to, edited or replaced since the examination."""
    if directory_state(damage.root) != damage.state:
        raise DatasetError(
            f'{damage.root} was changed by another process since it was examined, and stays as that left it: '
            'give the command again'
        )


def _move_aside(root: Path, leftovers: list[Path], aside: Path) -> None:
    """Move leftovers beside the data set, which the transaction would remove."""
    for path in leftovers:
        if path.parent == root.parent:
            aside.mkdir(exist_ok=True)
            path.rename(aside / path.name.lstrip('.'))


class _Repair:
    """The steps, in a staging copy whose files are links to the originals: replaced, never written to."""

    def __init__(self, damage: DatasetDamage, staging: Path) -> None:
        self.damage, self.staging = damage, staging
        self.touched: set[Path] = set()
        self.in_file: dict[Path, list[Whole]] = defaultdict(list)
        for whole in damage.whole:
            self.in_file[whole.rows.file].append(whole)

    def run(self, notes: Mapping[Path, dict[str, Any]]) -> set[Path]:
        """Mend; return the relative paths of the files that were removed or replaced."""
        damage = self.damage
        for path in damage.strays:
            self._replace(path)
        for folder in damage.leftovers:
            if folder.parent == damage.root:
                self._remove_folder(folder)
        for file in damage.cut_videos:
            copy_whole_part(damage.root / file, self._replace(file))
        rewritten = [self._rewrite_rows(file) for file in self.in_file]
        if damage.tasks is not None:
            self._replace(TASKS)
            write_tasks(tasks_table(damage.tasks), self.staging)
        places_change = bool(damage.lost) or any(whole.changes for whole in damage.whole)
        if damage.stale_stats or places_change or any(rewritten):
            stats = [stats for file in self.in_file for stats in self._stats_in(file)]
            self._rewrite_abouts(stats)
            self._rewrite_stats(stats)
        self._renumber_descriptions()
        self._rewrite_info()
        for path, content in notes.items():
            write_description(self._replace(path), content)
        self._remove_empty()
        return self.touched

    def _replace(self, path: Path) -> Path:
        """Remove a file (relative), if there is one; return the path for its successor."""
        target = self.staging / path
        if target.exists():
            target.unlink()
            self.touched.add(path)
        return made(target)

    def _remove_folder(self, folder: Path) -> None:
        for path in sorted(folder.rglob('*')):
            if path.is_file():
                self._replace(path.relative_to(self.damage.root))

    def _rewrite_rows(self, file: Path) -> bool:
        """Drop lost episodes' rows from a data file and renew numbers; return whether that was needed."""
        wholes = self.in_file[file]
        kept_rows = sum(whole.rows.count for whole in wholes)
        if pq.read_metadata(self.staging / file).num_rows == kept_rows and all(map(self._stay, wholes)):
            return False
        table = pq.read_table(self.staging / file)
        pieces = [self._renewed(table.slice(whole.rows.first, whole.rows.count), whole) for whole in wholes]
        write_table(pa.concat_tables(pieces), self._replace(file), [whole.rows.count for whole in wholes])
        return True

    def _stay(self, whole: Whole) -> bool:
        """Return whether an episode's rows are right as they are."""
        rows, numbers = whole.rows, self.damage.numbers
        return (
            (rows.number, rows.start_index) == (whole.number, whole.start)
            and not rows.renew
            and all(numbers[task] == task for task in rows.task_numbers)
        )

    def _renewed(self, table: pa.Table, whole: Whole) -> pa.Table:
        rows = np.arange(whole.rows.count)
        tasks = [self.damage.numbers[task] for task in table['task_index'].to_pylist()]
        columns: dict[str, Any] = {
            'episode_index': np.full(whole.rows.count, whole.number),
            'index': whole.start + rows,
            'task_index': tasks,
        }
        if 'frame_index' in whole.rows.renew:
            columns['frame_index'] = rows
        if 'timestamp' in whole.rows.renew:
            columns['timestamp'] = rows / self.damage.info['fps']
        for name, values in columns.items():
            table = with_column(table, name, values)
        return table

    def _stats_in(self, file: Path) -> list[Stats]:
        """Return the statistics of the episodes in a data file: of numbers anew, of pictures as they were."""
        wholes = self.in_file[file]
        features = self.damage.info['features']
        known = {name.split('/')[1] for name in wholes[0].about.column_names if name.startswith('stats/')}
        keys = [key for key in features if key in known and features[key]['dtype'].startswith(NUMBERS)]
        table = pq.read_table(self.staging / file, columns=keys)
        found, first = [], 0
        for whole in wholes:
            part = table.slice(first, whole.rows.count)
            arrays = {key: _rows_of(part[key], whole.rows.count, features[key]['shape']) for key in keys}
            others = sorted((known - set(keys)) & set(features))
            pictures = {key: stored_stats(whole.about, key, features[key]) for key in others}
            found.append(compute_episode_stats(arrays, features) | {k: v for k, v in pictures.items() if v})
            first += whole.rows.count
        return found

    def _rewrite_abouts(self, stats: list[Stats]) -> None:
        """Write all rows of meta/episodes, corrected, into one file."""
        pieces = []
        for whole, episode in zip(self.damage.whole, stats, strict=True):
            values = {**whole.changes, 'meta/episodes/chunk_index': 0, 'meta/episodes/file_index': 0}
            for key, kinds in episode.items():
                if self.damage.info['features'][key]['dtype'].startswith(NUMBERS):
                    values |= {f'stats/{key}/{kind}': value.tolist() for kind, value in kinds.items()}
            table = whole.about
            for name, value in values.items():
                if name in table.column_names:
                    table = with_column(table, name, [value])
            pieces.append(table)
        for path in sorted((self.staging / 'meta' / 'episodes').rglob('*.parquet')):
            self._replace(path.relative_to(self.staging))
        write_table(pa.concat_tables(pieces, promote_options='permissive'), self._replace(EPISODES))

    def _rewrite_stats(self, stats: list[Stats]) -> None:
        """Write LeRobot's aggregate; columns that only the old file has keep their statistics."""
        try:
            old = load_stats(self.staging) or {}
        except ValueError:  # damaged
            old = {}
        features = self.damage.info['features']
        kept = {key: value for key, value in old.items() if key in features}
        self._replace(STATS)
        write_stats(kept | aggregate_stats(stats), self.staging)

    def _renumber_descriptions(self) -> None:
        """Store our notes of each episode under its new number."""
        renumbered = {}
        for whole in self.damage.whole:
            if whole.number != whole.rows.number and (
                notes := episode_notes(self.staging, whole.rows.number)
            ):
                renumbered[whole.number] = {**notes, 'episode_index': whole.number}
                self._replace(notes_path(whole.rows.number))
        for number, notes in renumbered.items():
            write_description(self._replace(notes_path(number)), notes)

    def _rewrite_info(self) -> None:
        wanted = {**self.damage.info, **totals(self.damage)}
        if wanted != self.damage.info:
            self._replace(INFO)
            write_info(self.staging, wanted)

    def _remove_empty(self) -> None:
        for path in sorted(self.staging.rglob('*'), reverse=True):
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()


def _rows_of(column: pa.ChunkedArray, rows: int, shape: list[int]) -> np.ndarray:
    """Return a column's values as LeRobot's statistics need them: [rows], or [rows, *shape]."""
    return numbers_of(column).reshape(rows if tuple(shape) == (1,) else (rows, *shape))


def _verify(staging: Path, damage: DatasetDamage) -> None:
    """Check that nothing is broken any more, and that LeRobot reads both ends of every episode."""
    if found := broken_parts(staging):
        raise _not_mended(damage, found)
    dataset = open_dataset(staging)
    for whole in damage.whole:
        for row in (whole.start, whole.start + whole.rows.count - 1):
            try:
                item = dataset[row]
            except (OSError, ValueError, RuntimeError, IndexError) as error:  # of three libraries
                why = f'episode {whole.rows.number} cannot be decoded ({error})'
                raise _not_mended(damage, why) from error
            if (item['episode_index'], item['index']) != (whole.number, row):
                other = f'row {item["index"]} of episode {item["episode_index"]}'
                raise _not_mended(damage, f'row {row} is read back as {other}')


def _not_mended(damage: DatasetDamage, why: str) -> DatasetError:
    return DatasetError(f'{damage.root} could not be mended, and is as it was: {why}')


def _keep_originals(damage: DatasetDamage, aside: Path, touched: set[Path]) -> None:
    """Put links to the files that will be gone, and a report, beside the data set."""
    for path in touched:
        link_or_copy(damage.root / path, made(aside / path))
    aside.mkdir(exist_ok=True)
    write_description(
        aside / 'report.json',
        {
            'dataset': str(damage.root),
            'left_out': [lost._asdict() for lost in damage.lost],
            'mended': damage.faults,
            'new_numbers': {str(whole.rows.number): whole.number for whole in damage.whole},
            'files': sorted(map(str, touched)),
        },
    )

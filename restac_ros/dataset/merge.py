"""Appends an episode of one data set to another as if it had been written there.

Only numbers change: rows, episodes, tasks and files are counted on from the data set's last, statistics are
aggregated by LeRobot's function. Videos are hard links where they can be; none is encoded anew.
"""

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from lerobot.datasets.compute_stats import aggregate_stats
from lerobot.datasets.io_utils import load_stats, load_tasks, write_stats, write_tasks

from restac_ros.contract.load import load_contract
from restac_ros.dataset.dataset_files import (
    ABOUT,
    CONVERSION,
    STATS,
    TASKS,
    check_appendable,
    check_usable,
    data_file,
    dataset_contract,
    made,
    own_video,
    read_info,
    read_json,
    streams_of,
    video_file,
    video_for,
    video_keys,
    write_description,
    write_info,
)
from restac_ros.dataset.dataset_place import dataset_place, link_or_copy
from restac_ros.dataset.episode_notes import episode_notes, notes_path
from restac_ros.dataset.errors import DatasetError
from restac_ros.dataset.features import action_prev_key
from restac_ros.dataset.language import has_language, with_words, write_words
from restac_ros.dataset.table_writing import (
    stored_stats,
    tasks_table,
    with_column,
    with_renamed,
    write_table,
)
from restac_ros.dataset.transaction import transaction
from restac_ros.dataset.video.episode_video import video_part
from restac_ros.dataset.video.video_cut import cut_video
from restac_ros.dataset.writer import REWRITTEN

MOVING = {'min', 'max', 'mean', 'q01', 'q10', 'q50', 'q90', 'q99'}  # statistics that an offset moves
EPISODES_PATH = 'meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet'


class ColumnsDifferError(DatasetError):
    """A shard was made with other optional images than the data set has."""


class EpisodeSource:
    """One episode of a whole data set, to be appended to another.

    `about` is its row in meta/episodes, `sharing` counts the episodes of each video file.
    """

    def __init__(self, root: Path, info: dict[str, Any], about: pa.Table, sharing: Counter[Path]) -> None:
        self.root, self.info, self.about, self.sharing = root, info, about, sharing
        self.row: dict[str, Any] = about.to_pylist()[0]
        self.index: int = self.row['episode_index']
        self.task: str = self.row['tasks'][0]

    def rows(self) -> pa.Table:
        """Read the episode's rows.

        Raises:
            DatasetError: they have several tasks.
        """
        path = data_file(self.root, self.info, self.row)
        table = pq.read_table(path, filters=pc.field('episode_index') == self.index)
        tasks = max(len(self.row['tasks']), len(pc.unique(table['task_index'])))
        if tasks != 1:
            raise DatasetError(f'{self.root}: episode {self.index} has {tasks} tasks, not one')
        return table

    def copy_video(self, key: str, target: Path) -> bool:
        """Make a video file of the episode alone at `target`; return whether it was cut out of a shared one.

        Raises:
            DatasetError: the episode's frames cannot be cut out.
        """
        source, begin_s, end_s = video_part(self.root, self.info, key, self.row)
        if self.sharing[source] == 1:
            link_or_copy(source, target)
            return False
        if (frames := cut_video(source, target, begin_s, end_s)) != self.row['length']:
            raise DatasetError(f'{source}: {frames} frames were cut out for {self.row["length"]} rows')
        return True

    def stats(self) -> dict[str, dict[str, np.ndarray]]:
        """Return the statistics of the episode's columns."""
        keys = sorted({name.split('/')[1] for name in self.about.column_names if name.startswith('stats/')})
        return {key: stored_stats(self.about, key, self.info['features'][key]) for key in keys}


def episode_sources(root: Path) -> list[EpisodeSource]:
    """Return the episodes of a whole data set, in order."""
    info = read_info(root)
    tables = [pq.read_table(path) for path in sorted(root.glob('meta/episodes/*/*.parquet'))]
    abouts = [table.slice(row, 1) for table in tables for row in range(table.num_rows)]
    sharing: Counter[Path] = Counter()
    sources = [EpisodeSource(root, info, about, sharing) for about in abouts]
    sharing.update(video_file(root, info, key, source.row) for source in sources for key in video_keys(info))
    return sources


def append_shard(root: Path, shard: Path) -> int:
    """Append the one episode of `shard`, which becomes unusable, to a data set; return its number there.

    Whatever stops it leaves `root` as it was.

    Raises:
        ColumnsDifferError: convert the recording again, with the data set's columns.
        DatasetError: it cannot be appended, or another process writes it.
    """
    root = dataset_place(root)
    [source] = episode_sources(shard)
    with transaction(root, REWRITTEN.__contains__) as staging:
        if staging.exists():
            check_fits(root, staging, shard)
            return append_episode(root, staging, source)
        shutil.copytree(shard, staging, copy_function=link_or_copy)
        (staging / notes_path(0)).unlink()  # a link to the shard's
        _write_notes(root, staging, source, 0)
        return 0


def check_fits(root: Path, staging: Path, source: Path) -> None:
    """Check that episodes of `source` can be appended to the data set at `root`, under way at `staging`.

    Raises:
        ColumnsDifferError: they have other optional images.
        DatasetError: they differ in another way.
    """
    check_usable(root)
    contract = dataset_contract(source)
    streams = streams_of(source, contract)
    if streams_of(staging, contract) != streams:
        raise ColumnsDifferError(f'{root} has other optional images than {source}')
    check_appendable(staging, contract, streams)
    video_for(staging, own_video(source))


def begin_like(source: Path, staging: Path) -> None:
    """Make a data set of the same kind as `source`, without episodes."""
    write_info(staging, {**read_info(source), 'total_episodes': 0, 'total_frames': 0})
    for name in ('contract.yaml', CONVERSION):
        link_or_copy(source / ABOUT / name, made(staging / ABOUT / name))


def append_episode(root: Path, staging: Path, source: EpisodeSource) -> int:
    """Append an episode in a transaction on `root`, under way at `staging`; return its number.

    Raises:
        DatasetError: a file that the episode would get exists already, or its video cannot be cut out.
    """
    index = _Append(staging, source).run()
    _write_notes(root, staging, source, index)
    return index


class _Append:
    """The steps of one append into a staging copy of the data set."""

    def __init__(self, staging: Path, source: EpisodeSource) -> None:
        self.staging, self.source = staging, source
        self.info = read_info(staging)
        self.index: int = self.info['total_episodes']
        self.theirs = action_prev_key(source.info['features'])
        self.ours = action_prev_key(self.info['features'])
        self.about = with_renamed(source.about, self.theirs, self.ours)
        names = [name for name in self.about.column_names if name.endswith(('/chunk_index', '/file_index'))]
        self.kinds = sorted({name.rpartition('/')[0] for name in names})
        described = sorted(staging.glob('meta/episodes/*/*.parquet'))
        last = pq.read_table(described[-1], columns=names).to_pylist()[-1] if described else None
        self.places = {kind: self._place_after(kind, last) for kind in self.kinds}

    def run(self) -> int:
        rows = self._worded(with_renamed(self.source.rows(), self.theirs, self.ours))
        numbers = {'episode_index': self.index, 'index': self.info['total_frames']}
        numbers['task_index'] = self._append_task()
        offsets = {column: number - rows[column][0].as_py() for column, number in numbers.items()}
        for column, offset in offsets.items():
            rows = with_column(rows, column, np.array(rows[column]) + offset)
        write_table(self._arranged(rows, 'data'), self._free('data', self.info['data_path']))
        self._append_about(offsets)
        stats = self.source.stats()
        stats[self.ours] = stats.pop(self.theirs)
        for column, offset in offsets.items():
            for name in stats[column].keys() & MOVING:
                stats[column][name] = stats[column][name] + offset
        old = load_stats(self.staging)
        write_stats(aggregate_stats([*([old] if old else []), stats]), self.staging)
        write_description(self.staging / STATS, read_json(self.staging / STATS))
        self.info['total_episodes'] += 1
        self.info['total_frames'] += rows.num_rows
        self.info['splits'] = {'train': f'0:{self.info["total_episodes"]}'}
        write_info(self.staging, self.info)
        return self.index

    def _worded(self, rows: pa.Table) -> pa.Table:
        """Return the rows with language columns where source or data set has them: then both get them."""
        ours, theirs = (has_language(info) for info in (self.info, self.source.info))
        if theirs and not ours:
            write_words(self.staging, {})
            self.info = read_info(self.staging)
        return with_words(rows, {}) if ours and not theirs else rows

    def _append_task(self) -> int:
        """Return the number of the episode's task in the data set; add the task where it is new."""
        task = self.source.task
        tasks = load_tasks(self.staging) if (self.staging / TASKS).is_file() else tasks_table([task])
        if task not in tasks.index:
            tasks.loc[task] = len(tasks)
        write_tasks(tasks, self.staging)
        self.info['total_tasks'] = len(tasks)
        return int(tasks.loc[task, 'task_index'])

    def _append_about(self, offsets: dict[str, int]) -> None:
        """Write the videos, and the episode's row of metadata; statistics of counters move on."""
        first, length = self.info['total_frames'], self.source.row['length']
        values: dict[str, Any] = {
            'episode_index': self.index,
            'dataset_from_index': first,
            'dataset_to_index': first + length,
        }
        for kind, (chunk, file) in self.places.items():
            values |= {f'{kind}/chunk_index': chunk, f'{kind}/file_index': file}
        for key in video_keys(self.info):
            target = self._free(f'videos/{key}', self.info['video_path'], video_key=key)
            if self.source.copy_video(key, target):
                ends_s = {'from': 0.0, 'to': length / self.info['fps']}
                values |= {f'videos/{key}/{end}_timestamp': time_s for end, time_s in ends_s.items()}
        table = self.about
        for column, offset in offsets.items():
            for name in (f'stats/{column}/{kind}' for kind in MOVING):
                if name in table.column_names:
                    values[name] = (np.array(table[name].to_pylist()[0]) + offset).tolist()
        for name, value in values.items():
            table = with_column(table, name, [value])
        write_table(self._arranged(table, 'meta/episodes'), self._free('meta/episodes', EPISODES_PATH))

    def _arranged(self, table: pa.Table, folder: str) -> pa.Table:
        """Return the columns that the data set's tables in `folder` have, in their order."""
        others = sorted(self.staging.glob(f'{folder}/*/*.parquet'))
        names = pq.read_schema(others[-1]).names if others else table.column_names
        if missing := sorted(set(names) - set(table.column_names)):
            lacks = f'{self.source.root / folder} lacks {", ".join(missing)}'
            raise DatasetError(f'{lacks}, which the data set has')
        return table.select(names)

    def _place_after(self, kind: str, last: dict[str, int] | None) -> tuple[int, int]:
        """Return chunk and number of the file after the data set's last of a kind."""
        if last is None:
            return 0, 0
        chunk, file = last[f'{kind}/chunk_index'], last[f'{kind}/file_index']
        return (chunk + 1, 0) if file == self.info['chunks_size'] - 1 else (chunk, file + 1)

    def _free(self, kind: str, path_format: str, **names: str) -> Path:
        """Return the path of that file, which must not exist."""
        chunk, file = self.places[kind]
        path = self.staging / path_format.format(chunk_index=chunk, file_index=file, **names)
        if path.exists():
            raise DatasetError(
                f'{path} exists, but no episode names it: the data set is damaged. '
                'Mend it with `restac-ros repair`.'
            )
        return made(path)


def _write_notes(root: Path, staging: Path, source: EpisodeSource, index: int) -> None:
    """Note what is known of the episode under its number, as part of the data set that now holds it."""
    notes = episode_notes(source.root, source.index) or {'task': source.task}
    ours, theirs = (load_contract(folder / ABOUT / 'contract.yaml') for folder in (staging, source.root))
    notes |= {'dataset': str(root), 'episode_index': index, 'contract_differences': ours.differences(theirs)}
    write_description(made(staging / notes_path(index)), notes)

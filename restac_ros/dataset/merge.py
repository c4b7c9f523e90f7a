"""Appends a data set of one episode, a shard, to another as if its episode had been written there.

Only numbers change: rows, episodes, tasks and files are counted on from the data set's last, statistics are
aggregated by LeRobot's function. Videos move by hard link where they can, so that their size takes no time.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from lerobot.datasets.compute_stats import aggregate_stats
from lerobot.datasets.io_utils import load_stats, load_tasks, write_stats, write_tasks

from restac_ros.contract.load import load_contract
from restac_ros.dataset.dataset_files import (
    ABOUT,
    check_appendable,
    dataset_contract,
    is_dataset,
    read_info,
    streams_of,
    video_for,
    write_description,
)
from restac_ros.dataset.dataset_place import dataset_place, link_or_copy
from restac_ros.dataset.errors import DatasetError
from restac_ros.dataset.features import action_prev_key
from restac_ros.dataset.table_writing import with_column, with_renamed, write_table
from restac_ros.dataset.transaction import transaction
from restac_ros.dataset.writer import REWRITTEN

MOVING = {'min', 'max', 'mean', 'q01', 'q10', 'q50', 'q90', 'q99'}  # statistics that an offset moves


class ColumnsDifferError(DatasetError):
    """A shard was made with other optional images than the data set has."""


def append_shard(root: Path, shard: Path) -> int:
    """Append the one episode of `shard`, which becomes unusable, to the data set at `root`; its number there.

    Whatever stops it leaves `root` as it was.

    Raises:
        ColumnsDifferError: convert the recording again, with the data set's columns.
        DatasetError: the data set cannot take it, or another process writes it.
    """
    root = dataset_place(root)
    with transaction(root, REWRITTEN.__contains__) as staging:
        return append_to_staging(root, staging, shard)


def append_to_staging(root: Path, staging: Path, shard: Path) -> int:
    """The same in a transaction on `root`, under way at `staging`."""
    contract = dataset_contract(shard)
    streams = streams_of(shard, contract)
    index = 0
    if not staging.exists():
        shutil.copytree(shard, staging, copy_function=link_or_copy)
    elif not is_dataset(staging):
        raise DatasetError(f'{root} is neither empty nor a LeRobot data set. Choose another.')
    else:
        if streams_of(staging, contract) != streams:
            raise ColumnsDifferError(f'{root} has other optional images than {shard}')
        check_appendable(staging, contract, streams)
        video_for(staging, video_for(shard, None))
        index = _Append(staging, shard).run()
    _move_description(root, staging, shard, index)
    return index


class _Append:
    """The steps of one append into a staging copy of the data set."""

    def __init__(self, staging: Path, shard: Path) -> None:
        self.staging, self.shard = staging, shard
        self.info, self.added = read_info(staging), read_info(shard)
        self.index: int = self.info['total_episodes']
        self.row: int = self.info['total_frames']
        self.theirs = action_prev_key(self.added['features'])
        self.about = self._named(pq.read_table(_only(shard, 'meta/episodes')))
        last = pq.read_table(max(staging.glob('meta/episodes/*/*.parquet')), columns=self._place_columns())
        self.last = {name: values[-1] for name, values in last.to_pydict().items()}

    def run(self) -> int:
        task_index = self._append_task()
        self._append_rows(task_index)
        for key, feature in self.added['features'].items():
            if feature['dtype'] == 'video':
                target = self._free('videos/' + key, self.info['video_path'], video_key=key)
                link_or_copy(_only(self.shard, f'videos/{key}', 'mp4'), target)
        offsets = {'episode_index': self.index, 'index': self.row, 'task_index': task_index}
        self._append_about(offsets)
        added = load_stats(self.shard)
        added[action_prev_key(self.info['features'])] = added.pop(self.theirs)
        for column, offset in offsets.items():
            for name in added[column].keys() & MOVING:
                added[column][name] = added[column][name] + offset
        write_stats(aggregate_stats([load_stats(self.staging), added]), self.staging)
        statistics = json.loads((self.staging / 'meta' / 'stats.json').read_text(encoding='utf-8'))
        write_description(self.staging / 'meta' / 'stats.json', statistics)
        self._count()
        return self.index

    def _named(self, table: pa.Table) -> pa.Table:
        """A table of the shard with the data set's name of action_prev."""
        return with_renamed(table, self.theirs, action_prev_key(self.info['features']))

    def _append_task(self) -> int:
        """The number of the shard's task in the data set, where it is added if need be."""
        (task,) = load_tasks(self.shard).index
        tasks = load_tasks(self.staging)
        if task not in tasks.index:
            tasks.loc[task] = len(tasks)
            write_tasks(tasks, self.staging)
        self.info['total_tasks'] = len(tasks)
        return int(tasks.loc[task, 'task_index'])

    def _append_rows(self, task_index: int) -> None:
        table = self._named(pq.read_table(_only(self.shard, 'data')))
        rows = table.num_rows
        table = with_column(table, 'episode_index', np.full(rows, self.index))
        table = with_column(table, 'index', np.arange(self.row, self.row + rows))
        table = with_column(table, 'task_index', np.full(rows, task_index))
        write_table(self._arranged(table, 'data'), self._free('data', self.info['data_path']))

    def _append_about(self, offsets: dict[str, int]) -> None:
        """The episode's row of metadata, with the numbers of its files; statistics of counters move on."""
        path_format = 'meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet'
        path = self._free('meta/episodes', path_format)
        rows = self.added['total_frames']
        values = {
            'episode_index': self.index,
            'dataset_from_index': self.row,
            'dataset_to_index': self.row + rows,
        }
        for name in self._place_columns():
            if name.endswith('/chunk_index'):
                kind = name.removesuffix('/chunk_index')
                values[name], values[f'{kind}/file_index'] = self._place(kind)
        table = self.about
        for column, offset in offsets.items():
            for name in (f'stats/{column}/{kind}' for kind in sorted(MOVING)):
                values[name] = (np.array(table[name].to_pylist()[0]) + offset).tolist()
        for name, value in values.items():
            table = with_column(table, name, [value])
        write_table(self._arranged(table, 'meta/episodes'), path)

    def _arranged(self, table: pa.Table, folder: str) -> pa.Table:
        """The columns of a table of the shard that the data set's have there, in their order."""
        names = pq.read_schema(max(self.staging.glob(f'{folder}/*/*.parquet'))).names
        if missing := sorted(set(names) - set(table.column_names)):
            raise DatasetError(f'{self.shard / folder} lacks {", ".join(missing)}, which the data set has')
        return table.select(names)

    def _count(self) -> None:
        self.info['total_episodes'] += 1
        self.info['total_frames'] += self.added['total_frames']
        self.info['splits'] = {'train': f'0:{self.info["total_episodes"]}'}
        text = json.dumps(self.info, indent=4, ensure_ascii=False)
        (self.staging / 'meta' / 'info.json').write_text(text, encoding='utf-8')

    def _place_columns(self) -> list[str]:
        return [name for name in self.about.column_names if name.endswith(('/chunk_index', '/file_index'))]

    def _place(self, kind: str) -> tuple[int, int]:
        """Chunk and number of the file after the data set's last of a kind."""
        chunk, file = self.last[f'{kind}/chunk_index'], self.last[f'{kind}/file_index']
        return (chunk + 1, 0) if file == self.info['chunks_size'] - 1 else (chunk, file + 1)

    def _free(self, kind: str, path_format: str, **names: str) -> Path:
        """The path of that file, which must not exist."""
        chunk, file = self._place(kind)
        path = self.staging / path_format.format(chunk_index=chunk, file_index=file, **names)
        if path.exists():
            raise DatasetError(
                f'{path} exists, but no episode names it: the data set is damaged. '
                'Mend it with `restac-ros repair`.'
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def _move_description(root: Path, staging: Path, shard: Path, index: int) -> None:
    """What is known of the episode, under its number and as part of the data set that now holds it."""
    (source,) = (shard / ABOUT / 'episodes').glob('*.json')
    about = json.loads(source.read_text(encoding='utf-8'))
    ours, theirs = (load_contract(folder / ABOUT / 'contract.yaml') for folder in (staging, shard))
    about |= {'dataset': str(root), 'episode_index': index, 'contract_differences': ours.differences(theirs)}
    target = staging / ABOUT / 'episodes' / f'episode_{index:06d}.json'
    target.unlink(missing_ok=True)  # in a new data set a link to the shard's
    write_description(target, about)


def _only(shard: Path, folder: str, ending: str = 'parquet') -> Path:
    found = list((shard / folder).glob(f'*/*.{ending}'))
    if len(found) != 1:
        raise DatasetError(f'{shard / folder} holds {len(found)} files, not the one of a single episode')
    return found[0]

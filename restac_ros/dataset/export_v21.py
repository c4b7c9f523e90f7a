"""Exports a LeRobot v3.0 data set to the layout of v2.1, as openpi reads it: files per episode.

Nothing is decoded or encoded anew: rows and images are the same bytes, videos hard links where they can be.
"""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from restac_ros.dataset.dataset_files import (
    ABOUT,
    CHUNK_EPISODES,
    CODEBASE_VERSION,
    CONVERSION,
    EARLIER_VERSION,
    LANGUAGE,
    data_file,
    made,
    read_info,
    read_json,
    video_file,
    video_keys,
)
from restac_ros.dataset.dataset_place import dataset_place, link_or_copy, remove_directory
from restac_ros.dataset.dataset_tables import check_unmoved, episode_rows, episode_statistics, task_rows
from restac_ros.dataset.episode_notes import notes_path
from restac_ros.dataset.errors import DatasetError
from restac_ros.dataset.table_writing import with_notes, write_table
from restac_ros.dataset.transaction import transaction
from restac_ros.dataset.video.episode_video import video_part
from restac_ros.dataset.video.video_cut import cut_video, frame_count
from restac_ros.git_lfs import pointer_fault

DATA_PATH = 'data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet'
VIDEO_PATH = 'videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4'
NEEDED_FACTS = ('total_episodes', 'features', 'data_path', 'video_path')
EPISODE_FACTS = ('episode_index', 'tasks', 'length')
STATISTICS = ('min', 'max', 'mean', 'std', 'count')
NOT_IN_V21 = ('data_files_size_in_mb', 'video_files_size_in_mb')
ORIGIN = ABOUT / 'export.json'  # marks a directory that the next export may replace

OnEpisode = Callable[[int, int], None]


def export_v21(source: Path, target: Path, on_episode: OnEpisode | None = None) -> int:
    """Write the data set at `source` to `target`, replacing an earlier export; return its number of episodes.

    `on_episode(done, total)` counts. Whatever stops it leaves `target` as it was. Episodes that are appended
    to `source` meanwhile are left to the next export; whoever moves those that are there ends it.

    Raises:
        DatasetError: there is no data set of v3.0, it is damaged, or something else is at `target`.
        OSError: the disk refuses.
    """
    source, target = dataset_place(source), dataset_place(target)
    info = _checked_info(source)
    _check_target(source, target)
    with transaction(target, lambda _: False) as staging:
        _check_target(source, target)  # another process may have taken the place until it was locked
        remove_directory(staging)  # links to the earlier export
        export = _Export(source, staging, info)
        for done in range(1, export.total + 1):
            export.add(done - 1)
            if on_episode:
                on_episode(done, export.total)
        export.finish()
        check_unmoved(source, export.rows)
    return export.total


def _checked_info(source: Path) -> dict[str, Any]:
    info = read_info(source)
    if (version := info.get('codebase_version')) != CODEBASE_VERSION:
        raise DatasetError(f'{source} is LeRobot {version}; {EARLIER_VERSION} is made of {CODEBASE_VERSION}.')
    if missing := [key for key in NEEDED_FACTS if key not in info]:
        raise DatasetError(f'{source}/meta/info.json lacks {", ".join(missing)}. Restore it from a copy.')
    if not info['total_episodes']:
        raise DatasetError(f'{source} holds no episode. Convert a recording into it first.')
    return info


def _check_target(source: Path, target: Path) -> None:
    if target == source or source in target.parents or target in source.parents:
        raise DatasetError(f'{target} and {source} overlap. Export to a directory beside it.')
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    origin = target / ORIGIN
    made_of = read_json(origin).get('source') if origin.is_file() else None
    if made_of != str(source):
        what = f'an export of {made_of}' if made_of else 'something else than an export'
        raise DatasetError(f'{target} holds {what}. Export to another directory.')


class _Export:
    """The steps into a directory that does not exist yet."""

    def __init__(self, source: Path, target: Path, info: dict[str, Any]) -> None:
        self.source, self.target, self.info = source, target, info
        self.total: int = info['total_episodes']
        self.rows, self.statistics = episode_rows(source), episode_statistics(source, STATISTICS)
        self.videos = video_keys(info)
        self.sharing = Counter(
            video_file(source, info, key, row) for row in self.rows.values() for key in self.videos
        )
        self._table: tuple[Path, pa.Table] | None = None

    def add(self, index: int) -> None:
        """Write an episode's rows and videos."""
        if index not in self.rows or index not in self.statistics:
            raise DatasetError(f'{self.source}: meta/episodes does not list episode {index}. Restore it.')
        row = self.rows[index]
        place = {'episode_chunk': index // CHUNK_EPISODES, 'episode_index': index}
        path = made(self.target / DATA_PATH.format(**place))
        write_table(self._rows_of(row), path)
        for key in self.videos:
            video = made(self.target / VIDEO_PATH.format(**place, video_key=key))
            origin, begin_s, end_s = video_part(self.source, self.info, key, row)
            if fault := pointer_fault(origin) or ('' if origin.is_file() else 'is missing: bring the videos'):
                raise DatasetError(f'{origin} {fault}. `restac-ros repair` lists what else is broken.')
            if self.sharing[origin] == 1:
                link_or_copy(origin, video)
                frames = frame_count(origin)
            else:
                frames = cut_video(origin, video, begin_s, end_s)
            if frames != row['length']:
                raise DatasetError(
                    f'{origin}: {frames} frames of episode {index}, which has '
                    f'{row["length"]} rows. `restac-ros repair` mends data sets.'
                )

    def finish(self) -> None:
        """Write the descriptions of the episodes."""
        meta, indices = self.target / 'meta', range(self.total)
        _write_json(meta / 'info.json', self._info())
        tasks = sorted(task_rows(self.source).items())
        _write_lines(meta / 'tasks.jsonl', ({'task_index': index, 'task': task} for index, task in tasks))
        _write_lines(
            meta / 'episodes.jsonl',
            ({key: self.rows[index][key] for key in EPISODE_FACTS} for index in indices),
        )
        _write_lines(
            meta / 'episodes_stats.jsonl',
            ({'episode_index': index, 'stats': self.statistics[index]} for index in indices),
        )
        for path in (ABOUT / 'contract.yaml', ABOUT / CONVERSION, *map(notes_path, indices)):
            if (self.source / path).is_file():
                shutil.copy2(self.source / path, made(self.target / path))
        _write_json(self.target / ORIGIN, {'source': str(self.source), 'version': EARLIER_VERSION})

    def _info(self) -> dict[str, Any]:
        features = {
            key: {name: value for name, value in feature.items() if name != 'fps'}
            for key, feature in self.info['features'].items()
            if key not in LANGUAGE  # which LeRobot had not invented yet
        }
        kept = {key: value for key, value in self.info.items() if key not in NOT_IN_V21}
        return kept | {
            'codebase_version': EARLIER_VERSION,
            'features': features,
            'total_frames': sum(self.rows[index]['length'] for index in range(self.total)),
            'total_videos': self.total * len(self.videos),
            'total_chunks': -(-self.total // CHUNK_EPISODES),
            'chunks_size': CHUNK_EPISODES,
            'splits': {'train': f'0:{self.total}'},
            'data_path': DATA_PATH,
            'video_path': VIDEO_PATH if self.videos else None,
        }

    def _rows_of(self, row: dict[str, Any]) -> pa.Table:
        """Return an episode's rows, typed for the version of `datasets` that readers of v2.1 use."""
        path = data_file(self.source, self.info, row)
        if self._table is None or self._table[0] != path:
            self._table = path, _read_table(path)
        table = self._table[1]
        kept = [name for name in table.column_names if name not in LANGUAGE]
        table = with_notes(table.select(kept), {}, LANGUAGE)
        rows = table.filter(pc.equal(table['episode_index'], row['episode_index']))
        if rows.num_rows != row['length']:
            raise DatasetError(
                f'{path}: {rows.num_rows} rows of episode {row["episode_index"]}, which has {row["length"]}.'
            )
        about = json.loads((table.schema.metadata or {}).get(b'huggingface', b'{}'))
        return rows.replace_schema_metadata({b'huggingface': json.dumps(_as_sequences(about)).encode()})


def _read_table(path: Path) -> pa.Table:
    try:
        return pq.read_table(path)
    except pa.ArrowException as error:
        fault = pointer_fault(path) or f'cannot be read: {error}. `restac-ros repair` mends data sets.'
        raise DatasetError(f'{path} {fault}') from error


def _as_sequences(about: Any) -> Any:
    """Return feature types by their names before version 4 of `datasets`, which all versions read."""
    if isinstance(about, list):
        return [_as_sequences(value) for value in about]
    if not isinstance(about, dict):
        return about
    return {
        key: 'Sequence' if key == '_type' and value == 'List' else _as_sequences(value)
        for key, value in about.items()
    }


def _write_json(path: Path, value: dict[str, Any]) -> None:
    made(path).write_text(json.dumps(value, indent=4, ensure_ascii=False) + '\n', encoding='utf-8')


def _write_lines(path: Path, values: Iterable[dict[str, Any]]) -> None:
    lines = (json.dumps(value, ensure_ascii=False) + '\n' for value in values)
    path.write_text(''.join(lines), encoding='utf-8')

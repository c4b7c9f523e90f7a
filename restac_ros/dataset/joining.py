"""Several data sets become one: every episode is appended as a conversion would, no video is encoded anew."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from lerobot.datasets.io_utils import write_stats, write_tasks

from restac_ros.dataset.dataset_files import (
    ABOUT,
    CONVERSION,
    check_appendable,
    dataset_contract,
    streams_of,
    write_description,
)
from restac_ros.dataset.dataset_place import dataset_place, link_or_copy, remove_directory
from restac_ros.dataset.errors import DatasetError
from restac_ros.dataset.export_v21 import OnEpisode
from restac_ros.dataset.fingerprint import converted_recordings
from restac_ros.dataset.merge import MOVING, append_to_staging
from restac_ros.dataset.repair.damage import DatasetDamage, Whole
from restac_ros.dataset.repair.examination import examine_dataset, window_of
from restac_ros.dataset.repair.repair import stored_stats
from restac_ros.dataset.shards import shards_folder
from restac_ros.dataset.table_writing import with_column, write_table
from restac_ros.dataset.transaction import transaction
from restac_ros.dataset.video.video_cut import cut_video
from restac_ros.dataset.writer import REWRITTEN


def join_datasets(sources: Sequence[Path], target: Path, on_episode: OnEpisode | None = None) -> int:
    """Append all episodes of `sources`, in their order, to the data set at `target`; how many it then has.

    `target` is created if need be; the sources stay as they are. Whatever stops it leaves `target` as it was.

    Raises:
        DatasetError: a source is broken or does not fit, or two hold the same recording.
    """
    target, sources = dataset_place(target), [dataset_place(source) for source in sources]
    if target in sources or len(set(sources)) < len(sources):
        raise DatasetError('merge needs different data sets, and a target besides them')
    damages = [_examined(source) for source in sources]
    _check_recordings([*sources, target])
    total, done, index = sum(len(damage.whole) for damage in damages), 0, -1
    with shards_folder(target) as folder, transaction(target, REWRITTEN.__contains__) as staging:
        for damage in damages:
            for whole in damage.whole:
                shard = folder / 'data'
                _make_shard(damage, whole, shard)
                index = append_to_staging(target, staging, shard)
                remove_directory(shard)
                done += 1
                if on_episode:
                    on_episode(done, total)
    return index + 1


def _examined(source: Path) -> DatasetDamage:
    contract = dataset_contract(source)
    damage = examine_dataset(source)
    if not damage.is_fine:
        raise DatasetError(f'{source} is broken. First mend it: `restac-ros repair {source}`')
    check_appendable(source, contract, streams_of(source, contract))
    return damage


def _check_recordings(roots: Sequence[Path]) -> None:
    """No recording may be in two of the data sets."""
    seen: dict[str, str] = {}
    for root in roots:
        for identity, index in converted_recordings(root).items():
            here = f'episode {index} of {root}'
            if identity in seen:
                raise DatasetError(
                    f'{seen[identity]} and {here} are the same recording. Take one out: `restac-ros delete`'
                )
            seen[identity] = here


def _make_shard(damage: DatasetDamage, whole: Whole, shard: Path) -> None:
    """One episode as a data set of its own, numbered from 0."""
    about, rows, features = whole.about, whole.rows, damage.info['features']
    said = about.to_pylist()[0]
    if len(said['tasks']) != 1 or len(rows.task_numbers) != 1:
        raise DatasetError(f'{damage.root}: episode {rows.number} has {len(said["tasks"])} tasks, not one')
    numbers = {
        'episode_index': rows.number,
        'index': said['dataset_from_index'],
        'task_index': rows.task_numbers[0],
    }
    table = pq.read_table(damage.root / rows.file, filters=pc.field('episode_index') == rows.number)
    for column, number in numbers.items():
        table = with_column(table, column, np.array(table[column]) - number)
    places: dict[str, Any] = {'episode_index': 0, 'dataset_from_index': 0, 'dataset_to_index': rows.count}
    for name in about.column_names:
        if name.endswith(('/chunk_index', '/file_index')):
            places[name] = 0
    for key in [key for key, feature in features.items() if feature['dtype'] == 'video']:
        _copy_video(damage, about, key, rows.count, _made(shard / 'videos' / key / 'chunk-000/file-000.mp4'))
        ends = {'from_timestamp': 0.0, 'to_timestamp': rows.count / damage.info['fps']}
        places |= {f'videos/{key}/{name}': time_s for name, time_s in ends.items()}
    stats = {
        key: stored_stats(about, key, damage.info['features'][key]) for key in _columns_with_stats(about)
    }
    for column, number in numbers.items():
        for kind in stats.get(column, {}).keys() & MOVING:
            stats[column][kind] = stats[column][kind] - number
            places[f'stats/{column}/{kind}'] = stats[column][kind].tolist()
    for name, value in places.items():
        about = with_column(about, name, [value])
    write_table(table, _made(shard / 'data/chunk-000/file-000.parquet'))
    write_table(about, _made(shard / 'meta/episodes/chunk-000/file-000.parquet'))
    write_stats(stats, shard)
    write_tasks(pa.table({'task': said['tasks'], 'task_index': [0]}).to_pandas().set_index('task'), shard)
    totals = {'total_episodes': 1, 'total_frames': rows.count, 'total_tasks': 1, 'splits': {'train': '0:1'}}
    text = json.dumps({**damage.info, **totals}, indent=4, ensure_ascii=False)
    (shard / 'meta' / 'info.json').write_text(text, encoding='utf-8')
    for name in ('contract.yaml', CONVERSION):
        link_or_copy(damage.root / ABOUT / name, _made(shard / ABOUT / name))
    described = damage.root / ABOUT / 'episodes' / f'episode_{rows.number:06d}.json'
    known = (
        json.loads(described.read_text(encoding='utf-8'))
        if described.is_file()
        else {'task': said['tasks'][0]}
    )
    write_description(_made(shard / ABOUT / 'episodes/episode_000000.json'), known)


def _copy_video(damage: DatasetDamage, about: pa.Table, key: str, rows: int, target: Path) -> None:
    """An episode's video: the same file where it has one of its own, else its part of the shared one."""
    file, first, _ = window_of(damage.info, key, about)
    shared = sum(window_of(damage.info, key, other.about)[0] == file for other in damage.whole) > 1
    if not shared:
        link_or_copy(damage.root / file, target)
        return
    fps = damage.info['fps']
    frames = cut_video(damage.root / file, target, first / fps, (first + rows) / fps)
    if frames != rows:
        raise DatasetError(f'{damage.root / file}: {frames} frames were cut out for {rows} rows')


def _columns_with_stats(about: pa.Table) -> list[str]:
    return sorted({name.split('/')[1] for name in about.column_names if name.startswith('stats/')})


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path

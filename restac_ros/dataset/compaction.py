"""Puts many episodes into each file of a data set, as LeRobot v3.0 intends; no row or image changes.

A conversion writes a file per episode and camera, so that episodes can be made by many workers and appended
without copying. Thousands of small files are slow on network disks: rows are copied, and videos joined packet
by packet.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from restac_ros.dataset.dataset_files import data_file, made, read_info, video_file, video_keys
from restac_ros.dataset.dataset_place import dataset_place, remove_directory
from restac_ros.dataset.errors import DatasetError
from restac_ros.dataset.merge import EPISODES_PATH, EpisodeSource, episode_sources
from restac_ros.dataset.repair.whole import broken_parts, check_whole
from restac_ros.dataset.table_writing import with_column, write_table
from restac_ros.dataset.transaction import shards_lock, transaction
from restac_ros.dataset.video.episode_video import video_part
from restac_ros.dataset.video.video_cut import frame_count, join_videos
from restac_ros.dataset.writer import REWRITTEN

ROWS_MB, VIDEO_MB = 100, 200
"""Most that a file of rows and a video holds where the data set does not say; LeRobot's own defaults."""

_FOLDERS = ('data', 'videos', 'meta/episodes')


class Compacted(NamedTuple):
    """Files of rows, videos and descriptions of episodes before and after."""

    before: int
    after: int


def compact_dataset(
    root: Path,
    rows_mb: float | None = None,
    video_mb: float | None = None,
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> Compacted:
    """Put consecutive episodes of a whole data set into common files, of at most these sizes, 10^6 bytes.

    Sizes default to the data set's own. Whatever stops it leaves the data set as it was. As long as it lasts,
    the disk holds the data set twice, and nothing can be appended. `on_step(done, total)` counts episodes and
    cameras.

    Raises:
        DatasetError: it is broken, another process writes it, or a video cannot be joined.
    """
    root = dataset_place(root)
    read_info(root)  # refuses what is no data set before the copy is made
    with shards_lock(root), transaction(root, REWRITTEN.__contains__) as staging:
        check_whole(root, staging)
        # The files stay where they are in `root`, which nobody can write now, while the copy's are replaced.
        info, sources = read_info(staging), episode_sources(root)
        rows_mb = rows_mb or float(info.get('data_files_size_in_mb', ROWS_MB))
        video_mb = video_mb or float(info.get('video_files_size_in_mb', VIDEO_MB))
        plan, before = _Plan(info, sources, rows_mb, video_mb), _count_files(staging)
        if plan.files == before:
            remove_directory(staging)
            return Compacted(before, before)
        steps = _Steps(len(sources) * (1 + len(plan.videos)), on_step)
        for folder in _FOLDERS:
            remove_directory(staging / folder)
        described = [source.about for source in sources]
        _put_rows(info, sources, described, plan.rows, staging, steps)
        for key, groups in plan.videos.items():
            _put_videos(info, sources, described, key, groups, staging, steps)
        _put_descriptions(info, described, plan.descriptions, staging)
        after = _count_files(staging)
        if found := broken_parts(staging):
            raise DatasetError(f'{root} could not be compacted, and is as it was: {found}')
    return Compacted(before, after)


class _Plan:
    """Which episodes share a file of rows, a video of each camera, and a file of descriptions."""

    def __init__(
        self, info: dict[str, Any], sources: Sequence[EpisodeSource], rows_mb: float, video_mb: float
    ) -> None:
        paths = [data_file(source.root, info, source.row) for source in sources]
        rows = [
            path.stat().st_size * source.row['length'] / pq.read_metadata(path).num_rows
            for path, source in zip(paths, sources, strict=True)
        ]
        self.rows = _groups(rows, rows_mb)
        self.videos = {key: _groups(_video_sizes(sources, key), video_mb) for key in video_keys(info)}
        self.descriptions = _groups([source.about.nbytes for source in sources], rows_mb)

    @property
    def files(self) -> int:
        """Number of files."""
        return sum(map(len, [self.rows, *self.videos.values(), self.descriptions]))


def _video_sizes(sources: Sequence[EpisodeSource], key: str) -> list[float]:
    """Bytes of each episode's part of its video, by its share of the frames."""
    files = [video_file(source.root, source.info, key, source.row) for source in sources]
    counts = {path: frame_count(path) for path in dict.fromkeys(files)}
    return [
        path.stat().st_size * source.row['length'] / counts[path]
        for path, source in zip(files, sources, strict=True)
    ]


class _Steps:
    def __init__(self, total: int, report: Callable[[int, int], None]) -> None:
        self._done, self._total, self._report = 0, total, report

    def add(self, count: int) -> None:
        self._done += count
        self._report(self._done, self._total)


def _count_files(root: Path) -> int:
    return sum(path.is_file() for folder in _FOLDERS for path in root.glob(f'{folder}/**/*'))


def _put_rows(
    info: dict[str, Any],
    sources: Sequence[EpisodeSource],
    described: list[pa.Table],
    groups: list[list[int]],
    staging: Path,
    steps: _Steps,
) -> None:
    for number, group in enumerate(groups):
        tables = [sources[episode].rows() for episode in group]
        place = _place(info, number)
        path = made(staging / info['data_path'].format(chunk_index=place[0], file_index=place[1]))
        write_table(pa.concat_tables(tables), path, [table.num_rows for table in tables])
        for episode in group:
            described[episode] = _placed(described[episode], 'data', place)
        steps.add(len(group))


def _put_videos(
    info: dict[str, Any],
    sources: Sequence[EpisodeSource],
    described: list[pa.Table],
    key: str,
    groups: list[list[int]],
    staging: Path,
    steps: _Steps,
) -> None:
    fps = info['fps']
    parts = [video_part(source.root, source.info, key, source.row) for source in sources]
    lengths = [source.row['length'] for source in sources]
    for number, group in enumerate(groups):
        place = _place(info, number)
        names = {'video_key': key, 'chunk_index': place[0], 'file_index': place[1]}
        path = made(staging / info['video_path'].format(**names))
        counts = join_videos([parts[episode] for episode in group], path, fps)
        first = 0
        for episode, count in zip(group, counts, strict=True):
            if count != lengths[episode]:
                found = f'{count} frames for {lengths[episode]} rows of episode {episode}'
                raise DatasetError(f'{parts[episode].path}: {found}')
            ends_s = {'from': first / fps, 'to': (first + count) / fps}
            table = _placed(described[episode], f'videos/{key}', place)
            for end, time_s in ends_s.items():
                table = with_column(table, f'videos/{key}/{end}_timestamp', [time_s])
            described[episode] = table
            first += count
        steps.add(len(group))


def _put_descriptions(
    info: dict[str, Any], described: Sequence[pa.Table], groups: list[list[int]], staging: Path
) -> None:
    for number, group in enumerate(groups):
        place = _place(info, number)
        tables = [_placed(described[episode], 'meta/episodes', place) for episode in group]
        path = made(staging / EPISODES_PATH.format(chunk_index=place[0], file_index=place[1]))
        write_table(pa.concat_tables(tables, promote_options='permissive'), path)


def _groups(sizes: Sequence[float], most_mb: float) -> list[list[int]]:
    """Return runs of items that together have at most `most_mb`; one that alone has more is alone."""
    groups: list[list[int]] = []
    filled = 0.0
    for number, size in enumerate(sizes):
        if groups and filled + size <= most_mb * 1e6:
            groups[-1].append(number)
            filled += size
        else:
            groups.append([number])
            filled = size
    return groups


def _place(info: dict[str, Any], number: int) -> tuple[int, int]:
    """Return chunk and number in it of the file of this number."""
    return divmod(number, info['chunks_size'])


def _placed(table: pa.Table, kind: str, place: tuple[int, int]) -> pa.Table:
    """Return an episode's description with another place of its file."""
    for name, value in zip(('chunk_index', 'file_index'), place, strict=True):
        table = with_column(table, f'{kind}/{name}', [value])
    return table

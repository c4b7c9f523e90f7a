"""The numbers and pictures of a LeRobot data set, v3.0 or v2.1, in memory and indexed by (episode, frame)."""

import hashlib
import json
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float32, Int64

from restac_ros.dataset.dataset_files import CODEBASE_VERSION, EARLIER_VERSION, read_info
from restac_ros.dataset.dataset_tables import episode_rows, task_rows
from restac_ros.dataset.language import has_language
from restac_ros.training.data.subtasks import NO_SUBTASK, read_subtasks
from restac_ros.training.errors import TrainingError

VERSIONS = (CODEBASE_VERSION, EARLIER_VERSION)
REPAIR_ADVICE = '`restac-ros repair` says what is broken'
_COPY = f'copy the data set again, or {REPAIR_ADVICE}'
_PICTURES_AT_ONCE = 256
_MOST_NAMED = 10  # episodes in a message
_KEYS = ('episode_index', 'frame_index', 'task_index')


@dataclass(frozen=True)
class EpisodeRows:
    """One episode's rows: `first` is its first row in the columns, `length` the number of its frames."""

    index: int
    first: int
    length: int
    tasks: tuple[str, ...]
    described: Mapping[str, Any]  # its row of meta/episodes: where its videos lie


@dataclass(frozen=True)
class Tables:
    """Columns of a data set, rows sorted by (episode, frame).

    Attributes:
        root: directory of the data set.
        info: meta/info.json.
        spans: episodes by index.
        numbers: float32 [N, D] by column name.
        tasks: task text by row's task index.
        task_of_row: int64 [N].
        subtasks: texts of subtasks, in words.
        subtask_of_row: int64 [N], number of the subtask that each row is part of, -1 where none is stated.
        place_of_row: int64 [N], where each row stands in the files, read one after another.
    """

    root: Path
    info: Mapping[str, Any]
    spans: Mapping[int, EpisodeRows]
    numbers: Mapping[str, Float32[np.ndarray, 'N D']]
    tasks: Mapping[int, str]
    task_of_row: Int64[np.ndarray, ' N']
    subtasks: Sequence[str]
    subtask_of_row: Int64[np.ndarray, ' N']
    place_of_row: Int64[np.ndarray, ' N']

    @property
    def fps(self) -> int:
        """Frames per second of the data set."""
        return int(self.info['fps'])

    def place(self, row: int) -> str:
        """Name a row by episode and frame, for messages."""
        span = next(span for span in self.spans.values() if span.first <= row < span.first + span.length)
        return f'episode {span.index}, frame {row - span.first}'

    def subtask(self, row: int) -> str | None:
        """Return the subtask that a row is part of, in words; None where none is stated."""
        number = int(self.subtask_of_row[row])
        return None if number == NO_SUBTASK else self.subtasks[number]

    def digest(self) -> str:
        """SHA-256 (hex) of all numbers, tasks and feature declarations: all but the pixels."""
        total = hashlib.sha256(json.dumps(self.info['features'], sort_keys=True).encode())
        for name in sorted(self.numbers):
            total.update(name.encode())
            total.update(np.ascontiguousarray(self.numbers[name]).tobytes())
        total.update(self.task_of_row.tobytes())
        total.update(json.dumps({str(key): text for key, text in sorted(self.tasks.items())}).encode())
        if self.subtasks:
            total.update(json.dumps(list(self.subtasks)).encode())
            total.update(self.subtask_of_row.tobytes())
        return total.hexdigest()


def read_tables(root: Path, columns: Mapping[str, int]) -> Tables:
    """Read the named number columns, each of a given width, of all episodes; no image is read.

    Raises:
        TrainingError: not a LeRobot data set of a version that is known; a column, rows or episodes missing;
            NaN.
        DatasetError: its files are damaged.
    """
    info = read_info(root)
    if (version := info.get('codebase_version')) not in VERSIONS:
        raise TrainingError(f'{root}: found LeRobot {version}, expected one of {", ".join(VERSIONS)}')
    parts: dict[str, list[np.ndarray]] = {name: [] for name in (*_KEYS, *columns)}
    for path in data_files(root):
        for name, values in _read_columns(path, columns).items():
            parts[name].append(values)
    if not parts['episode_index']:
        raise TrainingError(f'{root}: no rows in data/: record or convert episodes first')
    merged = {name: np.concatenate(values) for name, values in parts.items()}
    order = np.lexsort((merged['frame_index'], merged['episode_index']))
    merged = {name: values[order] for name, values in merged.items()}
    spans = _spans(root, info, merged['episode_index'], merged['frame_index'])
    numbers = {name: merged[name] for name in columns}
    tasks = task_rows(root)
    if unknown := sorted(set(np.unique(merged['task_index']).tolist()) - set(tasks)):
        raise TrainingError(
            f'{root}: task_index: found {unknown}, expected some of {list(tasks)}; {REPAIR_ADVICE}'
        )
    subtasks, subtask_of_row = read_subtasks(data_files(root), order) if has_language(info) else ((), None)
    if subtask_of_row is None:
        subtask_of_row = np.full(len(order), NO_SUBTASK)
    tables = Tables(root, info, spans, numbers, tasks, merged['task_index'], subtasks, subtask_of_row, order)
    _check_finite(tables)
    return tables


def data_files(root: Path) -> list[Path]:
    """The Parquet files of rows."""
    return sorted((root / 'data').glob('*/*.parquet'))


def read_pictures(root: Path, column: str) -> pa.ChunkedArray:
    """Encoded pictures of an image column in the order of the files; see `Tables.place_of_row`.

    They are copied to a temporary file without a name and mapped from there: the system holds in memory what
    is read often, and drops it when others need the room.

    Raises:
        TrainingError: a file cannot be read, or there is no room for the temporary one.
    """
    schema = pa.schema([(column, pa.binary())])
    try:
        with tempfile.NamedTemporaryFile(prefix='restac-pictures-') as spool:
            with pa.ipc.new_file(spool.name, schema) as sink:
                for path in data_files(root):
                    for pictures in _encoded_pictures(path, column):
                        sink.write_batch(pa.record_batch([pictures], schema=schema))
            return pa.ipc.open_file(pa.memory_map(spool.name)).read_all()[column]
    except OSError as error:
        raise TrainingError(
            f'{tempfile.gettempdir()}: the pictures of {root} cannot be copied there: {error}; make room, or '
            'name another directory as TMPDIR'
        ) from error


def _encoded_pictures(path: Path, column: str) -> Iterator[pa.Array]:
    """Pictures of one file, a few at a time."""
    try:
        with pq.ParquetFile(path, memory_map=True) as file:
            for batch in file.iter_batches(_PICTURES_AT_ONCE, columns=[column]):
                yield batch[column].field('bytes')
    except (pa.ArrowException, OSError, KeyError) as error:
        raise TrainingError(f'{path}: column {column} cannot be read: {error}') from error


def _read_columns(path: Path, columns: Mapping[str, int]) -> dict[str, np.ndarray]:
    try:
        table = pq.read_table(path, columns=[*_KEYS, *columns])
    except (pa.ArrowException, OSError, KeyError) as error:
        raise TrainingError(f'{path} cannot be read: {error}') from error
    missing = [name for name in (*_KEYS, *columns) if name not in table.column_names]
    if missing:
        raise TrainingError(
            f'{path}: found no column {", ".join(missing)}; it has {", ".join(table.column_names)}'
        )
    read = {name: table[name].combine_chunks().to_numpy(zero_copy_only=False) for name in _KEYS}
    for name, width in columns.items():
        values = table[name].combine_chunks()
        flat = values.flatten() if pa.types.is_nested(values.type) else values
        array = np.asarray(flat.to_numpy(zero_copy_only=False), np.float32)
        if array.size != len(table) * width:
            raise TrainingError(
                f'{path}: column {name}: found {array.size / max(len(table), 1):g} numbers a row, '
                f'expected {width}'
            )
        read[name] = array.reshape(len(table), width)
    return read


def _spans(
    root: Path, info: Mapping[str, Any], episodes: np.ndarray, frames: np.ndarray
) -> dict[int, EpisodeRows]:
    described = episode_rows(root)
    indices, firsts, lengths = np.unique(episodes, return_index=True, return_counts=True)
    spans = {}
    for index, first, length in zip(indices.tolist(), firsts.tolist(), lengths.tolist(), strict=True):
        if not np.array_equal(frames[first : first + length], np.arange(length)):
            raise TrainingError(
                f'{root}: episode {index}: frame_index does not count from 0 to {length - 1}; {REPAIR_ADVICE}'
            )
        about = described.get(index)
        if about is None or about['length'] != length:
            found = 'no entry' if about is None else f'{about["length"]} frames'
            raise TrainingError(
                f'{root}: episode {index}: found {found} in meta/episodes, expected {length}; {REPAIR_ADVICE}'
            )
        spans[index] = EpisodeRows(index, first, length, tuple(about.get('tasks') or ()), about)
    _check_whole_copy(root, info, spans, len(frames), described)
    return spans


def _check_whole_copy(
    root: Path, info: Mapping[str, Any], found: Collection[int], frames: int, described: Collection[int]
) -> None:
    """Refuse a data set that lacks files: a copy that was not finished."""
    episodes = int(info.get('total_episodes', len(found)))
    missing = sorted(set(described) - set(found))
    if not missing and len(found) < episodes:
        missing = list(islice((index for index in range(episodes) if index not in found), _MOST_NAMED + 1))
    if missing:
        named = [*map(str, missing[:_MOST_NAMED]), *(['others'] if len(missing) > _MOST_NAMED else [])]
        raise TrainingError(
            f'{root}: found the rows of {len(found)} episodes in data/, expected {episodes}, as meta/ says: '
            f'those of episode {", ".join(named)} are missing; {_COPY}'
        )
    for name, counted in (('total_episodes', len(found)), ('total_frames', frames)):
        if (stated := int(info.get(name, counted))) != counted:
            raise TrainingError(
                f'{root}: found {counted} in data/, expected {stated}, the {name} of meta/info.json; {_COPY}'
            )


def _check_finite(tables: Tables) -> None:
    for name, values in tables.numbers.items():
        bad = np.argwhere(~np.isfinite(values))
        if bad.size:
            row, dim = bad[0].tolist()
            raise TrainingError(
                f'{tables.root}: {name}[{dim}] of {tables.place(row)}: found {values[row, dim]}, expected a '
                'finite number; take the episode out with `restac-ros delete`, or repair the data set'
            )

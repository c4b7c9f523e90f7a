"""LeRobot's tables, read without LeRobot."""

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from restac_ros.dataset.errors import DatasetError
from restac_ros.git_lfs import pointer_fault

_EPISODE_LINES = Path('meta', 'episodes.jsonl')  # only v2.1 has it


def episode_rows(root: Path) -> dict[int, dict[str, Any]]:
    """Return the row of each episode in meta/, by index, short of statistics: tasks, length, v3.0's places.

    Raises:
        DatasetError: a file of it is damaged.
    """
    if (lines := root / _EPISODE_LINES).is_file():
        return _from_lines(lines, lambda row: (row['episode_index'], row))
    found = _rows(root / 'meta' / 'episodes', lambda name: not name.startswith('stats/'))
    return {row['episode_index']: row for row in found}


def check_unmoved(root: Path, rows: Mapping[int, Mapping[str, Any]]) -> None:
    """Refuse a data set that was compacted or edited while episodes of it were read, without a lock.

    Args:
        root: of the data set; episodes may have been appended meanwhile.
        rows: what `episode_rows` gave of it before anything else was read.

    Raises:
        DatasetError: an episode lies elsewhere now, or is another one.
    """
    now = episode_rows(root)
    if moved := [index for index, row in rows.items() if now.get(index) != row]:
        raise DatasetError(f'{root}: episode {moved[0]} was moved or changed while it was read: start again')


def episode_statistics(root: Path, kinds: Collection[str]) -> dict[int, dict[str, dict[str, list]]]:
    """Return statistics of these kinds of each episode of a v3.0 data set: by index, column and kind.

    Raises:
        DatasetError: a file of them is damaged.
    """
    found: dict[int, dict[str, dict[str, list]]] = {}
    for row in _rows(root / 'meta' / 'episodes', lambda name: name.startswith(('stats/', 'episode_index'))):
        episode = found[row.pop('episode_index')] = {}
        for name, value in row.items():
            column, _, kind = name.removeprefix('stats/').rpartition('/')
            if kind in kinds:
                episode.setdefault(column, {})[kind] = value
    return found


def task_rows(root: Path) -> dict[int, str]:
    """Return the task texts of a data set by number.

    Raises:
        DatasetError: the file of them is damaged.
    """
    if (root / _EPISODE_LINES).is_file():
        return _from_lines(root / 'meta' / 'tasks.jsonl', lambda row: (row['task_index'], row['task']))
    path = root / 'meta' / 'tasks.parquet'
    try:
        rows = pq.read_table(path).to_pylist()
        return {row.pop('task_index'): next(iter(row.values())) for row in rows}
    except (pa.ArrowException, OSError, KeyError, StopIteration) as error:
        raise _unreadable(path, error) from error


def _from_lines[T](path: Path, item: Callable[[dict[str, Any]], tuple[int, T]]) -> dict[int, T]:
    """Return what `item` makes of each line of a file of JSON objects: number and value."""
    try:
        lines = path.read_text(encoding='utf-8').splitlines()
        return dict(item(json.loads(line)) for line in lines if line.strip())
    except (OSError, ValueError, KeyError, TypeError) as error:
        fault = pointer_fault(path) or f'cannot be read: {error}. Restore it from a copy.'
        raise DatasetError(f'{path} {fault}') from error


def _rows(folder: Path, is_wanted: Callable[[str], bool]) -> Iterator[dict[str, Any]]:
    """Yield the rows of all Parquet files of a folder of chunks, with the columns wanted."""
    for path in sorted(folder.glob('*/*.parquet')):
        try:
            file = pq.ParquetFile(path)
            names = [name for name in file.schema_arrow.names if is_wanted(name)]
            rows = file.read(columns=names).to_pylist()
            if rows and 'episode_index' not in rows[0]:
                raise KeyError('episode_index')
        except (pa.ArrowException, OSError, KeyError) as error:
            raise _unreadable(path, error) from error
        yield from rows


def _unreadable(path: Path, error: Exception) -> DatasetError:
    fault = pointer_fault(path) or f'cannot be read: {error}. Mend it: `restac-ros repair`.'
    return DatasetError(f'{path} {fault}')

"""Examines the rows of episodes in a data file: whether they are whole, and which numbers are wrong."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image, UnidentifiedImageError

from restac_ros.dataset.errors import DatasetError
from restac_ros.git_lfs import pointer_fault

_TOLERANCE_S = 1e-4  # LeRobot's own between a row's time and the grid
FLOAT32_STEP = 2e-7  # relative; LeRobot keeps times as float32
NUMBERS = ('float', 'int', 'uint')
Moments = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass
class Rows:
    """Consecutive rows of one episode in a data file; `first` counts from the file's first row.

    `start_index` is the number of the first row in the data set, None when the numbers do not count up.
    `broken` holds reasons to leave the episode out, `renew` faults of columns that the others can restore.
    `moments` are minimum, maximum and sum of each numeric column, by dimension.
    """

    file: Path
    number: int
    first: int
    count: int
    start_index: int | None = None
    task_numbers: list[int] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    renew: dict[str, str] = field(default_factory=dict)
    moments: dict[str, Moments] = field(default_factory=dict)


def rows_in(root: Path, file: Path, info: dict[str, Any]) -> Iterator[Rows]:
    """Examine a data file (relative to `root`) episode by episode, with one episode in memory at a time.

    Raises:
        DatasetError: the file cannot be read, or names no episodes.
    """
    try:
        with pq.ParquetFile(root / file) as source:
            numbers = source.read(columns=['episode_index'])['episode_index'].to_numpy()
            cuts = np.flatnonzero(np.diff(numbers)) + 1
            for first, end in zip([0, *cuts], [*cuts, len(numbers)], strict=True):
                if end > first:
                    rows = Rows(file, int(numbers[first]), int(first), int(end - first))
                    yield _examined(_rows(source, first, end), rows, info)
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise DatasetError(pointer_fault(root / file) or str(error).splitlines()[0]) from error


def _rows(source: pq.ParquetFile, first: int, end: int) -> pa.Table:
    """Read rows of a file from the row groups that hold them."""
    wanted: list[int] = []
    offset, base = 0, 0
    for group in range(source.num_row_groups):
        rows = source.metadata.row_group(group).num_rows
        if offset < end and offset + rows > first:
            base = base if wanted else offset
            wanted.append(group)
        offset += rows
    return source.read_row_groups(wanted).slice(first - base, end - first)


def _examined(table: pa.Table, rows: Rows, info: dict[str, Any]) -> Rows:
    for key, feature in info['features'].items():
        if feature['dtype'] == 'video':
            continue
        if key not in table.column_names:
            rows.broken.append(f'column {key} is missing')
        elif feature['dtype'] == 'image':
            rows.broken += _image_faults(key, table[key])
        elif feature['dtype'].startswith(NUMBERS):
            _examine_numbers(key, table[key], feature, rows)
        elif feature['dtype'] in ('bool', 'string') and (nulls := table[key].null_count):
            rows.broken.append(f'{key}: {nulls} of {rows.count} rows are empty')
    if not rows.broken:
        index = table['index'].to_numpy()
        rows.start_index = int(index[0]) if np.all(np.diff(index) == 1) else None
        rows.task_numbers = [int(number) for number in np.unique(table['task_index'].to_numpy())]
        _examine_times(table, rows, info['fps'])
    return rows


def _examine_numbers(key: str, column: pa.ChunkedArray, feature: dict[str, Any], rows: Rows) -> None:
    values = numbers_of(column)
    size = int(np.prod(feature['shape']))
    if len(values) != rows.count * size:
        rows.broken.append(f'{key}: {len(values)} values in {rows.count} rows of {size}')
        return
    values = values.reshape(rows.count, size).astype(np.float64)
    if bad := int(np.sum(~np.isfinite(values).all(axis=1))):
        rows.broken.append(f'{key}: NaN, infinite or empty in {bad} of {rows.count} rows')
        return
    rows.moments[key] = values.min(axis=0), values.max(axis=0), values.sum(axis=0)


def numbers_of(column: pa.ChunkedArray) -> np.ndarray:
    """Return all numbers of a column, in order, of lists of any depth; NaN where there is none."""
    array = pa.concat_arrays(column.chunks) if column.num_chunks != 1 else column.chunk(0)
    while True:
        if isinstance(array, pa.ExtensionArray):
            array = array.storage
        elif pa.types.is_nested(array.type):
            array = pc.list_flatten(array)
        else:
            return array.to_numpy(zero_copy_only=False)


def _image_faults(key: str, column: pa.ChunkedArray) -> list[str]:
    """Find images that are absent or whose checksums are wrong."""
    bad = 0
    for image in column.to_pylist():
        try:
            Image.open(BytesIO((image or {}).get('bytes') or b'')).verify()
        except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
            bad += 1
    return [f'{key}: {bad} of {len(column)} images are missing or damaged'] if bad else []


def _examine_times(table: pa.Table, rows: Rows, fps: int) -> None:
    """Check that row i of an episode has frame_index i and timestamp i / fps; one can restore the other."""
    counts = np.arange(rows.count)
    counted = np.array_equal(table['frame_index'].to_numpy(), counts)
    times_s = table['timestamp'].to_numpy().astype(np.float64)
    on_grid = np.allclose(times_s, counts / fps, rtol=FLOAT32_STEP, atol=_TOLERANCE_S)
    if counted and on_grid:
        return
    off_s = float(np.abs(times_s - times_s[0] - counts / fps).max())
    if off_s >= 0.5 / fps:
        rate_hz = (rows.count - 1) / (times_s[-1] - times_s[0]) if times_s[-1] > times_s[0] else 0.0
        rows.broken.append(
            f'timestamps are up to {off_s:.3f} s off the grid (mean rate {rate_hz:.2f} Hz, '
            f'label {fps}): rows are missing or the label is false'
        )
        return
    if not on_grid:
        worst_s = max(off_s, abs(times_s[0]))
        rows.renew['timestamp'] = f'timestamps are up to {worst_s:.4f} s off the grid of {fps} fps'
    if not counted:
        rows.renew['frame_index'] = 'frame_index does not count from 0'

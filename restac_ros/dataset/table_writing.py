"""Parquet tables with some columns changed, written as LeRobot writes them."""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


def with_column(table: pa.Table, name: str, values: np.ndarray | Sequence[Any]) -> pa.Table:
    """Return the table with other values in one of its columns, of the same type."""
    position = table.column_names.index(name)
    field = table.schema.field(position)
    return table.set_column(position, field, pa.array(values, field.type))


def with_renamed(table: pa.Table, old: str, new: str) -> pa.Table:
    """Return the table with column `old` and its statistics renamed, in the notes of `datasets`, too."""
    if old == new:
        return table
    names = [new if name == old else name for name in table.column_names]
    names = [re.sub(f'^stats/{re.escape(old)}/', f'stats/{new}/', name) for name in names]
    about = json.loads((table.schema.metadata or {}).get(b'huggingface', b'null'))
    if about:
        features = about['info']['features']
        about['info']['features'] = {new if key == old else key: value for key, value in features.items()}
        table = table.replace_schema_metadata({b'huggingface': json.dumps(about, sort_keys=True).encode()})
    return table.rename_columns(names)


def with_notes(table: pa.Table, added: Mapping[str, Any], removed: Collection[str] = ()) -> pa.Table:
    """Return the table with the notes of `datasets` on its types changed; without notes, as it is."""
    about = json.loads((table.schema.metadata or {}).get(b'huggingface', b'null'))
    if not about:
        return table
    kept = {name: kind for name, kind in about['info']['features'].items() if name not in removed}
    about['info']['features'] = {**kept, **added}
    return table.replace_schema_metadata({b'huggingface': json.dumps(about, sort_keys=True).encode()})


def tasks_table(texts: Sequence[str]) -> Any:
    """Return LeRobot's table of tasks, a pandas frame, numbered from 0."""
    return pa.table({'task': texts, 'task_index': range(len(texts))}).to_pandas().set_index('task')


def stored_stats(about: pa.Table, key: str, feature: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return the statistics of a column in a row of meta/episodes; of pictures by channel [C, 1, 1]."""
    prefix = f'stats/{key}/'
    is_picture = feature['dtype'] in ('video', 'image')
    found = {}
    for name in about.column_names:
        value = about[name].to_pylist()[0] if name.startswith(prefix) else None
        if value is not None:
            kind = name.removeprefix(prefix)
            found[kind] = np.reshape(value, (-1, 1, 1) if is_picture and kind != 'count' else np.shape(value))
    return found


def write_table(table: pa.Table, path: Path, group_rows: Sequence[int] = ()) -> None:
    """Write a table; `group_rows`, the rows of each episode, lets readers fetch one by itself."""
    with pq.ParquetWriter(path, table.schema, compression='snappy', use_dictionary=True) as writer:
        first = 0
        for rows in group_rows or [table.num_rows]:
            writer.write_table(table.slice(first, rows), row_group_size=max(rows, 1))
            first += rows

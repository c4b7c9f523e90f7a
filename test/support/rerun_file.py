"""Reads back what was logged for Rerun."""

from collections import defaultdict
from pathlib import Path

import pyarrow as pa
from rerun.chunk import RrdReader


class RerunFile:
    """The columns of a file (.rrd), by entity and column, in the order of the timeline."""

    def __init__(self, path: Path) -> None:
        self._columns: dict[str, list[pa.RecordBatch]] = defaultdict(list)
        reader = RrdReader(str(path))
        self.blueprints = len(reader.blueprints())
        for chunk in reader.stream().to_chunks():
            self._columns[chunk.entity_path].append((chunk.is_static, chunk.to_record_batch()))

    @property
    def entities(self) -> set[str]:
        """Entities with values in time."""
        return {path for path, batches in self._columns.items() if not all(static for static, _ in batches)}

    def values(self, entity: str, column: str) -> list:
        """The values of a column in time, each as plain Python; of single values the value itself."""
        rows = []
        for static, batch in self._columns[entity]:
            if static or column not in batch.schema.names:
                continue
            times = batch.column('time').cast(pa.int64()).to_pylist()
            rows += zip(times, batch.column(column).to_pylist(), strict=True)
        rows.sort(key=lambda row: row[0])
        return [value[0] if len(value) == 1 else value for _, value in rows if value is not None]

    def columns(self, entity: str) -> set[str]:
        """The names of an entity's columns in time."""
        return {name for static, batch in self._columns[entity] if not static for name in batch.schema.names}

    def times_ns(self, entity: str) -> list[int]:
        """The times at which something was logged at an entity, ns, rising."""
        return sorted(
            time
            for static, batch in self._columns[entity]
            if not static
            for time in batch.column('time').cast(pa.int64()).to_pylist()
        )

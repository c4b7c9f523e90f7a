"""LeRobot's table of episodes, read without LeRobot."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from restac_ros.dataset.errors import DatasetError


def episode_rows(root: Path) -> dict[int, dict[str, Any]]:
    """What meta/episodes says of each episode, by index, without its statistics: tasks, length, places.

    Raises:
        DatasetError: a file of it is damaged.
    """
    found = {}
    for path in sorted((root / 'meta' / 'episodes').glob('*/*.parquet')):
        try:
            file = pq.ParquetFile(path)
            names = [name for name in file.schema_arrow.names if not name.startswith('stats/')]
            rows = file.read(columns=names).to_pylist()
            found |= {row['episode_index']: row for row in rows}
        except (pa.ArrowException, OSError, KeyError) as error:
            raise DatasetError(f'{path} cannot be read: {error}. Restore it from a copy.') from error
    return found

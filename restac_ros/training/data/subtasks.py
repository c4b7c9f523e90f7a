"""The subtask of every row, from LeRobot's column of texts that hold until another replaces them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int64

from restac_ros.dataset.language import PERSISTENT, subtasks_in
from restac_ros.training.errors import TrainingError

NO_SUBTASK = -1


def read_subtasks(
    files: Sequence[Path], order: Int64[np.ndarray, ' N']
) -> tuple[tuple[str, ...], Int64[np.ndarray, ' N']]:
    """Read which subtask each row is part of: as LeRobot resolves it, the last that began by the row's stamp.

    Args:
        files: of rows.
        order: places of the wanted rows in the files, read one after another.

    Returns:
        Texts, in the order in which they first occur, and the number of one for each row, -1 for none.

    Raises:
        TrainingError: a file cannot be read.
    """
    number_of: dict[str, int] = {}
    parts = []
    for path in files:
        try:
            table = pq.read_table(path, columns=['episode_index', 'timestamp', PERSISTENT])
            parts.append(_subtasks_of(table, number_of))
        except (pa.ArrowException, OSError, KeyError, TypeError) as error:
            raise TrainingError(f'{path}: column {PERSISTENT} cannot be read: {error}') from error
    return tuple(number_of), np.concatenate(parts)[order]


def _subtasks_of(table: pa.Table, number_of: dict[str, int]) -> Int64[np.ndarray, ' n']:
    """The texts are the same in all rows of an episode: they are checked once per episode."""
    indices, times_s = table['episode_index'].to_numpy(), table['timestamp'].to_numpy()
    found = np.full(len(indices), NO_SUBTASK)
    for index in np.unique(indices).tolist():
        rows = np.flatnonzero(indices == index)
        subtasks = subtasks_in(table[PERSISTENT][int(rows[0])].as_py())
        for time_s, text in subtasks:
            number = number_of.setdefault(text, len(number_of))
            found[rows[times_s[rows] >= np.float32(time_s)]] = number
    return found

"""What is done in an episode in words, in LeRobot's own columns: subtasks, plans and remarks of the operator.

`language_persistent` holds, in every row of an episode, all texts that stay valid until another replaces
them, each with the time from which it holds. `language_events` holds remarks made in that frame's period.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from restac_ros.dataset.dataset_files import LANGUAGE, read_info, write_info
from restac_ros.dataset.errors import DatasetError
from restac_ros.dataset.table_writing import with_notes, write_table
from restac_ros.whole_files import replaced

PERSISTENT, EVENTS = LANGUAGE


def _noted(kind: pa.ListType) -> dict[str, Any]:
    """Return the type of a list's elements as `datasets` notes it in a file."""
    return {
        field.name: {'_type': 'List', 'feature': {'_type': 'Value', 'dtype': 'string'}}
        if pa.types.is_list(field.type)
        else {'_type': 'Value', 'dtype': {'float': 'float32'}.get(str(field.type), str(field.type))}
        for field in kind.value_type
    }


LANGUAGE_FEATURES = {name: {'dtype': 'language', 'shape': (1,), 'names': None} for name in LANGUAGE}
_ROW = [('role', pa.string()), ('content', pa.string()), ('style', pa.string())]
_TIME = [('timestamp', pa.float32())]
_TAIL = [('camera', pa.string()), ('tool_calls', pa.list_(pa.string()))]
_TYPES = {
    PERSISTENT: pa.list_(pa.struct([*_ROW, *_TIME, *_TAIL])),
    EVENTS: pa.list_(pa.struct([*_ROW, *_TAIL])),
}
_NOTES = {name: {'_type': 'List', 'feature': _noted(kind)} for name, kind in _TYPES.items()}
_MOST_WORDS = 1000  # characters of one text


class TimedText(NamedTuple):
    """A text and when it begins to hold, or was said: s after the episode's first frame."""

    time_s: float
    text: str


@dataclass(frozen=True)
class EpisodeWords:
    """Texts of one episode.

    Attributes:
        subtasks: in the order of time; each holds until the next.
        to_come: subtasks of the task that follow the episode's own, which is one part of it.
        remarks: what the operator said.
    """

    subtasks: tuple[TimedText, ...] = ()
    to_come: tuple[str, ...] = ()
    remarks: tuple[TimedText, ...] = ()

    def persistent(self, times_s: np.ndarray) -> list[dict[str, Any]]:
        """Return the rows of `language_persistent`: at each subtask, it and the list of what is to be done.

        Args:
            times_s: float32 [n] stamps of the episode's frames; texts begin at the nearest.

        Raises:
            DatasetError: a text is empty, too long, or of a time outside the episode.
        """
        found = []
        texts = [*(text for _, text in self.subtasks), *self.to_come]
        for number, (time_s, text) in enumerate(self.subtasks):
            at_s = float(times_s[_nearest(times_s, time_s, text)])
            plan = '\n'.join(f'{place}. {each}' for place, each in enumerate(texts[number:], 1))
            found += [_row('assistant', plan, 'plan', at_s), _row('assistant', text, 'subtask', at_s)]
        if len({row['timestamp'] for row in found}) < len(self.subtasks):
            raise DatasetError(f'subtasks {texts}: two begin at one frame: set their times further apart')
        return found

    def events(self, times_s: np.ndarray) -> list[list[dict[str, Any]]]:
        """Return the rows of `language_events` of every frame at `times_s` [N], s after the first.

        Raises:
            DatasetError: as `persistent`.
        """
        rows: list[list[dict[str, Any]]] = [[] for _ in times_s]
        for time_s, text in self.remarks:
            rows[_nearest(times_s, time_s, text)].append(_row('user', text, 'interjection'))
        return rows


NO_WORDS = EpisodeWords()


def words_said(said: Iterable[tuple[int, str]], start_ns: int, fps: int, frames: int) -> EpisodeWords:
    """Return the subtasks of an episode from texts and when each was said, in the order of time.

    A text holds from the first frame after it was said; the last one before the episode holds from its
    beginning. Empty texts state nothing: a subtask ends only where another begins.

    Args:
        said: time, ns, and text.
        start_ns: time of the episode's first frame.
        fps: frames per second.
        frames: of the episode.
    """
    at: dict[int, str] = {}
    for time_ns, text in said:
        frame = max(0, -(-(time_ns - start_ns) * fps // 10**9))
        if text.strip() and frame < frames:
            at[frame] = text
    found: list[TimedText] = []
    for frame, text in at.items():
        if not found or found[-1].text != text:
            found.append(TimedText(frame / fps, text))
    return EpisodeWords(tuple(found))


def checked_text(what: str, text: object) -> str:
    """Return a text on one line, without space around it.

    A backslash and an "n" count as a line feed: files that were escaped twice hold them for one.

    Raises:
        DatasetError: it is no text, empty, or of more than 1000 characters.
    """
    if not isinstance(text, str):
        raise DatasetError(f'{what}: found {text!r}, expected a text')
    made = ' '.join(text.replace('\\n', ' ').split())
    if not made.replace('_', ' ').strip():
        raise DatasetError(f'{what}: found an empty text, expected words such as "pick up the plug"')
    if len(made) > _MOST_WORDS:
        raise DatasetError(f'{what}: found {len(made)} characters, expected at most {_MOST_WORDS}')
    return made


def has_language(info: Mapping[str, Any]) -> bool:
    """Return whether a data set has LeRobot's language columns; `info` is meta/info.json."""
    return any(name in info['features'] for name in LANGUAGE)


def without_language(root: Path) -> None:
    """Remove the language columns from meta/info.json, as LeRobot's writer refuses rows without them.

    `write_words` declares them again.
    """
    info = read_info(root)
    if has_language(info):
        features = {name: value for name, value in info['features'].items() if name not in LANGUAGE}
        write_info(root, {**info, 'features': features})


def with_words(table: pa.Table, words: Mapping[int, EpisodeWords]) -> pa.Table:
    """Return rows of whole episodes with language columns; `words` replaces those of its episodes.

    Raises:
        DatasetError: a text of an episode does not fit it, named.
    """
    columns: dict[str, list[Any]] = {name: _column(table, name) for name in LANGUAGE}
    indices = table['episode_index'].to_numpy()
    for index in sorted(set(indices.tolist()) & set(words)):
        rows = np.flatnonzero(indices == index)
        times_s = table['timestamp'].to_numpy()[rows]
        try:
            persistent, events = words[index].persistent(times_s), words[index].events(times_s)
        except DatasetError as error:
            raise DatasetError(f'episode {index}: {error}') from error
        for row, said in zip(rows.tolist(), events, strict=True):
            columns[PERSISTENT][row], columns[EVENTS][row] = persistent, said
    bare = table.drop_columns([name for name in LANGUAGE if name in table.column_names])
    for name in LANGUAGE:
        bare = bare.append_column(name, pa.array(columns[name], _TYPES[name]))
    return with_notes(bare, _NOTES)


def write_words(root: Path, words: Mapping[int, EpisodeWords]) -> None:
    """Write language columns into all data files of a data set that lack them, or hold one of the episodes.

    Files are replaced, never written over: see `transaction`.

    Raises:
        DatasetError: a text does not fit its episode, there is no such episode, or a file is damaged.
    """
    unknown = set(words)
    for path in sorted((root / 'data').glob('*/*.parquet')):
        try:
            present = pq.read_schema(path).names
            held = set(pq.read_table(path, columns=['episode_index'])['episode_index'].to_pylist())
            unknown -= held
            if held & set(words) or not set(LANGUAGE) <= set(present):
                made = with_words(pq.read_table(path), words)
                with replaced(path) as partial:
                    write_table(made, partial, _group_rows(made))
        except (pa.ArrowException, OSError, KeyError) as error:
            raise DatasetError(f'{path} cannot be read: {error}. Mend it: `restac-ros repair`.') from error
    info = read_info(root)
    if unknown:
        raise DatasetError(
            f'{root}: found no episode {sorted(unknown)}, expected numbers below {info["total_episodes"]}'
        )
    write_info(root, {**info, 'features': {**info['features'], **LANGUAGE_FEATURES}})


def subtasks_in(rows: Sequence[Mapping[str, Any]]) -> list[TimedText]:
    """Return the subtasks of an episode's `language_persistent`, in the order of time."""
    found = [
        TimedText(row['timestamp'], row['content'])
        for row in rows or ()
        if row['style'] == 'subtask' and row['content']
    ]
    return sorted(found, key=lambda each: each.time_s)


def _column(table: pa.Table, name: str) -> list[Any]:
    return table[name].to_pylist() if name in table.column_names else [[] for _ in range(table.num_rows)]


def _group_rows(table: pa.Table) -> list[int]:
    indices = table['episode_index'].to_numpy()
    ends = [*np.flatnonzero(np.diff(indices)) + 1, len(indices)]
    return np.diff([0, *ends]).tolist()


def _nearest(times_s: np.ndarray, time_s: float, text: str) -> int:
    """Return the frame nearest to a time, which must lie in the episode or less than a frame outside."""
    step_s = float(times_s[1] - times_s[0]) if len(times_s) > 1 else 0.0
    if not float(times_s[0]) - step_s < time_s < float(times_s[-1]) + step_s:
        raise DatasetError(
            f'{text!r}: found {time_s:g} s, expected a time from 0 to {float(times_s[-1]):.3f} s, where the '
            'episode ends'
        )
    return int(np.argmin(np.abs(times_s.astype(np.float64) - time_s)))


def _row(role: str, text: str, style: str, time_s: float | None = None) -> dict[str, Any]:
    made = {'role': role, 'content': checked_text(style, text) if style != 'plan' else text, 'style': style}
    stamp = {} if time_s is None else {'timestamp': time_s}
    return {**made, **stamp, 'camera': None, 'tool_calls': None}

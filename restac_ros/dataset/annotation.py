"""States the subtasks of recorded episodes: from a YAML file, or from a topic of their recordings."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from restac_ros.contract.errors import did_you_mean
from restac_ros.dataset.bag.bag_reader import open_bag
from restac_ros.dataset.dataset_files import read_info
from restac_ros.dataset.dataset_place import dataset_place
from restac_ros.dataset.dataset_tables import episode_rows
from restac_ros.dataset.episode_notes import episode_notes
from restac_ros.dataset.episodes import STRING, marker_text
from restac_ros.dataset.errors import DatasetError
from restac_ros.dataset.language import EpisodeWords, TimedText, checked_text, words_said, write_words
from restac_ros.dataset.lerobot_access import open_dataset, private_cache
from restac_ros.dataset.transaction import transaction
from restac_ros.dataset.writer import REWRITTEN

_KEYS = ('marker_topic', 'episodes')
_EPISODE_KEYS = ('subtasks', 'remarks')
_MAX_BYTES = 16 << 20


def annotate(root: Path, path: Path) -> dict[int, EpisodeWords]:
    """Write the texts of a YAML file into a data set's language columns, as a whole or not at all.

    `episodes` maps numbers to `subtasks`, a list of {from_s, text} with an optional to_s, and to `remarks` of
    the operator, a list of {at_s, text}; times are s after the episode's first frame. `marker_topic` is a
    topic of std_msgs/String in the recordings: its texts are the subtasks of all other episodes.

    Returns:
        What was written, by episode; the words of these episodes are replaced, those of others stay.

    Raises:
        DatasetError: the file is not as above, a text does not fit its episode, or a recording is gone;
            another process writes the data set.
        BagError, ConversionError: a recording cannot be read.
    """
    root = dataset_place(root)
    read_info(root)  # refuses what is no data set before the copy is made
    content = _read(path)
    with transaction(root, REWRITTEN.__contains__) as staging, private_cache():
        words = _words_of(root, content, path)
        write_words(staging, words)
        open_dataset(staging, sorted(words))
    return words


def _words_of(root: Path, content: Mapping[str, Any], path: Path) -> dict[int, EpisodeWords]:
    """Return the words of each episode that the content of a file states, of a data set that stays."""
    rows, fps = episode_rows(root), int(read_info(root)['fps'])
    words = _stated(content.get('episodes', {}), rows, fps, str(path))
    if (topic := content.get('marker_topic')) is not None:
        checked = checked_text(f'{path}: marker_topic', topic)
        for index in sorted(set(rows) - set(words)):
            words[index] = _marked(root, index, checked, fps, rows[index]['length'])
    if not words:
        raise DatasetError(f'{path}: found neither episodes nor a marker_topic, expected one of them')
    return words


def _read(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise DatasetError(f'{path}: no such file, expected the YAML of subtasks')
    if (size := path.stat().st_size) > _MAX_BYTES:
        raise DatasetError(f'{path}: found {size} bytes, expected at most {_MAX_BYTES}')
    try:
        content = yaml.safe_load(path.read_text(encoding='utf-8'))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DatasetError(f'{path}: not readable YAML: {error}') from error
    return _keys(content, _KEYS, str(path))


def _stated(
    episodes: Any, rows: Mapping[int, Mapping[str, Any]], fps: int, source: str
) -> dict[int, EpisodeWords]:
    if not isinstance(episodes, dict):
        raise DatasetError(f'{source}: episodes: found {episodes!r}, expected numbers of episodes')
    found = {}
    for index, entry in episodes.items():
        where = f'{source}: episodes.{index}'
        if index not in rows:
            raise DatasetError(f'{where}: found no such episode, expected some of 0 to {max(rows)}')
        lists = _keys(entry, _EPISODE_KEYS, where)
        subtasks = _ranges(lists.get('subtasks', []), f'{where}.subtasks', rows[index]['length'] / fps, fps)
        remarks = [
            TimedText(_seconds(one, 'at_s', place), checked_text(f'{place}.text', one.get('text')))
            for place, one in _entries(lists.get('remarks', []), f'{where}.remarks', ('at_s', 'text'))
        ]
        found[index] = EpisodeWords(subtasks, remarks=tuple(sorted(remarks)))
    return found


def _ranges(entries: Any, where: str, length_s: float, fps: int) -> tuple[TimedText, ...]:
    """Subtasks follow each other: one holds until the next begins, in LeRobot's columns as here."""
    made: list[TimedText] = []
    until: tuple[float, str] | None = None
    for place, one in _entries(entries, where, ('from_s', 'to_s', 'text')):
        from_s = _seconds(one, 'from_s', place)
        text = checked_text(f'{place}.text', one.get('text'))
        if made and from_s <= made[-1].time_s:
            raise DatasetError(
                f'{place}.from_s: found {from_s:g} s, expected more than {made[-1].time_s:g} s'
            )
        if until and abs(from_s - until[0]) > 1 / fps:
            raise _gap(until, f'{from_s:g} s, where {text!r} begins')
        until = (_seconds(one, 'to_s', place), f'{place}.to_s') if 'to_s' in one else None
        made.append(TimedText(from_s, text))
    if until and until[0] < length_s - 1 / fps:
        raise _gap(until, f'{length_s:.3f} s, where the episode ends')
    return tuple(made)


def _gap(until: tuple[float, str], expected: str) -> DatasetError:
    return DatasetError(
        f'{until[1]}: found {until[0]:g} s, expected {expected}: a subtask holds until the next begins. Name '
        'what is done in between, or leave to_s out'
    )


def _marked(root: Path, index: int, topic: str, fps: int, frames: int) -> EpisodeWords:
    """Read the subtasks of an episode from the recording that it was made of."""
    notes = episode_notes(root, index)
    if 'bag' not in notes:
        raise DatasetError(
            f'{root}: episode {index}: found no recording that it was made of, expected one with {topic}: '
            'state its subtasks under episodes'
        )
    if not Path(notes['bag']).exists():
        raise DatasetError(
            f'{notes["bag"]}: no such recording, expected {topic} of episode {index} in it: bring it back, '
            'or state its subtasks under episodes'
        )
    bag = open_bag(notes['bag'])
    strings = {name: count for name, (kind, count) in bag.topics.items() if kind == STRING}
    if not strings.get(topic):
        raise DatasetError(
            f'{bag.path}: found no text on {topic}; of {STRING} {did_you_mean(topic, strings)}'
        )
    said = [
        (message.log_time_ns, marker_text(topic, message.type, message.cdr) or '')
        for message in bag.messages([topic])
    ]
    return words_said(said, notes['start_ns'], fps, frames)


def _entries(entries: Any, where: str, keys: Sequence[str]) -> list[tuple[str, Mapping[str, Any]]]:
    if not isinstance(entries, list):
        raise DatasetError(f'{where}: found {entries!r}, expected a list')
    places = [f'{where}[{place}]' for place in range(len(entries))]
    return [(place, _keys(one, keys, place)) for place, one in zip(places, entries, strict=True)]


def _keys(content: Any, known: Sequence[str], where: str) -> Mapping[str, Any]:
    if not isinstance(content, dict):
        raise DatasetError(f'{where}: found {content!r}, expected {", ".join(known)}')
    for name in content:
        if name not in known:
            raise DatasetError(f'{where}: unknown {name!r}; {did_you_mean(str(name), known)}')
    return content


def _seconds(entry: Mapping[str, Any], name: str, where: str) -> float:
    value = entry.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < float('inf'):
        raise DatasetError(
            f'{where}.{name}: found {value!r}, expected s after the first frame, such as 2.5 (YAML takes '
            '1:30 for 90)'
        )
    return float(value)

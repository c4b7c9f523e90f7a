"""Opens any rosbag2 bag without ROS: MCAP or SQLite, split, compressed, cut off, without metadata."""

import heapq
import re
from collections import Counter
from collections.abc import Collection, Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import yaml

from restac_ros.dataset.bag.compressed_bag import CompressedBag
from restac_ros.dataset.bag.mcap_file import McapFile
from restac_ros.dataset.bag.sqlite_file import SqliteFile
from restac_ros.dataset.bag.storage import END_OF_TIME_NS, BagMessage, Storage
from restac_ros.dataset.errors import BagError

STORAGES: dict[str, type[McapFile] | type[SqliteFile]] = {'.mcap': McapFile, '.db3': SqliteFile}
_MAX_METADATA_BYTES = 16 * 2**20


class BagTopic(NamedTuple):
    """A topic's type and how many of its messages the bag holds."""

    type: str
    count: int


class Bag:
    """Messages of one or several files as one stream in log order, read a chunk at a time.

    `notes` says in words what is not as it should be: a cut-off file, metadata absent.
    """

    def __init__(self, path: Path, files: list[Storage], notes: list[str]) -> None:
        self.path = path
        self.files = files
        self.notes = [*notes, *(f'{file.path.name}: {file.damage}' for file in files if file.damage)]
        foreign = sorted({topic for file in files for topic in file.foreign_topics})
        if foreign:
            self.notes.append(f'not CDR, left out: {", ".join(foreign)}')
        self.topics = _topics(path, files)
        self.metadata: dict[str, dict[str, str]] = {}
        for file in files:
            for name, values in file.metadata.items():
                self.metadata.setdefault(name, {}).update(values)

    @property
    def clock_set_back_ns(self) -> int:
        """How far receive times fall behind earlier ones in the order of writing: the clock was set."""
        bounds = [file.bounds_ns for file in self.files if file.bounds_ns]
        between = [before[1] - after[0] for before, after in pairwise(bounds)]
        return max([0, *between, *(file.clock_set_back_ns for file in self.files)])

    @property
    def bounds_ns(self) -> tuple[int, int] | None:
        """First and last log time; None without messages."""
        bounds = [file.bounds_ns for file in self.files if file.bounds_ns]
        return (min(low for low, _ in bounds), max(high for _, high in bounds)) if bounds else None

    def messages(
        self,
        topics: Collection[str] | None = None,
        start_ns: int = 0,
        stop_ns: int = END_OF_TIME_NS,
        head_bytes: int | None = None,
    ) -> Iterator[BagMessage]:
        """Messages of `topics` (all when None) with start_ns <= log time < stop_ns, in log order.

        Whole messages, or of each the first `head_bytes` only.

        Raises:
            BagError: a file is damaged inside; what precedes the place has been yielded.
        """
        streams = [file.messages(topics, start_ns, stop_ns, head_bytes) for file in self.files]
        return heapq.merge(*streams, key=lambda message: message.log_time_ns)


def open_bag(path: Path | str) -> Bag:
    """A bag's directory or one of its files.

    Raises:
        BagError: there is no bag, or nothing of it can be read.
    """
    path = Path(path)
    if path.is_file():
        return Bag(path, [_open_file(path)], [])
    if not path.is_dir():
        raise BagError(f'{path} does not exist. Give a bag directory, or a .mcap or .db3 file.')
    description, notes = _read_description(path)
    if description.get('compression_mode'):
        return Bag(path, [CompressedBag(path)], notes)
    named = description.get('relative_file_paths') or []
    files = [path / Path(name).name for name in named] or _storage_files(path)
    if missing := [file.name for file in files if not file.is_file()]:
        raise BagError(
            f'{path}: metadata.yaml names {", ".join(missing)}, absent there. Bring them back, '
            'or remove metadata.yaml to read what is there.'
        )
    bag = Bag(path, [_open_file(file) for file in files], notes)
    announced, found = description.get('message_count'), sum(topic.count for topic in bag.topics.values())
    is_all_cdr = not any(file.foreign_topics for file in bag.files)
    if is_all_cdr and isinstance(announced, int) and announced != found:
        bag.notes.append(f'metadata.yaml announces {announced} messages, {found} can be found')
    return bag


def _read_description(path: Path) -> tuple[dict, list[str]]:
    """The content of metadata.yaml, and a note where there is none to trust: a crash leaves none."""
    file = path / 'metadata.yaml'
    try:
        if file.stat().st_size > _MAX_METADATA_BYTES:
            raise ValueError(f'larger than {_MAX_METADATA_BYTES} bytes')
        content = yaml.safe_load(file.read_text(encoding='utf-8'))['rosbag2_bagfile_information']
        names = content.get('relative_file_paths', [])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError('relative_file_paths is not a list of names')
    except FileNotFoundError:
        return {}, ['metadata.yaml is missing: its files are read as they are']
    except (yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError) as error:
        return {}, [f'metadata.yaml is unreadable ({error}): the files are read as they are']
    return content, []


def _storage_files(path: Path) -> list[Path]:
    """Storage files in a directory, split files in their order (bag_2 before bag_10)."""

    def natural(file: Path) -> list[int | str]:
        return [int(part) if part.isdigit() else part for part in re.split(r'(\d+)', file.name)]

    files = sorted((file for file in path.iterdir() if file.suffix in STORAGES), key=natural)
    if not files:
        raise BagError(f'{path} holds no bag: no .mcap or .db3 file in it.')
    return files


def _open_file(path: Path) -> Storage:
    if path.suffix not in STORAGES:
        endings = ' or '.join(STORAGES)
        raise BagError(f'{path}: a bag file ends in {endings}. For a compressed bag give its directory.')
    return STORAGES[path.suffix](path)


def _topics(path: Path, files: list[Storage]) -> dict[str, BagTopic]:
    totals: Counter[tuple[str, str]] = Counter()
    for file in files:
        totals.update(file.counts)
    topics: dict[str, BagTopic] = {}
    for (name, kind), count in sorted(totals.items()):
        if name in topics and topics[name].type != kind:
            types = f'{topics[name].type} and {kind}'
            raise BagError(f'{path}: topic {name} has two types, {types}. Filter it with `ros2 bag convert`.')
        topics[name] = BagTopic(kind, count)
    return topics

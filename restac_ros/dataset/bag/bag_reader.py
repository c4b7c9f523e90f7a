"""Opens any rosbag2 bag without ROS: MCAP or SQLite, split, compressed, cut off, without metadata."""

import heapq
import weakref
from collections import Counter
from collections.abc import Collection, Iterator
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import yaml

from restac_ros.dataset.bag.mcap_file import McapFile
from restac_ros.dataset.bag.sqlite_file import SqliteFile
from restac_ros.dataset.bag.storage import END_OF_TIME_NS, BagMessage, Storage
from restac_ros.dataset.bag.unpacking import PACKED, ZSTD_MAGIC, unpack_file, unpack_message
from restac_ros.dataset.errors import BagError
from restac_ros.dataset.hierarchical.layout import natural

STORAGES: dict[str, type[McapFile] | type[SqliteFile]] = {'.mcap': McapFile, '.db3': SqliteFile}
ENDINGS = (*STORAGES, *(ending + PACKED for ending in STORAGES))
_MAX_METADATA_BYTES = 16 * 2**20


class BagTopic(NamedTuple):
    """A topic's type and how many of its messages the bag holds."""

    type: str
    count: int  # type: ignore[assignment]  # not the method of tuple


class Bag:
    """Messages of one or several files as one stream in log order, read a chunk at a time.

    Attributes:
        notes: what is not as it should be, in words: a cut-off file, absent metadata.
        mixed: topics of two types; only messages of the more frequent one are read.
    """

    def __init__(self, path: Path, files: list[Storage], notes: list[str]) -> None:
        self.path = path
        self.files = files
        self.notes = [*notes, *(f'{file.path.name}: {file.damage}' for file in files if file.damage)]
        foreign = sorted({topic for file in files for topic in file.foreign_topics})
        if foreign:
            self.notes.append(f'not CDR, left out: {", ".join(foreign)}')
        self.topics, self.mixed = _topics(files)
        self.notes += [
            f'topic {name} has two types, only {self.topics[name].type} is read' for name in self.mixed
        ]
        self._bounds = [file.bounds_ns for file in files if file.bounds_ns]
        self._first_ns = 0
        if early := self._logged_at_zero():
            self.notes.append(f'{early} messages were logged at 0, before the first /clock: left out')
            self._first_ns = 1
        self.metadata: dict[str, dict[str, str]] = {}
        for file in files:
            for name, values in file.metadata.items():
                self.metadata.setdefault(name, {}).update(values)

    @property
    def clock_set_back_ns(self) -> int:
        """How far receive times fall behind earlier ones in the order of writing: the clock was set."""
        between = [before[1] - after[0] for before, after in pairwise(self._bounds)]
        return max([0, *between, *(file.clock_set_back_ns for file in self.files)])

    @property
    def bounds_ns(self) -> tuple[int, int] | None:
        """First and last log time; None without messages."""
        if not self._bounds:
            return None
        low, high = min(low for low, _ in self._bounds), max(high for _, high in self._bounds)
        if low < self._first_ns:
            low = next((message.log_time_ns for message in self.messages()), high)
        return low, high

    def messages(
        self,
        topics: Collection[str] | None = None,
        start_ns: int = 0,
        stop_ns: int = END_OF_TIME_NS,
        head_bytes: int | None = None,
    ) -> Iterator[BagMessage]:
        """Yield messages of `topics` (all when None) with start_ns <= log time < stop_ns, in log order.

        Each is whole, or only its first `head_bytes`.

        Raises:
            BagError: a file is damaged inside; what precedes the place has been yielded.
        """
        whole = None if self._messages_packed else head_bytes
        first_ns = max(start_ns, self._first_ns)
        streams = [file.messages(topics, first_ns, stop_ns, whole) for file in self.files]
        merged = heapq.merge(*streams, key=lambda message: message.log_time_ns)
        if self.mixed:
            merged = (message for message in merged if message.type == self.topics[message.topic].type)
        if self._messages_packed:
            return (message._replace(cdr=unpack_message(message.cdr)[:head_bytes]) for message in merged)
        return merged

    @cached_property
    def _messages_packed(self) -> bool:
        """Whether rosbag2 compressed each message by itself; without metadata.yaml only they show it."""
        try:
            heads = [next(file.messages(head_bytes=len(ZSTD_MAGIC)), None) for file in self.files]
        except BagError:
            return False  # raised again when more is read
        return any(message is not None and message.cdr == ZSTD_MAGIC for message in heads)

    def _logged_at_zero(self) -> int:
        """Count the messages that a recorder in simulated time logged before it knew the time."""
        if not self._bounds or min(self._bounds)[0] or not max(high for _, high in self._bounds):
            return 0
        return sum(1 for file in self.files for _ in file.messages(stop_ns=1, head_bytes=0))


def open_bag(path: Path | str) -> Bag:
    """Open a bag: its directory, or one of its files.

    Raises:
        BagError: there is no bag, or nothing of it can be read.
    """
    path = Path(path)
    if path.is_file():
        return Bag(path, [_open_file(path)], [])
    if not path.is_dir():
        raise BagError(f'{path} does not exist. Give a bag directory, or a .mcap or .db3 file.')
    description, notes = _read_description(path)
    form = description.get('compression_format') or 'zstd'
    if description.get('compression_mode') and form != 'zstd':
        raise BagError(f'{path}: compression_format {form!r} in metadata.yaml; expected zstd.')
    named = [path / Path(name).name for name in description.get('relative_file_paths') or []]
    files = [_as_found(file) for file in named] or _storage_files(path)
    if renamed := [file.name for file in files if named and file not in named]:
        notes.append(f'metadata.yaml names them with or without {PACKED}; read: {", ".join(renamed)}')
    if missing := [file.name for file in files if not file.is_file()]:
        raise BagError(
            f'{path}: metadata.yaml names {", ".join(missing)}, absent there. Bring them back, '
            'or remove metadata.yaml to read what is there.'
        )
    bag = Bag(path, [_open_file(file) for file in files], notes)
    announced, found = description.get('message_count'), sum(file.counts.total() for file in bag.files)
    is_all_cdr = not any(file.foreign_topics for file in bag.files)
    if is_all_cdr and isinstance(announced, int) and announced != found:
        bag.notes.append(f'metadata.yaml announces {announced} messages, {found} can be found')
    return bag


def _read_description(path: Path) -> tuple[dict, list[str]]:
    """Read metadata.yaml; with a note where there is none to trust, as after a crash."""
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
    """Return the storage files in a directory, split files in their order (bag_2 before bag_10)."""
    found = {file for file in path.iterdir() if file.name.endswith(ENDINGS)}
    packed = {file for file in found if file.with_suffix('') in found}  # its unpacked copy lies beside it
    if not found:
        if ros1 := sorted(path.glob('*.bag')):
            raise BagError(_ros1(ros1[0]))
        raise BagError(f'{path} holds no bag: no file in it ends in {", ".join(ENDINGS)}.')
    return sorted(found - packed, key=lambda file: natural(file.name))


def _as_found(file: Path) -> Path:
    """Return a file that metadata.yaml names, or the same packed, or unpacked by hand."""
    others = [file.with_name(file.name + PACKED), file.with_name(file.name.removesuffix(PACKED))]
    return next((path for path in [file, *others] if path.is_file()), file)


def _open_file(path: Path) -> Storage:
    if path.name.endswith(PACKED) and path.name.endswith(ENDINGS):
        folder, unpacked, damage = unpack_file(path)
        storage = STORAGES[unpacked.suffix](unpacked)
        if damage and storage.damage is None:
            raise BagError(f'{path} is {damage}. Fetch the file again.')
        # The unpacked copy lives as long as what reads it.
        weakref.finalize(storage, folder.cleanup)
        return storage
    if path.suffix == '.bag':
        raise BagError(_ros1(path))
    if path.suffix not in STORAGES:
        raise BagError(f'{path}: a bag file ends in {", ".join(ENDINGS)}.')
    return STORAGES[path.suffix](path)


def _ros1(path: Path) -> str:
    return (
        f'{path} is a bag of ROS 1. Convert it with `rosbags-convert --src {path} --dst '
        f'{path.with_suffix("")}` and give the directory that this makes.'
    )


def _topics(files: list[Storage]) -> tuple[dict[str, BagTopic], list[str]]:
    """Return topics by name, each with its (more frequent) type, and the names of those with two types."""
    totals: Counter[tuple[str, str]] = Counter()
    for file in files:
        totals.update(file.counts)
    topics: dict[str, BagTopic] = {}
    mixed = set()
    for (name, kind), count in sorted(totals.items()):
        if (before := topics.get(name)) is not None and before.count and count:
            mixed.add(name)
        if before is None or count > before.count:
            topics[name] = BagTopic(kind, count)
    return topics, sorted(mixed)

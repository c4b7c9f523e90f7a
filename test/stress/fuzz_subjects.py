"""Small whole bags for fuzzing, of every storage, and what they hold."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from restac_ros.bench.recordings import Scene, make_messages, write_recording
from restac_ros.contract.schema import Contract
from restac_ros.dataset.bag.bag_reader import open_bag
from restac_ros.dataset.bag.bag_writer import COMPRESSIONS, PARTIAL
from restac_ros.dataset.bag.mcap_scan import RECORD_HEAD, scan, span_contents
from restac_ros.dataset.bag.storage import BagMessage
from restac_ros.dataset.journal import Notes, read_notes

SECONDS = 1.4  # three chunks, as the journal is flushed twice a second
SCENE = Scene((16, 12), (24, 18))
MAX_RATE_HZ = 100.0
TASK = 'fuzz'
MAGIC = b'\x89MCAP0\r\n'
DATA_END, FOOTER = 0x0F, 0x02

# As rosbag2_storage_sqlite3 makes them.
TABLES = """
CREATE TABLE schema(schema_version INTEGER PRIMARY KEY, ros_distro TEXT NOT NULL);
CREATE TABLE metadata(id INTEGER PRIMARY KEY, metadata_version INTEGER NOT NULL, metadata TEXT NOT NULL);
CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL,
    serialization_format TEXT NOT NULL, offered_qos_profiles TEXT NOT NULL,
    type_description_hash TEXT NOT NULL);
CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL, timestamp INTEGER NOT NULL,
    data BLOB NOT NULL);
CREATE INDEX timestamp_idx ON messages (timestamp ASC);
INSERT INTO schema VALUES (4, 'jazzy');
"""


@dataclass(frozen=True)
class Subject:
    """A whole bag or unfinished journal, in a directory `path`, whose `target` will be damaged.

    Attributes:
        has_checksums: whether the storage can tell that a message has changed.
        messages, notes: what it holds.
    """

    name: str
    path: Path
    target: str
    has_checksums: bool
    messages: list[BagMessage]
    notes: Notes

    @property
    def is_unfinished(self) -> bool:
        """Whether it has to be recovered before it is read."""
        return self.path.name.endswith(PARTIAL)


def slow(contract: Contract) -> Contract:
    """The contract with fast streams slowed down, so that a bag is small."""
    streams = {
        name: spec.model_copy(update={'rate_hz': min(spec.rate_hz, MAX_RATE_HZ)})
        for name, spec in contract.streams.items()
    }
    return contract.model_copy(update={'streams': streams})


def make_subjects(folder: Path, contract: Contract) -> list[Subject]:
    """Write all subjects; the same bytes at every call."""
    messages = list(make_messages(contract, SECONDS, SCENE))
    subjects = []
    for compression in COMPRESSIONS:
        bag = write_recording(folder / f'mcap-{compression}', contract, messages, TASK, compression)
        file = next(bag.glob('*.mcap')).name
        notes = read_notes(open_bag(bag))
        subjects.append(Subject(f'MCAP, {compression}', bag, file, True, messages, notes))
        partial = folder / f'journal-{compression}{PARTIAL}'
        partial.mkdir()
        (partial / file).write_bytes((bag / file).read_bytes()[: scan(bag / file).end])
        name = f'unfinished journal, {compression}'
        subjects.append(Subject(name, partial, file, True, messages, notes))
    plain = subjects[0]
    database = _sqlite(folder, messages)
    about = {'name': 'metadata.yaml', 'target': 'metadata.yaml'}
    described = [replace(subject, **about) for subject in (plain, database)]
    return [*subjects, *described, _loose(folder, plain), database]


def _loose(folder: Path, chunked: Subject) -> Subject:
    """The messages outside chunks, as rosbag2's `fastwrite` preset writes them; no checksums."""
    source = chunked.path / chunked.target
    path = folder / 'mcap-loose'
    path.mkdir()
    with source.open('rb') as file:
        records = b''.join(span_contents(file, span) for span in scan(source).spans)
    end = RECORD_HEAD.pack(DATA_END, 4) + bytes(4) + RECORD_HEAD.pack(FOOTER, 20) + bytes(20)
    (path / 'loose.mcap').write_bytes(MAGIC + records + end + MAGIC)
    _describe(path, 'loose.mcap', 'mcap', chunked.messages)
    return Subject('MCAP without chunks', path, 'loose.mcap', False, chunked.messages, NO_NOTES)


def _sqlite(folder: Path, messages: list[BagMessage]) -> Subject:
    """The messages in a database; no checksums."""
    path = folder / 'sqlite3'
    path.mkdir()
    topics = {name: number for number, name in enumerate(sorted({(m.topic, m.type) for m in messages}), 1)}
    with closing(sqlite3.connect(path / 'bag.db3')) as database:
        database.executescript(TABLES)
        database.executemany(
            "INSERT INTO topics VALUES (?, ?, ?, 'cdr', '', '')",
            [(number, name, kind) for (name, kind), number in topics.items()],
        )
        database.executemany(
            'INSERT INTO messages (topic_id, timestamp, data) VALUES (?, ?, ?)',
            [(topics[m.topic, m.type], m.log_time_ns, m.cdr) for m in messages],
        )
        database.commit()
    _describe(path, 'bag.db3', 'sqlite3', messages)
    return Subject('sqlite3', path, 'bag.db3', False, messages, NO_NOTES)


def _describe(path: Path, file: str, storage: str, messages: list[BagMessage]) -> None:
    about = {
        'version': 9,
        'storage_identifier': storage,
        'relative_file_paths': [file],
        'message_count': len(messages),
        'compression_format': '',
        'compression_mode': '',
    }
    text = yaml.safe_dump({'rosbag2_bagfile_information': about}, sort_keys=False)
    (path / 'metadata.yaml').write_text(text)


NO_NOTES = Notes(None, None, None, None)

"""Messages of one rosbag2 SQLite file (.db3) in log order."""

import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from restac_ros.dataset.bag.storage import END_OF_TIME_NS, BagMessage, full_type
from restac_ros.dataset.errors import BagError
from restac_ros.git_lfs import pointer_fault

SET_BACK = """SELECT max(latest - timestamp) FROM (
    SELECT timestamp, max(timestamp) OVER (ORDER BY id) AS latest FROM messages)"""


class SqliteFile:
    """One .db3 file. SQLite itself applies a write-ahead log that a crash has left beside the file.

    Raises:
        BagError: not a rosbag2 database, or a damaged one.
    """

    damage: str | None = None  # a damaged database is refused: unlike MCAP, it has no order to salvage by

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._reading(), closing(self._connect()) as database:
            tables = {name for (name,) in database.execute('SELECT name FROM sqlite_master')}
            if not {'messages', 'topics'} <= tables:
                raise BagError(f'{path} is no rosbag2 database: it holds only {sorted(tables)}.')
            rows = database.execute('SELECT id, name, type, serialization_format FROM topics').fetchall()
            described = all(isinstance(text, str) for row in rows for text in row[1:])
            if not described:
                raise sqlite3.DatabaseError('its tables hold values of other types')
            self._topics = {
                number: (name, full_type(kind)) for number, name, kind, form in rows if form == 'cdr'
            }
            self.foreign_topics = sorted(name for _, name, _, form in rows if form != 'cdr')
            totals = dict(database.execute('SELECT topic_id, count(*) FROM messages GROUP BY topic_id'))
            (set_back,) = database.execute(SET_BACK).fetchone()
            first, last = database.execute('SELECT min(timestamp), max(timestamp) FROM messages').fetchone()
            if not {type(first), type(last)} <= {int, type(None)}:
                raise sqlite3.DatabaseError('its tables hold values of other types')
        self.counts: Counter[tuple[str, str]] = Counter()
        for number, topic in self._topics.items():
            self.counts[topic] += totals.get(number, 0)
        self.clock_set_back_ns = max(0, set_back or 0)
        self.bounds_ns: tuple[int, int] | None = None if first is None else (first, last)
        self.metadata: dict[str, dict[str, str]] = {}

    def messages(
        self,
        topics: Collection[str] | None = None,
        start_ns: int = 0,
        stop_ns: int = END_OF_TIME_NS,
        head_bytes: int | None = None,
    ) -> Iterator[BagMessage]:
        """See `Storage.messages`."""
        wanted = {n: topic for n, topic in self._topics.items() if topics is None or topic[0] in topics}
        marks = ','.join('?' * len(wanted))
        data = 'data' if head_bytes is None else f'substr(data, 1, {head_bytes:d})'
        query = (
            f'SELECT topic_id, timestamp, {data} FROM messages WHERE topic_id IN ({marks}) '
            'AND timestamp >= ? AND timestamp < ? ORDER BY timestamp, id'
        )
        before_ns = start_ns
        with self._reading(), closing(self._connect()) as database:
            for number, time_ns, cdr in database.execute(query, (*wanted, start_ns, stop_ns)):
                # SQLite keeps any type in any column, and orders by an index, which may be damaged by itself.
                if not (isinstance(time_ns, int) and isinstance(cdr, bytes) and time_ns >= before_ns):
                    raise sqlite3.DatabaseError(f'a message at {time_ns!r} after one at {before_ns}')
                before_ns = time_ns
                yield BagMessage(*wanted[number], cdr, time_ns)

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(f'file:{quote(str(self.path.absolute()))}?mode=ro', uri=True)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if pointer := pointer_fault(self.path):
                raise BagError(f'{self.path} {pointer}.') from error
            raise BagError(
                f'{self.path} cannot be read: {error}. If a crash cut it off, '
                f'`sqlite3 {self.path.name} .recover | sqlite3 repaired.db3` saves what is whole.'
            ) from error

"""Bags that rosbag2 compressed itself, by file or by message; rosbags reads them."""

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from rosbags.rosbag2 import Reader

from restac_ros.dataset.bag.storage import END_OF_TIME_NS, BagMessage
from restac_ros.dataset.errors import BagError


class CompressedBag:
    """A bag directory whose metadata.yaml names a compression.

    Raises:
        BagError: it cannot be read whole; a cut-off compressed file has nothing to salvage.
    """

    damage: None = None
    clock_set_back_ns = 0  # not known: compressing threads write in an order of their own

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._reading(), Reader(path) as reader:
            self.counts = Counter({(c.topic, c.msgtype): c.msgcount for c in reader.connections})
            self.bounds_ns = (reader.start_time, reader.end_time - 1) if reader.message_count else None
        self.foreign_topics: list[str] = []  # rosbags refuses bags with any
        self.metadata: dict[str, dict[str, str]] = {}

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
            BagError: the bag is damaged; what precedes the place has been yielded.
        """
        with self._reading(), Reader(self.path) as reader:
            wanted = [c for c in reader.connections if topics is None or c.topic in topics]
            if wanted:
                for connection, time_ns, cdr in reader.messages(wanted, start_ns, stop_ns):
                    yield BagMessage(connection.topic, connection.msgtype, bytes(cdr[:head_bytes]), time_ns)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # the libraries under rosbags raise types of their own
            raise BagError(
                f'{self.path} cannot be read: {error}. Unpack it where it was recorded with '
                '`ros2 bag convert`, or fetch it again if it was copied.'
            ) from error

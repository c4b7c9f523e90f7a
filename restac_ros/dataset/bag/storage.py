"""The interface of a bag's files, whatever their format."""

from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

END_OF_TIME_NS = 2**63 - 1  # the largest time of SQLite and ROS


def full_type(name: str) -> str:
    """Return a message type as ROS 2 writes it: sensor_msgs/Image is sensor_msgs/msg/Image."""
    package, slash, kind = name.partition('/')
    return f'{package}/msg/{kind}' if slash and '/' not in kind else name


class BagMessage(NamedTuple):
    """One recorded message, still serialised."""

    topic: str
    type: str
    cdr: bytes
    log_time_ns: int


class Storage(Protocol):
    """One file of a bag. Messages whose encoding is not CDR are left out and their topics named."""

    path: Path
    damage: str | None  # what of the file cannot be read; None when it is whole
    counts: Counter[tuple[str, str]]  # messages by (topic, type)
    bounds_ns: tuple[int, int] | None  # first and last log time; None without messages
    clock_set_back_ns: int  # how far log times fall behind earlier ones in the order of writing
    metadata: dict[str, dict[str, str]]  # the recorder's own notes by name
    foreign_topics: list[str]  # topics whose messages are not CDR

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
            BagError: the file is damaged; what precedes the place has been yielded.
        """

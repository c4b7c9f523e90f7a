"""What every storage of a bag offers, whatever its format."""

from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

END_OF_TIME_NS = 2**63 - 1  # the largest that SQLite and ROS can say


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

    @property
    def damage(self) -> str | None:
        """What of the file cannot be read; None when it is whole."""

    @property
    def counts(self) -> Counter[tuple[str, str]]:
        """Messages by (topic, type)."""

    @property
    def bounds_ns(self) -> tuple[int, int] | None:
        """First and last log time; None without messages."""

    @property
    def clock_set_back_ns(self) -> int:
        """How far log times fall behind earlier ones in the order of writing: the clock was set."""

    @property
    def metadata(self) -> dict[str, dict[str, str]]:
        """The recorder's own notes by name."""

    @property
    def foreign_topics(self) -> list[str]:
        """Topics whose messages are not CDR."""

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
            BagError: the file is damaged; what precedes the place has been yielded.
        """

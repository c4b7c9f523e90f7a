"""Logs what the policy said and how everything fared, as a bag: chunks, gates, set-points, diagnostics.

A process of its own, so that no disk can hold up the policy, and the log of a killed policy is complete. What
was lost on the way shows in the log itself: chunks are numbered, gates follow the tactile frames' stamps.
"""

import datetime
from collections import Counter
from typing import NamedTuple

from pydantic import Field
from rclpy.timer import Timer

from restac_ros.contract.schema import Contract
from restac_ros.dataset.bag.rosbag2_layout import describe_type
from restac_ros.dataset.errors import JournalError
from restac_ros.dataset.session_log import SessionLog
from restac_ros.nodes.diagnostics import Status
from restac_ros.nodes.lifecycle import ManagedNode
from restac_ros.nodes.parameters import NodeParameters, OptionalPath, ParameterError
from restac_ros.nodes.polled_input import PolledInput
from restac_ros.nodes.running import ONLOOKER_NICENESS, run_node
from restac_ros.nodes.subscriptions import UnknownTypeError, message_class

TAKE_PERIOD_S = 0.1
DEPTH = 2048  # of a topic's queue: 20 s of set-points at 100 Hz


class SessionLogParameters(NodeParameters):
    """See config/session_log.yaml."""

    log_dir: OptionalPath = Field(description='where logs go, each a bag named by its start')
    task: str = Field(description='what the run is about, noted in the log')
    topics: list[str] = Field(min_length=1, description="what is logged, each as 'TOPIC TYPE'")


class Logged(NamedTuple):
    """A topic to be logged."""

    topic: str
    kind: str


def parse_topics(entries: list[str]) -> list[Logged]:
    """'TOPIC TYPE' each.

    Raises:
        ParameterError: an entry is not of this form, or a topic is named twice.
    """
    found: dict[str, Logged] = {}
    for entry in entries:
        topic, _, kind = entry.strip().partition(' ')
        if kind.count('/') != 2 or ' ' in kind.strip():
            raise ParameterError(f"parameter 'topics': {entry!r}; expected as '/topic package/msg/Name'")
        if topic in found:
            raise ParameterError(f"parameter 'topics': {topic} is named twice")
        found[topic] = Logged(topic, kind.strip())
    return list(found.values())


class SessionLogNode(ManagedNode):
    """Active: one log. Every activation begins another."""

    model = SessionLogParameters
    refusals = (JournalError, UnknownTypeError)

    def __init__(self) -> None:
        super().__init__('session_log_node')
        self.log: SessionLog | None = None
        self.last_log = ''
        self._contract: Contract | None = None
        self._received: Counter[str] = Counter()
        self._inputs: list[PolledInput] = []
        self._timer: Timer | None = None

    def configure(self) -> None:
        folder = self.parameters.log_dir
        if folder is None:
            raise ParameterError("parameter 'log_dir' is empty: name a directory with -p log_dir:=DIRECTORY")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            found = f"parameter 'log_dir' is {folder}: {error.strerror}"
            raise ParameterError(f'{found}; name a directory that can be written') from error
        self._contract = self.load_contract()
        for _, kind in parse_topics(self.parameters.topics):
            message_class(kind)
            describe_type(kind)

    def activate(self) -> None:
        name = datetime.datetime.now().strftime('session_%Y-%m-%dT%H-%M-%S')
        path = self.parameters.log_dir / name
        self.log = SessionLog(path, self._contract, start_ns=self.now_ns(), task=self.parameters.task)
        self.last_log = str(path)
        self._received = Counter()
        self._inputs = [self._listen(*logged) for logged in parse_topics(self.parameters.topics)]
        self._timer = self.create_timer(TAKE_PERIOD_S, self._take, clock=self.steady_clock)

    def deactivate(self) -> None:
        if self._timer:
            self.destroy_timer(self._timer)
            self._timer = None
        self._take()
        for source in self._inputs:
            source.destroy()
        self._inputs.clear()
        if self.log:
            log, self.log = self.log, None
            self.get_logger().info(f'{log.close(self.now_ns())}: {log.written} messages')

    def summarise(self) -> dict[str, object]:
        return {'log': self.last_log, 'received': dict(self._received)}

    def diagnose(self) -> list[Status]:
        if self.log is None:
            return []
        values = {topic: str(count) for topic, count in self._received.items()}
        values |= {'written': str(self.log.written), 'dropped': str(self.log.dropped)}
        level = 'error' if self.log.failure else 'warn' if self.log.dropped else 'ok'
        return [Status('session log', level, self.log.failure or f'writing {self.log.path}', values)]

    def _listen(self, topic: str, kind: str) -> PolledInput:
        full_name = self.resolve_topic_name(topic)

        def receive(cdr: bytes, info: dict) -> None:
            self._received[full_name] += 1
            self.log.write(full_name, kind, cdr, info['received_timestamp'] or self.now_ns())

        return PolledInput(self, message_class(kind), topic, DEPTH, receive, raw=True, reliable=True)

    def _take(self) -> None:
        for source in self._inputs:
            source.take()


def main() -> None:
    """Entry point."""
    run_node(SessionLogNode, niceness=ONLOOKER_NICENESS)


if __name__ == '__main__':
    main()

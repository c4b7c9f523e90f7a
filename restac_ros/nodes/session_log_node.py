"""Logs chunks, gates, set-points and diagnostics as a bag.

A process of its own, so that a slow disk cannot delay the policy, and the log of a killed policy is complete.
Losses show in the log itself: chunks are numbered, gates have the stamps of tactile frames.
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
from restac_ros.nodes.diagnostics import Status, StatusLevel
from restac_ros.nodes.lifecycle import ManagedNode
from restac_ros.nodes.parameters import NodeParameters, OptionalPath, ParameterError
from restac_ros.nodes.polled_input import PolledInput
from restac_ros.nodes.running import ONLOOKER_NICENESS, run_node
from restac_ros.nodes.subscriptions import UnknownTypeError, message_class

POLL_PERIOD_S = 0.1
DEPTH = 2048  # of a topic's queue: 20 s of set-points at 100 Hz


class SessionLogParameters(NodeParameters):
    """See config/session_log.yaml."""

    log_dir: OptionalPath = Field(description='directory of the logs, each a bag named by its start')
    task: str = Field(description='task of the run, noted in the log')
    topics: list[str] = Field(min_length=1, description="logged topics, each as 'TOPIC TYPE'")


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


class _Active(NamedTuple):
    """What exists while the node is active."""

    log: SessionLog
    timer: Timer
    inputs: list[PolledInput]


class SessionLogNode(ManagedNode):
    """Active: one log. Every activation begins another."""

    model = SessionLogParameters
    refusals = (JournalError, UnknownTypeError)

    def __init__(self) -> None:
        super().__init__('session_log_node')
        self._contract: Contract | None = None
        self._active: _Active | None = None
        self._last_log = ''
        self._received: Counter[str] = Counter()

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
        if self._contract is None:
            raise JournalError(f'the log is {self.phase}: configure it first')
        name = datetime.datetime.now().strftime('session_%Y-%m-%dT%H-%M-%S')
        path = self.parameters.log_dir / name
        log = SessionLog(path, self._contract, start_ns=self.now_ns(), task=self.parameters.task)
        self._last_log, self._received = str(path), Counter()
        inputs: list[PolledInput] = []
        timer = self.create_timer(POLL_PERIOD_S, lambda: _poll(inputs), clock=self.steady_clock)
        self._active = _Active(log, timer, inputs)
        for topic, kind in parse_topics(self.parameters.topics):
            inputs.append(self._input(log, topic, kind))

    def deactivate(self) -> None:
        active, self._active = self._active, None
        if active is None:
            return
        self.destroy_timer(active.timer)
        _poll(active.inputs)
        for source in active.inputs:
            source.destroy()
        self.get_logger().info(f'{active.log.close(self.now_ns())}: {active.log.written} messages')

    def summarise(self) -> dict[str, object]:
        return {'log': self._last_log, 'received': dict(self._received)}

    def diagnose(self) -> list[Status]:
        if self._active is None:
            return []
        log = self._active.log
        values = {topic: str(count) for topic, count in self._received.items()}
        values |= {'written': str(log.written), 'dropped': str(log.dropped)}
        level: StatusLevel = 'error' if log.failure else 'warn' if log.dropped else 'ok'
        return [Status('session log', level, log.failure or f'writing {log.path}', values)]

    def _input(self, log: SessionLog, topic: str, kind: str) -> PolledInput:
        full_name = self.resolve_topic_name(topic)

        def receive(cdr: bytes, info: dict) -> None:
            self._received[full_name] += 1
            log.write(full_name, kind, cdr, info['received_timestamp'] or self.now_ns())

        return PolledInput(self, message_class(kind), topic, DEPTH, receive, raw=True, reliable=True)


def _poll(inputs: list[PolledInput]) -> None:
    for source in inputs:
        source.poll()


def main() -> None:
    """Entry point."""
    run_node(SessionLogNode, niceness=ONLOOKER_NICENESS)


if __name__ == '__main__':
    main()

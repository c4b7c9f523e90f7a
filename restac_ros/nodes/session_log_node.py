"""Logs chunks, gates, set-points and diagnostics as a bag.

A process of its own, so that a slow disk cannot delay the policy, and the log of a killed policy is complete.
Losses show in the log itself: chunks are numbered, gates have the stamps of tactile frames.
"""

import datetime
import time
from collections import Counter
from typing import NamedTuple

from pydantic import Field
from rclpy.qos import QoSProfile
from rclpy.timer import Timer

from restac_ros.contract.schema import Contract
from restac_ros.dataset.bag.rosbag2_layout import describe_type
from restac_ros.dataset.errors import JournalError
from restac_ros.dataset.session_log import SessionLog
from restac_ros.nodes.diagnostics import Status, StatusLevel
from restac_ros.nodes.lifecycle import ManagedNode
from restac_ros.nodes.polled_input import PolledInput
from restac_ros.nodes.running import ONLOOKER_NICENESS, run_node
from restac_ros.nodes.subscriptions import UnknownTypeError, message_class
from restac_ros.runtime.node_parameters import NodeParameters, OptionalPath, ParameterError
from restac_ros.runtime.simulated_arrival import SimulatedArrival

POLL_PERIOD_S = 0.1
QOS = QoSProfile(depth=2048)  # reliable; 20 s of set-points at 100 Hz


class SessionLogParameters(NodeParameters):
    """See config/session_log.yaml."""

    log_dir: OptionalPath = Field(description='directory of the logs, each a bag named by its start')
    task: str = Field(description='task of the run, stored in the log')
    topics: list[str] = Field(min_length=1, description="logged topics, each as 'TOPIC TYPE'")


def parse_topics(entries: list[str]) -> dict[str, str]:
    """Types by topic, of entries 'TOPIC TYPE'.

    Raises:
        ParameterError: an entry is not of this form, or a topic is named twice.
    """
    found: dict[str, str] = {}
    for entry in entries:
        topic, _, kind = entry.strip().partition(' ')
        if kind.count('/') != 2 or ' ' in kind.strip():
            raise ParameterError(f"parameter 'topics': {entry!r}; expected as '/topic package/msg/Name'")
        if topic in found:
            raise ParameterError(f"parameter 'topics': {topic} is named twice")
        found[topic] = kind.strip()
    return found


class _Active(NamedTuple):
    """State while the node is active."""

    log: SessionLog
    timer: Timer
    inputs: list[PolledInput]


class SessionLogNode(ManagedNode[SessionLogParameters]):
    """Active: one log. Every activation begins another."""

    model = SessionLogParameters
    refusals = (JournalError, UnknownTypeError)

    def __init__(self) -> None:
        super().__init__('session_log_node')
        self._contract: Contract | None = None
        self._active: _Active | None = None
        self._last_log = ''
        self._received: Counter[str] = Counter()
        self._unstamped = 0
        self._simulated = SimulatedArrival() if self.get_parameter('use_sim_time').value else None

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
        for kind in parse_topics(self.parameters.topics).values():
            message_class(kind)
            describe_type(kind)

    def activate(self) -> None:
        folder = self.parameters.log_dir
        if self._contract is None or folder is None:
            raise JournalError(f'the log is {self.phase}: configure it first')
        name = datetime.datetime.now().strftime('session_%Y-%m-%dT%H-%M-%S')
        path = folder / name
        log = SessionLog(path, self._contract, start_ns=self.now_ns(), task=self.parameters.task)
        self._last_log, self._received, self._unstamped = str(path), Counter(), 0
        topics = parse_topics(self.parameters.topics)
        inputs = [self._input(log, topic, kind) for topic, kind in topics.items()]
        timer = self.create_timer(POLL_PERIOD_S, lambda: _poll(inputs), clock=self.steady_clock)
        self._active = _Active(log, timer, inputs)

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
        return {'log': self._last_log, 'received': dict(self._received), 'before_clock': self._unstamped}

    def diagnose(self) -> list[Status]:
        if self._active is None:
            return []
        log = self._active.log
        values = {topic: str(count) for topic, count in self._received.items()}
        counts = {'written': log.written, 'dropped': log.dropped, 'before_clock': self._unstamped}
        values |= {name: str(count) for name, count in counts.items()}
        level: StatusLevel = 'error' if log.failure else 'warn' if log.dropped else 'ok'
        return [Status('session log', level, log.failure or f'writing {log.path}', values)]

    def _arrival_ns(self, info: dict) -> int:
        """Time of an arrival by the node's clock, ns; 0 before that has begun."""
        arrived_ns, now_ns = info['received_timestamp'], self.now_ns()
        if not arrived_ns or not now_ns:
            return now_ns
        if self._simulated:
            return self._simulated.arrival_ns(arrived_ns, time.time_ns(), now_ns)
        return arrived_ns

    def _input(self, log: SessionLog, topic: str, kind: str) -> PolledInput:
        full_name = self.resolve_topic_name(topic)

        def receive(cdr: bytes, info: dict) -> None:
            if not (arrived_ns := self._arrival_ns(info)):
                self._unstamped += 1  # before the first message on /clock there is no time to log it by
                return
            self._received[full_name] += 1
            log.write(full_name, kind, cdr, arrived_ns)

        return PolledInput(self, message_class(kind), topic, QOS, receive, raw=True)


def _poll(inputs: list[PolledInput]) -> None:
    for source in inputs:
        source.poll()


def main() -> None:
    """Entry point."""
    run_node(SessionLogNode, niceness=ONLOOKER_NICENESS)

"""Receives every stream of the contract for a few seconds, logs the faults of each, and ends."""

import time
from array import array
from dataclasses import asdict, dataclass, field

import numpy as np
from pydantic import Field
from rclpy.node import Node
from rclpy.qos import ReliabilityPolicy

from restac_ros.contract.schema import Contract
from restac_ros.framing.errors import DecodeError
from restac_ros.framing.sample import Sample
from restac_ros.framing.values import decode_value
from restac_ros.nodes.lifecycle import ManagedNode
from restac_ros.nodes.running import run_node
from restac_ros.nodes.subscriptions import Subscriptions, UnknownTypeError
from restac_ros.runtime.complaints import Complaints
from restac_ros.runtime.doctor_checks import Check, Publisher, StreamReception, examine_streams, is_healthy
from restac_ros.runtime.doctor_machine import measure_machine
from restac_ros.runtime.node_parameters import NodeParameters, OptionalPath

_POLL_PERIOD_S = 0.1


class DoctorParameters(NodeParameters):
    """See config/doctor.yaml."""

    seconds: float = Field(gt=0, le=600, description='how long to listen, s')
    discovery_s: float = Field(
        ge=0, le=60, description='how long to wait for publishers, and then for a message, before, s'
    )
    journal_dir: OptionalPath = Field(description='directory of recordings; empty: the disk is not measured')
    write_mb: int = Field(ge=1, le=4096, description='written there, and removed, to measure the disk')


@dataclass
class ReceivedStream:
    """Received samples of one stream."""

    first_ns: int = 0
    last_ns: int = 0
    count: int = 0
    delays_ns: array = field(default_factory=lambda: array('q'))
    newest: Sample | None = None

    def add(self, sample: Sample) -> None:
        """Count a sample; keep only the newest."""
        self.first_ns = self.first_ns if self.count else sample.receive_ns
        self.last_ns = sample.receive_ns
        self.count += 1
        self.newest = sample
        if not sample.zero_stamp:
            self.delays_ns.append(sample.receive_ns - sample.stamp_ns)


class DoctorNode(ManagedNode[DoctorParameters]):
    """Waits for publishers, receives, judges, ends with status 1 when there is an error."""

    model = DoctorParameters
    refusals = (UnknownTypeError,)
    contract: Contract  # from configure on

    def __init__(self) -> None:
        super().__init__('doctor_node')
        self._received: dict[str, ReceivedStream] = {}
        self._streams: Subscriptions | None = None
        self._begun_s = 0.0
        self._flowing_s: float | None = None
        self._summary: dict[str, object] = {}
        self.create_timer(_POLL_PERIOD_S, self._advance, clock=self.steady_clock)

    def configure(self) -> None:
        self.contract = self.load_contract()

    def activate(self) -> None:
        self._received = {name: ReceivedStream() for name in self.contract.streams}
        self._begun_s, self._flowing_s = time.monotonic(), None

    def deactivate(self) -> None:
        if self._streams:
            self._streams.destroy()
            self._streams = None

    def summarise(self) -> dict[str, object]:
        return self._summary

    def _advance(self) -> None:
        if self.phase != 'active' or self.exit_status is not None:
            return
        elapsed_s = time.monotonic() - self._begun_s
        if (subscriptions := self._streams) is None:
            everyone = all(_publishers(self, spec.topic) for spec in self.contract.streams.values())
            if everyone or elapsed_s >= self.parameters.discovery_s:
                self._listen()
        elif self._flowing_s is None:  # which take their time on a busy machine
            flows = subscriptions.connected and any(stream.count for stream in self._received.values())
            if flows or elapsed_s >= self.parameters.discovery_s:
                self._flowing_s = time.monotonic()
        elif time.monotonic() - self._flowing_s >= self.parameters.seconds:
            self._conclude(subscriptions)

    def _listen(self) -> None:
        self._begun_s = time.monotonic()
        self.get_logger().info(f'listening for {self.parameters.seconds:g} s')
        # The findings are logged once, at the end.
        quiet = Complaints(lambda text: None, lambda text: None, time.monotonic_ns)
        self._streams = Subscriptions(self, self._receivable_contract(), self._on_sample, quiet)

    def _receivable_contract(self) -> Contract:
        """Return the contract with QoS that every publisher meets: only received streams can be examined."""
        streams = {}
        for name, spec in self.contract.streams.items():
            offered = {publisher.reliability for publisher in _publishers(self, spec.topic)}
            reliability = 'best_effort' if 'best_effort' in offered else spec.reliability
            streams[name] = spec.model_copy(update={'reliability': reliability})
        return self.contract.model_copy(update={'streams': streams})

    def _on_sample(self, sample: Sample) -> None:
        self._received[sample.stream].add(sample)

    def _conclude(self, subscriptions: Subscriptions) -> None:
        seconds = time.monotonic() - self._begun_s
        subscriptions.poll()
        streams = {name: self._reception(name, subscriptions, seconds) for name in self.contract.streams}
        offered = self.get_topic_names_and_types()
        topics = {topic: types for topic, types in offered if self.count_publishers(topic)}
        machine = measure_machine(
            self.parameters.journal_dir, self.parameters.write_mb * 10**6, time.monotonic_ns
        )
        checks = examine_streams(self.contract, streams, topics, machine)
        self._summary = {
            'contract': self.contract.name,
            'seconds': round(seconds, 3),
            'healthy': is_healthy(checks),
            'checks': [asdict(check) for check in checks],
            'streams': {name: asdict(reception) for name, reception in streams.items()},
            'machine': asdict(machine),
        }
        if self.parameters.summary_file is None:
            self._log_checks(checks)
        self.exit_status = 0 if is_healthy(checks) else 1

    def _reception(self, name: str, subscriptions: Subscriptions, seconds: float) -> StreamReception:
        received, tally = self._received[name], subscriptions.tallies[name]
        span_ns = received.last_ns - received.first_ns if received.count > 1 else 0
        rate_hz = (received.count - 1 + tally.lost) * 1e9 / span_ns if span_ns > 0 else None
        return StreamReception(
            publishers=tuple(_publishers(self, self.contract.streams[name].topic)),
            received=tally.received,
            lost=tally.lost,
            zero_stamps=tally.zero_stamps,
            refused=tally.refused,
            others=tally.others,
            bytes_per_s=tally.bytes / seconds,
            rate_hz=rate_hz,
            delay_ms=float(np.median(received.delays_ns)) * 1e-6 if received.delays_ns else None,
            problem=self._problem(name, received.newest)
            if tally.received
            else subscriptions.why_silent(name),
        )

    def _problem(self, name: str, sample: Sample | None) -> str:
        """Return why the newest message cannot be decoded, or ''."""
        if sample is None:
            return ''
        try:
            decode_value(self.contract, name, sample.cdr)
        except DecodeError as error:
            return str(error)
        return ''

    def _log_checks(self, checks: list[Check]) -> None:
        log = self.get_logger()
        for check in checks:
            text = f'{check.subject}: {check.found}' + (f'. {check.remedy}' if check.remedy else '')
            {'ok': log.info, 'warning': log.warning, 'error': log.error}[check.level](text)


def _publishers(node: Node, topic: str) -> list[Publisher]:
    """Present publishers of a topic."""
    found = []
    for info in node.get_publishers_info_by_topic(topic):
        best_effort = info.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT
        name = f'{info.node_namespace.rstrip("/")}/{info.node_name}'
        found.append(Publisher(name, info.topic_type, 'best_effort' if best_effort else 'reliable'))
    return found


def main() -> None:
    """Entry point."""
    run_node(DoctorNode)

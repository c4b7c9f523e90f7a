"""Subscribes to a contract's streams and passes serialised messages on as Samples with stamps."""

import importlib
import math
import threading
import time
from collections.abc import Callable

from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.timer import Timer

from restac_ros.contract.schema import Contract, Stream
from restac_ros.framing.decode import why_not_of
from restac_ros.framing.errors import DecodeError
from restac_ros.framing.sample import Sample, belongs, make_sample
from restac_ros.nodes.lifecycle import ManagedNode
from restac_ros.nodes.polled_input import PolledInput
from restac_ros.runtime.complaints import Complaints
from restac_ros.runtime.simulated_arrival import SimulatedArrival
from restac_ros.runtime.tally import StreamTally
from restac_ros.runtime.worker import Worker

STALL_S = 2.0  # what a queue holds, so that a stalled process loses nothing
_MIN_DEPTH = 16
# Waking a Python executor costs 0.3 ms, a third of a core for a 1 kHz stream: streams are polled by a timer,
# and before each frame, so that frames miss nothing.
_POLL_PERIOD_S = 0.02
# Period at which a thread polls tactile streams, which need an answer at once; every fifth time it polls all.
OWN_POLL_PERIOD_S = 0.001
ALL_EVERY = 5


class UnknownTypeError(ValueError):
    """A message type is not installed; the text names the package."""


def message_class(type_name: str) -> type:
    """Return the class of 'package/msg/Name' or 'package/action/Name'.

    Raises:
        UnknownTypeError: its package is not installed.
    """
    package, kind, name = type_name.split('/')
    try:
        return getattr(importlib.import_module(f'{package}.{kind}'), name)
    except (ImportError, AttributeError) as error:
        called, where = {'msg': 'message'}.get(kind, kind), package.replace('_', '-')
        raise UnknownTypeError(
            f'{called} type {type_name} is not installed: install ros-jazzy-{where}'
        ) from error


def stream_qos(spec: Stream, rate_hz: float) -> QoSProfile:
    """QoS of one topic: the contract's reliability, a queue for `STALL_S` at `rate_hz`."""
    reliability = (
        ReliabilityPolicy.RELIABLE if spec.reliability == 'reliable' else ReliabilityPolicy.BEST_EFFORT
    )
    depth = max(_MIN_DEPTH, math.ceil(rate_hz * STALL_S))
    return QoSProfile(depth=depth, reliability=reliability)


class Subscriptions:
    """Passes the streams of a contract as Samples to `on_sample`.

    Samples of one stream are in order of arrival; those of different streams may be slightly out of order.
    A timer polls the streams, or, with `on_failure`, a thread, which calls it with a sentence if it fails.

    `tallies` counts each stream; `complaints` receives each fault once.
    """

    def __init__(
        self,
        node: ManagedNode,
        contract: Contract,
        on_sample: Callable[[Sample], None],
        complaints: Complaints,
        on_failure: Callable[[str], None] | None = None,
    ) -> None:
        self.tallies = {name: StreamTally() for name in contract.streams}
        self._foreign: dict[str, bytes] = {}  # joint states that came after a stream's last own one
        self._seen = dict.fromkeys(contract.streams, 0)
        self._node = node
        self._contract = contract
        self._on_sample = on_sample
        self._complaints = complaints
        self._simulated = SimulatedArrival() if node.get_parameter('use_sim_time').value else None
        self._polling = threading.Lock()
        self._inputs = {names: self._input(names) for names in contract.by_topic().values()}
        self._urgent = [
            queue for names, queue in self._inputs.items() if contract.streams[names[0]].role == 'tactile'
        ]
        self._polls = 0
        self._timer: Timer | None = None
        self._poller: Worker | None = None
        if on_failure:
            poller = Worker('receive', lambda: self._poll(poller), on_failure)
            self._poller = poller
            poller.start()
        else:
            self._timer = node.create_timer(_POLL_PERIOD_S, self.poll, clock=node.steady_clock)

    @property
    def connected(self) -> bool:
        """Whether every topic with a publisher is received from one publisher at least."""
        queues = self._inputs.values()
        return all(queue.publishers or not self._node.count_publishers(queue.topic) for queue in queues)

    def poll(self) -> None:
        """Receive what has arrived; from any thread, so that frames use the latest."""
        with self._polling:
            for queue in self._inputs.values():
                queue.poll()

    def why_silent(self, name: str) -> str:
        """Return which other joints the topic's latest message names; '' where that is usual.

        It is usual once the stream has had messages, if the latest is of another stream of the topic.
        """
        cdr, spec = self._foreign.get(name), self._contract.streams[name]
        if cdr is None:
            return ''
        sharing = [other for other in self._contract.by_topic()[spec.topic] if other != name]
        if self.tallies[name].received and any(belongs(self._contract.streams[o], cdr) for o in sharing):
            return ''
        return why_not_of(spec, cdr)

    def check_publishers(self) -> None:
        """Report topics whose publishers have another type or reliability than the contract.

        Only streams that have received nothing since the call before are checked.
        """
        for name, spec in self._contract.streams.items():
            received, self._seen[name] = self._seen[name], self.tallies[name].received
            if received != self._seen[name]:
                continue
            publishers = self._node.get_publishers_info_by_topic(spec.topic)
            types = sorted({publisher.topic_type for publisher in publishers} - {spec.type})
            if types:
                found = f'{spec.topic} is published as {", ".join(types)}, the contract expects {spec.type}'
                self._complaints.set(
                    f'{name} type', 'type', f'{name}: {found}; correct topic or type of {name}'
                )
            else:
                self._complaints.clear(f'{name} type')
            unreliable = [p for p in publishers if p.qos_profile.reliability is ReliabilityPolicy.BEST_EFFORT]
            if spec.reliability == 'reliable' and unreliable:
                found = f'{name}: a publisher of {spec.topic} has incompatible QoS (reliability), no message'
                remedy = f'set reliability: best_effort for {name} in the contract'
                self._complaints.set(f'{name} qos', 'reliability', f'{found} arrives; {remedy}')

    def destroy(self) -> None:
        """Unsubscribe."""
        if self._timer:
            self._node.destroy_timer(self._timer)
        if self._poller:
            self._poller.ask_to_stop()
            self._poller.join()
        with self._polling:
            for queue in self._inputs.values():
                queue.destroy()
            self._inputs = {}

    def _poll(self, poller: Worker) -> None:
        poller.wait(OWN_POLL_PERIOD_S)
        self._polls += 1
        if self._polls % ALL_EVERY == 0:
            self.poll()
            return
        with self._polling:
            for queue in self._urgent:
                queue.poll()

    def _input(self, names: tuple[str, ...]) -> PolledInput:
        """Subscribe to the topic that these streams share."""
        spec = self._contract.streams[names[0]]

        def receive(cdr: bytes, info: dict) -> None:
            receive_ns = self._arrival_ns(info)
            for name in names:
                self._receive_one(name, cdr, info['publication_sequence_number'], receive_ns)

        qos = stream_qos(spec, sum(self._contract.streams[name].rate_hz for name in names))
        return PolledInput(self._node, message_class(spec.type), spec.topic, qos, receive, raw=True)

    def _receive_one(self, name: str, cdr: bytes, number: int, receive_ns: int) -> None:
        tally = self.tallies[name]
        try:
            sample = make_sample(self._contract, name, cdr, receive_ns)
        except DecodeError as error:
            tally.count(number, len(cdr))
            tally.refused += 1
            self._complaints.set(f'{name} header', 'header', f'{name}: {error}')
            return
        if sample is None:
            tally.others += 1
            self._foreign[name] = cdr
            return
        if self._simulated:
            sample = self._simulated.in_order(sample)
        tally.count(number, len(cdr))
        self._foreign.pop(name, None)
        if sample.zero_stamp:
            tally.zero_stamps += 1
            self._warn_of_zero_stamps(name)
        self._on_sample(sample)

    def _arrival_ns(self, info: dict) -> int:
        """Time at which the middleware completed the message, by the node's clock.

        The middleware's threads measure it, independent of the load of this process.
        """
        arrival_ns = info['received_timestamp']
        if not arrival_ns:
            return self._node.now_ns()
        if self._simulated:
            return self._simulated.arrival_ns(arrival_ns, time.time_ns(), self._node.now_ns())
        return arrival_ns

    def _warn_of_zero_stamps(self, name: str) -> None:
        if self.tallies[name].zero_stamps == 1:
            spec = self._contract.streams[name]
            self._node.get_logger().warning(
                f'{name}: stamps on {spec.topic} are zero, so the time of receipt less latency_ms '
                f'({spec.latency_ms:g}) counts as capture: set latency_ms to the latency of the driver'
            )

"""Feeds recordings to the scene, as live messages are, without ROS."""

import heapq
from collections.abc import Iterator, Sequence

import numpy as np

from restac_ros.contract.schema import Contract
from restac_ros.dataset.bag.bag_reader import Bag
from restac_ros.dataset.bag.message_types import deserialize
from restac_ros.dataset.bag.storage import BagMessage
from restac_ros.framing.sample import belongs
from restac_ros.framing.values import decode_value
from restac_ros.view.errors import ViewError
from restac_ros.view.samples import chunk_sample, gate_sample, held_reason, residual_map
from restac_ros.view.scene import GateScene, SceneOptions

CHUNK_TYPE = 'restac_ros/msg/ActionChunk'
GATE_TYPE = 'restac_ros/msg/GateState'
_DIAGNOSTICS_TYPE = 'diagnostic_msgs/msg/DiagnosticArray'
_POLICY_TYPES = (CHUNK_TYPE, GATE_TYPE, _DIAGNOSTICS_TYPE)
RESIDUAL_NAME = '/tactile_residual'  # how its topic ends, whatever the policy node is called


def tactile_stream(contract: Contract, name: str = '') -> str:
    """The tactile stream called `name`, or the contract's first.

    Raises:
        ViewError: there is none, or none of that name.
    """
    known = list(contract.by_role('tactile'))
    if not known or (name and name not in known):
        raise ViewError(f'tactile stream {name!r}: the contract has {", ".join(known) or "none"}')
    return name or known[0]


def scene_at(
    contract: Contract, bags: Sequence[Bag], time_ns: int | None, options: SceneOptions
) -> tuple[GateScene, int]:
    """The scene at `time_ns` of the bags' log time, and that time.

    None takes the last live moment: gate, touch and pose, so far as the bags hold them, all still arrive.

    `bags` may be one that holds everything, or a journal of sensor streams and the session log of its run.
    The reference of the tactile image is made of the bags' first tactile frames.

    Raises:
        ViewError: nothing in the bags can be shown, or nothing of them precedes `time_ns`.
        BagError: a message of the policy is damaged.
        DecodeError: a tactile frame or a tool pose contradicts the contract.
    """
    reader = _Reader(contract, options)
    _check(bags, reader.topics)
    if time_ns is None:
        time_ns = _last_live_ns(bags, reader.topics)
    end_ns = time_ns
    for message in _merged(bags, reader.topics, time_ns):
        reader.add(message)
        end_ns = max(message.log_time_ns, end_ns or 0)
    if end_ns is None or not reader.added:
        raise ViewError(f'no message to show up to {time_ns} ns; the bags begin later')
    reader.flush()
    return reader.scene, end_ns


class _Reader:
    """Feeds a scene. The pose, at up to 1 kHz, is decoded at the scene's own pace only."""

    POSE_PERIOD_NS = 50_000_000

    def __init__(self, contract: Contract, options: SceneOptions) -> None:
        self.tactile = tactile_stream(contract)
        self.scene = GateScene(contract, self.tactile, options)
        self.added = 0
        self._contract = contract
        self._pose: BagMessage | None = None
        self._pose_due_ns = 0
        self._streams = {
            contract.streams[self.tactile].topic: self._add_tactile,
            contract.streams[contract.pose_stream].topic: self._keep_pose,
        }

    @property
    def topics(self) -> set[str]:
        """Contract topics to read; the policy's topics are found by type, the residual by name."""
        return set(self._streams)

    def add(self, message: BagMessage) -> None:
        """Add a message to the scene."""
        self.added += 1
        if message.type in (CHUNK_TYPE, GATE_TYPE):
            value = deserialize(message.cdr, message.type)
            if message.type == GATE_TYPE:
                self.scene.add_gate(gate_sample(value), message.log_time_ns)
            else:
                chunk = chunk_sample(value, self._contract.robot.base_frame)
                self.scene.add_chunk(chunk, message.log_time_ns)
        elif message.type == _DIAGNOSTICS_TYPE:
            held = held_reason(deserialize(message.cdr, message.type))
            if held is not None:
                self.scene.add_hold(held, message.log_time_ns)
        elif message.topic in self._streams:
            self._streams[message.topic](message)
        else:
            residual = residual_map(deserialize(message.cdr, message.type))
            self.scene.add_residual(residual, message.log_time_ns)

    def flush(self) -> None:
        """Add the last pose."""
        if self._pose is not None:
            self._add_pose(self._pose)

    def _keep_pose(self, message: BagMessage) -> None:
        if not belongs(self._contract.streams[self._contract.pose_stream], message.cdr):
            return
        self._pose = message
        if message.log_time_ns >= self._pose_due_ns:
            self._add_pose(message)
            self._pose_due_ns = message.log_time_ns + self.POSE_PERIOD_NS

    def _add_pose(self, message: BagMessage) -> None:
        pose: np.ndarray = decode_value(self._contract, self._contract.pose_stream, message.cdr)
        self.scene.add_pose(pose, message.log_time_ns)

    def _add_tactile(self, message: BagMessage) -> None:
        self.scene.add_tactile(decode_value(self._contract, self.tactile, message.cdr), message.log_time_ns)


def _check(bags: Sequence[Bag], topics: set[str]) -> None:
    found = {name: topic.type for bag in bags for name, topic in bag.topics.items()}
    if not set(found) & topics and not {CHUNK_TYPE, GATE_TYPE} & set(found.values()):
        expected = f'one of {", ".join(sorted(topics))}, or messages of {CHUNK_TYPE} or {GATE_TYPE}'
        raise ViewError(f'the bags hold {", ".join(found) or "no topic"}; expected {expected}')


def _last_live_ns(bags: Sequence[Bag], topics: set[str]) -> int | None:
    """The earliest of the last receipts of gate, touch and pose; None without any of these."""
    last_ns: dict[str, int] = {}
    for bag in bags:
        gates = {name for name, topic in bag.topics.items() if topic.type == GATE_TYPE}
        for message in bag.messages((topics | gates) & set(bag.topics), head_bytes=0):
            last_ns[message.topic] = max(message.log_time_ns, last_ns.get(message.topic, 0))
    return min(last_ns.values(), default=None)


def _merged(bags: Sequence[Bag], topics: set[str], time_ns: int | None) -> Iterator[BagMessage]:
    """Return the messages that the scene needs, in log order, up to and including `time_ns`."""
    streams = []
    for bag in bags:
        ours = {
            name
            for name, topic in bag.topics.items()
            if topic.type in _POLICY_TYPES or name.endswith(RESIDUAL_NAME)
        }
        stop = {} if time_ns is None else {'stop_ns': time_ns + 1}
        streams.append(bag.messages((topics | ours) & set(bag.topics), **stop))
    return heapq.merge(*streams, key=lambda message: message.log_time_ns)

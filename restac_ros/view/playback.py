"""Feeds recordings to the scene, as live messages are, without ROS."""

import heapq
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Protocol

import numpy as np

from restac_ros.contract.schema import Contract
from restac_ros.dataset.bag.bag_reader import Bag
from restac_ros.dataset.bag.message_types import deserialize
from restac_ros.dataset.bag.storage import BagMessage
from restac_ros.framing.sample import belongs
from restac_ros.framing.values import decode_value
from restac_ros.view.errors import ViewError
from restac_ros.view.samples import (
    ChunkSample,
    GateSample,
    chunk_sample,
    gate_sample,
    held_reason,
    residual_map,
    subtask_words,
)
from restac_ros.view.scene import GateScene, SceneOptions

CHUNK_TYPE = 'restac_ros/msg/ActionChunk'
GATE_TYPE = 'restac_ros/msg/GateState'
_DIAGNOSTICS_TYPE = 'diagnostic_msgs/msg/DiagnosticArray'
_SUBTASK_TYPE = 'restac_ros/msg/Subtask'
_POLICY_TYPES = (CHUNK_TYPE, GATE_TYPE, _DIAGNOSTICS_TYPE, _SUBTASK_TYPE)
RESIDUAL_NAME = '/tactile_residual'  # how its topic ends, whatever the policy node is called


def tactile_stream(contract: Contract, name: str = '') -> str | None:
    """The tactile stream called `name`, or the contract's first; None of a robot without a tactile sensor.

    Raises:
        ViewError: there is none of that name.
    """
    known = list(contract.by_role('tactile'))
    if name and name not in known:
        raise ViewError(f'tactile stream {name!r}: the contract has {", ".join(known) or "none"}')
    return name or next(iter(known), None)


def scene_at(
    contract: Contract, bags: Sequence[Bag], time_ns: int | None, options: SceneOptions
) -> tuple[GateScene, int]:
    """The scene at `time_ns` of the bags' log time, and that time.

    None: the last live moment: gate, touch and pose, so far as the bags hold them, all still arrive.

    `bags` may be one that holds everything, or a journal of sensor streams and the session log of its run.
    The reference of the tactile image is made of the bags' first tactile frames.

    Raises:
        ViewError: nothing in the bags can be shown, or nothing of them precedes `time_ns`.
        BagError: a message of the policy is damaged.
        DecodeError: a tactile frame or a tool pose contradicts the contract.
    """
    scene = GateScene(contract, tactile_stream(contract), options)
    reader = RecordingReader(contract, scene)
    check_shown(bags, reader.topics)
    if time_ns is None:
        time_ns = _last_live_ns(bags, reader.topics)
    end_ns = time_ns
    for message in merged_messages(bags, reader.topics, time_ns):
        reader.add(message)
        end_ns = max(message.log_time_ns, end_ns or 0)
    if end_ns is None or not reader.added:
        raise ViewError(f'no message to show up to {time_ns} ns; the bags begin later')
    reader.flush()
    return scene, end_ns


class Showing(Protocol):
    """What shows a run: it receives each value with its time of receipt, ns."""

    def add_gate(self, gate: GateSample, steady_ns: int) -> None: ...
    def add_chunk(self, chunk: ChunkSample, steady_ns: int) -> None: ...
    def add_pose(self, pose_tool_in_base: np.ndarray, steady_ns: int) -> None: ...
    def add_tactile(self, image: np.ndarray, steady_ns: int) -> None: ...
    def add_residual(self, magnitude: np.ndarray, steady_ns: int) -> None: ...
    def add_hold(self, reason: str, steady_ns: int) -> None: ...
    def add_subtask(self, text: str, steady_ns: int) -> None: ...


class RecordingReader:
    """Passes messages on to what shows them; the pose, at up to 1 kHz, at the scene's pace only."""

    POSE_PERIOD_NS = 50_000_000

    def __init__(self, contract: Contract, scene: Showing) -> None:
        self.added = 0
        self._contract = contract
        self._scene = scene
        self._pose: BagMessage | None = None
        self._pose_due_ns = 0
        self._streams: dict[str, Callable[[BagMessage], None]] = {
            contract.streams[contract.pose_stream].topic: self._keep_pose
        }
        if (tactile := tactile_stream(contract)) is not None:
            self._streams[contract.streams[tactile].topic] = partial(self._add_tactile, tactile)

    @property
    def topics(self) -> set[str]:
        """Contract topics to read; the policy's topics are found by type, the residual by name."""
        return set(self._streams)

    def add(self, message: BagMessage) -> None:
        """Pass a message on."""
        self.added += 1
        if message.type in (CHUNK_TYPE, GATE_TYPE):
            value = deserialize(message.cdr, message.type)
            if message.type == GATE_TYPE:
                self._scene.add_gate(gate_sample(value), message.log_time_ns)
            else:
                chunk = chunk_sample(value, self._contract.robot.base_frame)
                self._scene.add_chunk(chunk, message.log_time_ns)
        elif message.type == _DIAGNOSTICS_TYPE:
            held = held_reason(deserialize(message.cdr, message.type))
            if held is not None:
                self._scene.add_hold(held, message.log_time_ns)
        elif message.type == _SUBTASK_TYPE:
            self._scene.add_subtask(
                subtask_words(deserialize(message.cdr, message.type)), message.log_time_ns
            )
        elif message.topic in self._streams:
            self._streams[message.topic](message)
        elif message.topic.endswith(RESIDUAL_NAME):
            residual = residual_map(deserialize(message.cdr, message.type))
            self._scene.add_residual(residual, message.log_time_ns)

    def flush(self) -> None:
        """Pass the last pose on."""
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
        self._scene.add_pose(pose, message.log_time_ns)

    def _add_tactile(self, tactile: str, message: BagMessage) -> None:
        image = decode_value(self._contract, tactile, message.cdr)
        self._scene.add_tactile(image, message.log_time_ns)


def check_shown(bags: Sequence[Bag], topics: set[str]) -> None:
    """Refuse bags that hold none of the contract's `topics` and nothing of a policy.

    Raises:
        ViewError: so it is.
    """
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


def merged_messages(
    bags: Sequence[Bag], topics: set[str], time_ns: int | None = None
) -> Iterator[BagMessage]:
    """Return the messages of `topics` and of the policy, in log order, up to and including `time_ns`."""
    stop = {} if time_ns is None else {'stop_ns': time_ns + 1}
    streams = [bag.messages(_shown_topics(bag, topics), **stop) for bag in bags]
    return heapq.merge(*streams, key=lambda message: message.log_time_ns)


def count_messages(bags: Sequence[Bag], topics: set[str]) -> int:
    """Return how many messages `merged_messages` gives."""
    return sum(bag.topics[name].count for bag in bags for name in _shown_topics(bag, topics))


def _shown_topics(bag: Bag, topics: set[str]) -> set[str]:
    """Those of `topics` that a bag holds, and the policy's, which are found by type or name."""
    return {
        name
        for name, topic in bag.topics.items()
        if name in topics or topic.type in _POLICY_TYPES or name.endswith(RESIDUAL_NAME)
    }

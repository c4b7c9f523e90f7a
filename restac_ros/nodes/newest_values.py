"""Newest values of some streams, polled by their reader; and who else publishes a topic."""

from typing import Any

import numpy as np
from rclpy.node import Node
from rclpy.publisher import Publisher

from restac_ros.contract.schema import Contract
from restac_ros.framing.decode import load_types
from restac_ros.framing.errors import DecodeError
from restac_ros.framing.sample import belongs, make_sample
from restac_ros.framing.values import decode_value
from restac_ros.geometry import quaternion as quat
from restac_ros.geometry.pose import Pose
from restac_ros.nodes.polled_input import PolledInput
from restac_ros.nodes.subscriptions import message_class

NAME_UNKNOWN = '_NODE_NAME_UNKNOWN_'  # rmw's, of a publisher that has just been discovered
_SHARED_DEPTH = 64  # where arm and gripper publish on one topic, at different rates


class NewestValues:
    """Keeps the newest message of each of some streams; decodes it when it is asked for."""

    def __init__(self, node: Node, contract: Contract, streams: tuple[str, ...]) -> None:
        self._node, self._contract = node, contract
        self._newest: dict[str, tuple[bytes, int]] = {}  # message and time of receipt
        load_types()  # takes tens of ms, which a thread of set-points must not spend on a first message
        self._inputs = [self._stream_input(name) for name in streams]

    def poll(self) -> None:
        """Receive what has arrived."""
        for queue in self._inputs:
            queue.poll()

    def value(self, name: str) -> tuple[int, np.ndarray] | None:
        """Return capture time, ns, and value of a stream's newest message; None where there is none."""
        if name not in self._newest:
            return None
        cdr, receive_ns = self._newest[name]
        try:
            sample = make_sample(self._contract, name, cdr, receive_ns)
            return (sample.stamp_ns, decode_value(self._contract, name, cdr)) if sample else None
        except DecodeError:
            return None  # who needs the whole frame, as the policy, reports the fault

    def pose(self, name: str) -> tuple[int, Pose] | None:
        """Capture time, ns, and pose of the tool in the base frame; None as in `value`."""
        found = self.value(name)
        if found is None:
            return None
        stamp_ns, matrix = found
        return stamp_ns, Pose(matrix[:3, 3], quat.from_matrix(matrix[:3, :3]))

    def destroy(self) -> None:
        """Unsubscribe."""
        for queue in self._inputs:
            queue.destroy()

    def _stream_input(self, name: str) -> PolledInput:
        def receive(cdr: Any, info: dict) -> None:
            if belongs(spec, cdr):
                self._newest[name] = bytes(cdr), self._node.get_clock().now().nanoseconds

        spec = self._contract.streams[name]
        kind = message_class(spec.type)
        depth = _SHARED_DEPTH if len(self._contract.by_topic()[spec.topic]) > 1 else 1
        return PolledInput(self._node, kind, spec.topic, depth, receive, raw=True)


def others_publishing(node: Node, publisher: Publisher, *, unnamed: bool = False) -> tuple[str, ...]:
    """Query the graph, which is slow, for other nodes that publish what `publisher` of `node` does.

    With `unnamed` also those whose name is not discovered yet.
    """
    infos = node.get_publishers_info_by_topic(publisher.topic_name)
    names = [
        f'{info.node_namespace.rstrip("/")}/{info.node_name}'
        for info in infos
        if unnamed or info.node_name != NAME_UNKNOWN
    ]
    ours = node.get_fully_qualified_name()
    if ours in names:
        names.remove(ours)  # once: a second node may have our name
    return tuple(names)

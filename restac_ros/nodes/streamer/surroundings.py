"""What the streamer must know besides chunks: the robot's mode, the enabling switch, other publishers."""

import time
from typing import Any

from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from std_msgs.msg import Bool

from restac_ros.nodes.parameters import ParameterError
from restac_ros.nodes.polled_input import PolledInput
from restac_ros.nodes.streamer.streamer_parameters import StreamerParameters
from restac_ros.nodes.subscriptions import message_class

# Best effort matches any publisher, and a switch that repeats itself loses nothing by a lost message.
DEADMAN_QOS = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)


def robot_state_class(parameters: StreamerParameters) -> type | None:
    """Message type of the robot's state; None when it is not watched.

    Raises:
        UnknownTypeError: the type's package is not installed.
        ParameterError: the message has no such field.
    """
    if not parameters.robot_state_topic:
        return None
    found = message_class(parameters.robot_state_type)
    fields, wanted = found.get_fields_and_field_types(), parameters.robot_mode_field
    if wanted not in fields:
        raise ParameterError(
            f'robot_mode_field is {wanted!r}, but {parameters.robot_state_type} has {", ".join(fields)}'
        )
    return found


class Surroundings:
    """Subscribes, and tells what `streaming.tick` asks for. Ages are by a steady clock."""

    def __init__(self, node: Node, parameters: StreamerParameters, target: Publisher) -> None:
        self._node = node
        self._target = target
        self._field = parameters.robot_mode_field
        self._rivals: tuple[str, ...] = ()
        self._mode: int | None = None
        self._mode_seen_ns: int | None = None
        self._pressed = False
        self._deadman_seen_ns: int | None = None
        self._robot: PolledInput | None = None
        self._deadman: Subscription | None = None
        if state_class := robot_state_class(parameters):
            topic = parameters.robot_state_topic
            self._robot = PolledInput(node, state_class, topic, 1, self._see_robot)
        if topic := parameters.deadman_topic:
            self._deadman = node.create_subscription(Bool, topic, self._see_deadman, DEADMAN_QOS)

    def look(self) -> None:
        """Read what is looked at now and then: a robot state comes at 1 kHz, the graph is slow to ask."""
        if self._robot:
            self._robot.take()
        infos = self._node.get_publishers_info_by_topic(self._target.topic_name)
        names = [f'{info.node_namespace.rstrip("/")}/{info.node_name}' for info in infos]
        ours = self._node.get_fully_qualified_name()
        if ours in names:
            names.remove(ours)  # once: a second streamer may have our name
        self._rivals = tuple(names)

    def health(self) -> dict[str, Any]:
        """Keyword arguments of `streaming.tick`."""
        now_ns = time.monotonic_ns()
        seen = {'robot state': self._mode_seen_ns}
        return {
            'ages_ns': {name: now_ns - at_ns for name, at_ns in seen.items() if at_ns is not None},
            'robot_mode': self._mode,
            'deadman_pressed': self._pressed,
            'deadman_age_ns': None if self._deadman_seen_ns is None else now_ns - self._deadman_seen_ns,
            'rivals': self._rivals,
        }

    def destroy(self) -> None:
        """Unsubscribe."""
        if self._robot:
            self._robot.destroy()
        if self._deadman:
            self._node.destroy_subscription(self._deadman)

    def _see_robot(self, message: Any, info: dict) -> None:
        self._mode = int(getattr(message, self._field))
        self._mode_seen_ns = time.monotonic_ns()

    def _see_deadman(self, message: Bool) -> None:
        self._pressed = message.data
        self._deadman_seen_ns = time.monotonic_ns()

"""Gripper commands that never block: the newest opening goes out when the gripper can take it."""

import importlib
from collections.abc import Callable
from typing import Any, Protocol

from rclpy.action import ActionClient
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.task import Future

from restac_ros.nodes.streamer.streamer_parameters import StreamerParameters
from restac_ros.nodes.subscriptions import UnknownTypeError, message_class

TOPIC_TYPES = ('std_msgs/msg/Float32', 'std_msgs/msg/Float64', 'std_msgs/msg/Float64MultiArray')
ACTION_TYPES = ('franka_msgs/action/Move', 'control_msgs/action/GripperCommand')
COMMAND_QOS = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.RELIABLE)


class GripperOutput(Protocol):
    """Where openings go. `problem` says what is wrong, '' when nothing is."""

    sent: int
    problem: str

    def command(self, opening_m: float, now_ns: int) -> None:
        """Ask for an opening between the fingertips; called at every tick, returns at once."""

    def destroy(self) -> None:
        """Take leave of ROS."""


class TopicGripper:
    """Publishes a number, scaled, whenever the opening has changed by the deadband."""

    def __init__(self, node: Node, type_name: str, topic: str, scale: float, deadband_m: float) -> None:
        self.sent = 0
        self.problem = ''
        self._node = node
        self._message = message_class(type_name)
        self._listed = type_name.endswith('MultiArray')
        self._scale = scale
        self._deadband_m = deadband_m
        self._last_m: float | None = None
        self._publisher = node.create_publisher(self._message, topic, COMMAND_QOS)

    def command(self, opening_m: float, now_ns: int) -> None:
        if self._last_m is not None and abs(opening_m - self._last_m) < self._deadband_m:
            return
        self._last_m = opening_m
        value = opening_m * self._scale
        self._publisher.publish(self._message(data=[value] if self._listed else value))
        self.sent += 1

    def destroy(self) -> None:
        self._node.destroy_publisher(self._publisher)


class ActionGripper:
    """Sends goals one at a time, the newest opening first.

    Franka's gripper takes about a second for a goal and queues others behind it, so none is sent before the
    one before is done. `timeout_ns` later it counts as done: a gripper that never answers is not waited for.
    """

    def __init__(
        self,
        client: ActionClient,
        make_goal: Callable[[float], Any],
        deadband_m: float,
        timeout_ns: int,
    ) -> None:
        self.sent = 0
        self.problem = ''
        self._client = client
        self._make_goal = make_goal
        self._deadband_m = deadband_m
        self._timeout_ns = timeout_ns
        self._last_m: float | None = None
        self._busy_until_ns: int | None = None

    def command(self, opening_m: float, now_ns: int) -> None:
        if self._last_m is not None and abs(opening_m - self._last_m) < self._deadband_m:
            return
        if self._busy_until_ns is not None and now_ns < self._busy_until_ns:
            return
        if self._busy_until_ns is not None:
            seconds = self._timeout_ns * 1e-9
            self.problem = f'the gripper has not answered for {seconds:g} s'
        if not self._client.server_is_ready():
            self.problem = 'the gripper is not commanded: its action has no server'
            return
        self._last_m, self._busy_until_ns = opening_m, now_ns + self._timeout_ns
        number = self.sent = self.sent + 1
        future = self._client.send_goal_async(self._make_goal(opening_m))
        future.add_done_callback(lambda done: self._answered(done, number))

    def destroy(self) -> None:
        self._client.destroy()

    def _answered(self, future: Future, number: int) -> None:
        handle = future.result()
        if handle is None or not handle.accepted:
            self.problem = 'the gripper refuses a goal'
            self._finished(number)
            return
        self.problem = ''
        handle.get_result_async().add_done_callback(lambda _: self._finished(number))

    def _finished(self, number: int) -> None:
        # An answer to a goal that was given up says nothing about the present one.
        if number == self.sent:
            self._busy_until_ns = None


def check_gripper_type(type_name: str) -> None:
    """Whether `make_gripper` can do it; empty is no gripper.

    Raises:
        UnknownTypeError: the type is none of ours, or its package is not installed.
    """
    if type_name in TOPIC_TYPES:
        message_class(type_name)
    elif type_name in ACTION_TYPES:
        action_class(type_name)
    elif type_name:
        known = ', '.join((*TOPIC_TYPES, *ACTION_TYPES))
        raise UnknownTypeError(f'gripper_type is {type_name!r}, expected one of {known}, or empty for none')


def make_gripper(node: Node, parameters: StreamerParameters) -> GripperOutput | None:
    """The output that the parameters ask for; None for no type. Raises as `check_gripper_type`."""
    type_name, name, scale = parameters.gripper_type, parameters.gripper_name, parameters.gripper_scale
    deadband_m = parameters.gripper_deadband_m
    check_gripper_type(type_name)
    if not type_name:
        return None
    if type_name in TOPIC_TYPES:
        return TopicGripper(node, type_name, name, scale, deadband_m)
    action = action_class(type_name)

    def goal(opening_m: float) -> Any:
        if type_name == 'franka_msgs/action/Move':
            return action.Goal(width=opening_m * scale, speed=parameters.gripper_speed_m_s)
        message = action.Goal()
        message.command.position = opening_m * scale
        message.command.max_effort = parameters.gripper_effort_n
        return message

    timeout_ns = round(parameters.gripper_timeout_s * 1e9)
    return ActionGripper(ActionClient(node, action, name), goal, deadband_m, timeout_ns)


def action_class(type_name: str) -> type:
    """The class of 'package/action/Name'.

    Raises:
        UnknownTypeError: its package is not installed.
    """
    package, _, name = type_name.split('/')
    try:
        return getattr(importlib.import_module(f'{package}.action'), name)
    except (ImportError, AttributeError) as error:
        raise UnknownTypeError(
            f'action type {type_name} is not installed: install ros-jazzy-{package.replace("_", "-")}'
        ) from error

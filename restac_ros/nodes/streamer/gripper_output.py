"""Outputs of gripper commands: a number on a topic, or goals of an action. Runs in the executor."""

from collections.abc import Callable
from typing import Any, Protocol

from action_msgs.msg import GoalStatus
from rclpy.action import ActionClient
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.task import Future

from restac_ros.contract.schema import Contract
from restac_ros.control.gripper import Goal, GoalOutcome, GoalSequence, GripperRequest, OpeningCommands
from restac_ros.nodes.subscriptions import UnknownTypeError, message_class
from restac_ros.runtime.node_parameters import ParameterError
from restac_ros.runtime.streamer_parameters import StreamerParameters

TOPIC_TYPES = ('std_msgs/msg/Float32', 'std_msgs/msg/Float64', 'std_msgs/msg/Float64MultiArray')
FRANKA_MOVE, FRANKA_GRASP = 'franka_msgs/action/Move', 'franka_msgs/action/Grasp'
ACTION_TYPES = (FRANKA_MOVE, 'control_msgs/action/GripperCommand')
COMMAND_QOS = QoSProfile(depth=1)  # reliable

MakeGoal = Callable[[Goal], tuple[Any, Any]]  # the client of the goal's action, and its message


class GripperOutput(Protocol):
    """Output of openings. `problem` is the present fault, or ''."""

    @property
    def problem(self) -> str: ...

    def command(self, request: GripperRequest, measured_m: float | None, now_ns: int) -> None:
        """Command an opening between the fingertips; called periodically, never blocks."""

    def forget(self) -> None:
        """Forget what was sent, as commands pause."""

    def destroy(self) -> None:
        """Close publishers and clients."""


class TopicGripper:
    """Publishes the scaled opening when it has changed by the deadband, and once a second."""

    problem = ''

    def __init__(self, node: Node, type_name: str, topic: str, scale: float, deadband_m: float) -> None:
        self._node = node
        self._message: Any = message_class(type_name)
        self._listed = type_name.endswith('MultiArray')
        self._scale = scale
        self._commands = OpeningCommands(deadband_m)
        self._publisher = node.create_publisher(self._message, topic, COMMAND_QOS)

    def command(self, request: GripperRequest, measured_m: float | None, now_ns: int) -> None:
        if self._commands.is_due(request.opening_m, now_ns):
            value = request.opening_m * self._scale
            self._publisher.publish(self._message(data=[value] if self._listed else value))

    def forget(self) -> None:
        self._commands.forget()

    def destroy(self) -> None:
        self._node.destroy_publisher(self._publisher)


class ActionGripper:
    """Sends the goals of a `GoalSequence`, and passes their results to it."""

    def __init__(self, goals: GoalSequence, make_goal: MakeGoal, clients: list[Any]) -> None:
        self.goals = goals
        self._make_goal = make_goal
        self._clients = clients
        self._unreachable = ''
        self._now_ns = 0

    @property
    def problem(self) -> str:
        return self._unreachable or self.goals.problem

    def command(self, request: GripperRequest, measured_m: float | None, now_ns: int) -> None:
        self._now_ns = now_ns
        ready = all(client.server_is_ready() for client in self._clients)
        self._unreachable = '' if ready else 'the gripper is not commanded: its action has no server'
        if ready and (goal := self.goals.next(request.final_m, measured_m, now_ns)):
            client, message = self._make_goal(goal)
            client.send_goal_async(message).add_done_callback(lambda done: self._answered(done, goal))

    def forget(self) -> None:
        self.goals.forget()

    def destroy(self) -> None:
        for client in self._clients:
            client.destroy()

    def _answered(self, future: Future, goal: Goal) -> None:
        handle = future.result()
        if handle is None or not handle.accepted:
            self.goals.ended(goal, 'refused', '', self._now_ns)
            return
        handle.get_result_async().add_done_callback(lambda done: self._ended(done, goal))

    def _ended(self, future: Future, goal: Goal) -> None:
        self.goals.ended(goal, *outcome_of(future.result()), self._now_ns)


def outcome_of(response: Any) -> tuple[GoalOutcome, str]:
    """Read a result of GripperCommand (stalled, reached_goal), or of Move and Grasp (success, error)."""
    result = response.result
    if getattr(result, 'stalled', False):
        return 'blocked', ''
    if response.status != GoalStatus.STATUS_SUCCEEDED:
        return 'failed', getattr(result, 'error', '') or f'its status is {response.status}'
    if not getattr(result, 'success', True):
        return 'failed', result.error
    return 'done', ''


def check_gripper_type(parameters: StreamerParameters) -> None:
    """Check that `make_gripper` can do it; an empty type is no gripper.

    Raises:
        UnknownTypeError: the type is none of ours, or its package is not installed.
        ParameterError: a grasp is asked of a type that has none.
    """
    type_name = parameters.gripper_type
    if type_name in TOPIC_TYPES or type_name in ACTION_TYPES:
        message_class(type_name)
    elif type_name:
        known = ', '.join((*TOPIC_TYPES, *ACTION_TYPES))
        raise UnknownTypeError(f'gripper_type is {type_name!r}, expected one of {known}, or empty for none')
    if parameters.gripper_grasp_name and type_name != FRANKA_MOVE:
        raise ParameterError(
            f'gripper_grasp_name is {parameters.gripper_grasp_name!r}, but only {FRANKA_MOVE} has a grasp, '
            f'and gripper_type is {type_name!r}: leave gripper_grasp_name empty'
        )


def make_gripper(node: Node, parameters: StreamerParameters, contract: Contract) -> GripperOutput | None:
    """The output that the parameters ask for; None for no type. Raises as `check_gripper_type`."""
    type_name, name, scale = parameters.gripper_type, parameters.gripper_name, parameters.gripper_scale
    check_gripper_type(parameters)
    if not type_name:
        return None
    if type_name in TOPIC_TYPES:
        return TopicGripper(node, type_name, name, scale, parameters.gripper_deadband_m)
    action: Any = message_class(type_name)
    clients = [ActionClient(node, action, name)]
    if type_name == FRANKA_MOVE:
        grasp_name: str = parameters.gripper_grasp_name
        grasp: Any = message_class(FRANKA_GRASP) if grasp_name else None
        clients += [ActionClient(node, grasp, grasp_name)] if grasp_name else []
        make_goal = franka_goals(action, grasp, clients, parameters)
    else:

        def make_goal(goal: Goal) -> tuple[Any, Any]:
            message = action.Goal()
            message.command.position = goal.opening_m * scale
            message.command.max_effort = parameters.gripper_effort_n
            return clients[0], message

    timeout_ns = round(parameters.gripper_timeout_s * 1e9)
    closed_m = contract.gripper.opening_m[0]
    goals = GoalSequence(parameters.gripper_deadband_m, timeout_ns, closed_m, grasps=len(clients) > 1)
    return ActionGripper(goals, make_goal, clients)


def franka_goals(move: Any, grasp: Any, clients: list[Any], parameters: StreamerParameters) -> MakeGoal:
    """Move for openings, and Grasp, which keeps its force on whatever it meets, of any width."""
    scale, speed_m_s = parameters.gripper_scale, parameters.gripper_speed_m_s

    def make_goal(goal: Goal) -> tuple[Any, Any]:
        width = goal.opening_m * scale
        if not goal.grasp:
            return clients[0], move.Goal(width=width, speed=speed_m_s)
        message = grasp.Goal(width=width, speed=speed_m_s, force=parameters.gripper_effort_n)
        message.epsilon.inner = message.epsilon.outer = 1.0
        return clients[1], message

    return make_goal

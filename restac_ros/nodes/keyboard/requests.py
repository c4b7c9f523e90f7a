"""Requests of a user to the nodes of a run, sent as service calls."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from rcl_interfaces.srv import SetParameters
from rclpy.node import Node, NodeNameNonExistentError
from rclpy.parameter import Parameter
from rclpy.task import Future
from std_srvs.srv import Trigger

_TRIGGER = 'std_srvs/srv/Trigger'


class ConsoleCall(NamedTuple):
    """Call a service of a node, such as `save` of the recorder."""

    service: str
    node: str = 'recorder_node'


class SetText(NamedTuple):
    """Set a text parameter of a node, such as the next episode's task of the recorder."""

    text: str
    parameter: str = 'task'
    node: str = 'recorder_node'


class Stop(NamedTuple):
    """End the run in order; a second one ends it without waiting for the last conversion."""


class JogStep(NamedTuple):
    """Move the tool of a teleoperated arm: by an offset in m, and about the z axis, in the base frame."""

    offset_m: tuple[float, float, float]
    turn_rad: float


ConsoleRequest = ConsoleCall | SetText | JogStep | Stop
Answered = Callable[[ConsoleCall | SetText, bool, str], None]


class Caller:
    """Sends requests. Relative names are in the namespace of `node`."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._clients: dict[str, Any] = {}

    def is_ready(self, request: ConsoleCall | SetText) -> bool:
        """Return whether a node serves the request."""
        return bool(self._client(request).service_is_ready())

    def ask(self, request: ConsoleCall | SetText, answered: Answered) -> None:
        """Send a request; `answered` receives its success and a sentence.

        A service of two nodes is not called: either robot might respond.
        """
        client = self._client(request)
        service = self._node.resolve_service_name(client.srv_name)
        servers = self._node.count_services(service)
        if servers != 1:
            found = f'{servers} nodes serve {service}, expected one'
            answered(
                request, False, f'{found}: {"end the others" if servers else self._instead(request.node)}'
            )
            return
        message: Any = Trigger.Request()
        if isinstance(request, SetText):
            parameter = Parameter(request.parameter, value=request.text).to_parameter_msg()
            message = SetParameters.Request(parameters=[parameter])
        client.call_async(message).add_done_callback(partial(_on_answer, request, answered))

    def _instead(self, name: str) -> str:
        """Return what could be called: the services of the node, or else the nodes that there are."""
        namespace = self._node.get_namespace()
        nodes = [node for node, where in self._node.get_node_names_and_namespaces() if where == namespace]
        if name not in nodes:
            others = ', '.join(sorted({*nodes} - {self._node.get_name()})) or 'none'
            return f'the nodes in this ROS_DOMAIN_ID and namespace ({namespace}) are: {others}'
        try:
            services = self._node.get_service_names_and_types_by_node(name, namespace)
        except NodeNameNonExistentError:
            return f'{name} has just ended'
        called = sorted(path.rpartition('/')[2] for path, kinds in services if _TRIGGER in kinds)
        return f'{name} serves: {", ".join(called) or "nothing that can be called"}'

    def _client(self, request: ConsoleCall | SetText) -> Any:
        kind, service = (
            (Trigger, request.service)
            if isinstance(request, ConsoleCall)
            else (SetParameters, 'set_parameters')
        )
        name = f'{request.node}/{service}'
        if name not in self._clients:
            self._clients[name] = self._node.create_client(kind, name)
        return self._clients[name]


def _on_answer(request: ConsoleCall | SetText, answered: Answered, future: Future) -> None:
    answer = future.result()
    if isinstance(answer, SetParameters.Response):
        [result] = answer.results
        done = f"{request.parameter} is now '{request.text}'" if isinstance(request, SetText) else ''
        answered(request, result.successful, done if result.successful else result.reason)
    else:
        answered(request, answer.success, answer.message)

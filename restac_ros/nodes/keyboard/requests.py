"""Requests of a user to the nodes of a run, sent as service calls."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from rcl_interfaces.srv import SetParameters
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.task import Future
from std_srvs.srv import Trigger


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


ConsoleRequest = ConsoleCall | SetText | Stop
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
            remedy = 'is the run in this ROS_DOMAIN_ID and namespace?' if not servers else 'end the others'
            answered(request, False, f'{found}: {remedy}')
            return
        message: Any = Trigger.Request()
        if isinstance(request, SetText):
            parameter = Parameter(request.parameter, value=request.text).to_parameter_msg()
            message = SetParameters.Request(parameters=[parameter])
        client.call_async(message).add_done_callback(partial(_on_answer, request, answered))

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

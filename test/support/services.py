"""Calls services so that no answer is lost on a busy machine."""

import time
from collections.abc import Callable
from typing import Any

from rcl_interfaces.srv import GetParameters
from rclpy.client import Client
from rclpy.node import Node

AGAIN_S = 2.0

Until = Callable[[Callable[[], Any], str], Any]


class Services:
    """Services of other nodes, called once each.

    Fast DDS drops a server's answer to a client that the server has not discovered 0.1 s after its request.
    Clients of one process are discovered in the order in which they were made: once the server has answered
    one that was made later, to which asking again does no harm, it knows the one before.
    """

    def __init__(self, node: Node, until: Until) -> None:
        self._node, self._until = node, until
        self._clients: dict[str, tuple[Client, Client]] = {}

    def call(self, service: str, kind: type, request: Any = None) -> Any:
        """Call a service of a node and return its answer."""
        if service not in self._clients:
            parameters = f'{service.rpartition("/")[0]}/get_parameters'
            client = self._node.create_client(kind, service)
            self._clients[service] = client, self._node.create_client(GetParameters, parameters)
        client, later = self._clients[service]
        self._until(
            lambda: client.service_is_ready() and later.service_is_ready(), f'service {service} is there'
        )
        self._until(self._answering(later), f'the node of {service} answers')
        answer = client.call_async(request or kind.Request())
        self._until(answer.done, f'{service} is answered')
        return answer.result()

    @staticmethod
    def _answering(client: Client) -> Callable[[], bool]:
        """Return a condition: an answer has come. It asks again as long as none does."""
        asked: list = []
        asked_s = 0.0

        def answered() -> bool:
            nonlocal asked_s
            if not asked or time.monotonic() - asked_s > AGAIN_S:
                asked.append(client.call_async(GetParameters.Request()))
                asked_s = time.monotonic()
            return any(future.done() for future in asked)

        return answered

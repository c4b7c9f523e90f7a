"""Waits until another lifecycle node is active."""

from collections.abc import Callable

from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState
from rclpy.clock import Clock
from rclpy.node import Node
from rclpy.task import Future

_ASK_PERIOD_S = 0.25


class AwaitedNode:
    """Polls the state of the node `name` until it is active, then calls `ready` once."""

    def __init__(self, node: Node, clock: Clock, name: str, ready: Callable[[], object]) -> None:
        self._ready = ready
        self._answer: Future | None = None
        self._client = node.create_client(GetState, f'{name}/get_state')
        self._timer = node.create_timer(_ASK_PERIOD_S, self._ask, clock=clock)

    def _ask(self) -> None:
        if self._answer is None:
            if self._client.service_is_ready():
                self._answer = self._client.call_async(GetState.Request())
        elif self._answer.done():
            if self._answer.result().current_state.id == State.PRIMARY_STATE_ACTIVE:
                self._timer.cancel()
                self._ready()
            self._answer = None

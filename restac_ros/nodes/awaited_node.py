"""Waits until another lifecycle node is active."""

from collections.abc import Callable

from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState
from rclpy.clock import Clock
from rclpy.node import Node
from rclpy.task import Future

_ASK_PERIOD_S = 0.25
_PATIENCE = 8  # periods; a server drops its answer to a client that it has not discovered yet


class AwaitedNode:
    """Polls the state of the node `name` until it is active, then calls `ready` once."""

    def __init__(self, node: Node, clock: Clock, name: str, ready: Callable[[], object]) -> None:
        self._ready = ready
        self._answer: Future | None = None
        self._waited = 0  # periods, for the present answer
        self._client = node.create_client(GetState, f'{name}/get_state')
        self._timer = node.create_timer(_ASK_PERIOD_S, self._ask, clock=clock)

    def _ask(self) -> None:
        if self._answer is not None and self._answer.done():
            if self._answer.result().current_state.id == State.PRIMARY_STATE_ACTIVE:
                self._timer.cancel()
                self._ready()
            self._answer = None
        elif self._answer is None or self._waited >= _PATIENCE:
            if self._client.service_is_ready():
                if self._answer is not None:
                    self._client.remove_pending_request(self._answer)
                self._answer, self._waited = self._client.call_async(GetState.Request()), 0
        else:
            self._waited += 1

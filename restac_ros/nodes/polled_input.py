"""A subscription outside the executor, polled by its owner."""

from collections.abc import Callable
from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription


class PolledGroup(CallbackGroup):
    """Keeps its subscriptions, and their events, out of the executor's wait set.

    Waiting for a subscription's events would wake the executor at each of its messages, too.
    """

    def can_execute(self, entity: object) -> bool:
        return False

    def beginning_execution(self, entity: object) -> bool:
        return False

    def ending_execution(self, entity: object) -> None:
        """Nothing is ever executed."""


def _never_called(_: object) -> None:
    """Stand for the callback that rclpy requires; PolledGroup keeps the executor from it."""


class PolledInput:
    """Queues the newest messages until `poll` passes each, with its info, to `receive`.

    `qos` is a profile, or the length of a best-effort queue, which matches every publisher and blocks none.
    """

    def __init__(
        self,
        node: Node,
        kind: type,
        topic: str,
        qos: QoSProfile | int,
        receive: Callable[[Any, dict], None],
        raw: bool = False,
    ) -> None:
        self.received = 0
        self._node = node
        self._receive = receive
        if isinstance(qos, int):
            qos = QoSProfile(depth=qos, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._depth = qos.depth
        self._subscription: Subscription = node.create_subscription(
            kind, topic, _never_called, qos, callback_group=PolledGroup(), raw=raw
        )

    @property
    def topic(self) -> str:
        """Its full name."""
        return self._subscription.topic_name

    @property
    def publishers(self) -> int:
        """How many publishers it receives from."""
        return int(self._subscription.get_publisher_count())

    def poll(self) -> None:
        """Receive queued messages, oldest first, at most as many as the queue holds."""
        subscription = self._subscription
        with subscription.handle:
            for _ in range(self._depth):
                message = subscription.handle.take_message(subscription.msg_type, subscription.raw)
                if message is None:
                    return
                self.received += 1
                self._receive(*message)

    def destroy(self) -> None:
        """Unsubscribe."""
        self._node.destroy_subscription(self._subscription)

"""A subscription outside the executor, emptied at its reader's own pace."""

from collections.abc import Callable
from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription


class PolledGroup(CallbackGroup):
    """Keeps its subscriptions out of the executor's wait set: `Subscriptions.poll` takes from them.

    Their events, too: to wait for a subscription's events is to be woken by its messages.
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
    """Keeps the newest `depth` messages for `poll`, which hands each, and what is known of it, to `receive`.

    Unless `reliable` it is best effort: such a reader matches every publisher and never makes one wait.
    """

    def __init__(
        self,
        node: Node,
        kind: type,
        topic: str,
        depth: int,
        receive: Callable[[Any, dict], None],
        raw: bool = False,
        reliable: bool = False,
    ) -> None:
        self.received = 0
        self._node = node
        self._receive = receive
        self._depth = depth
        reliability = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        qos = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=depth, reliability=reliability)
        self._subscription: Subscription = node.create_subscription(
            kind, topic, _never_called, qos, callback_group=PolledGroup(), raw=raw
        )

    @property
    def topic(self) -> str:
        """Its full name."""
        return self._subscription.topic_name

    def poll(self) -> None:
        """Hand over what has come, oldest first, at most one queue full."""
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

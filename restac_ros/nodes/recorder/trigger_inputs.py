"""Subscribes to pedals and joysticks; `triggers` decides what counts as a press."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from rclpy.event_handler import QoSRequestedIncompatibleQoSInfo, SubscriptionEventCallbacks
from rclpy.qos import qos_policy_name_from_kind
from rclpy.subscription import Subscription
from sensor_msgs.msg import Joy
from std_msgs.msg import Bool

from restac_ros.nodes.lifecycle import ManagedNode
from restac_ros.recording.triggers import Buttons, Trigger, TriggerAction
from restac_ros.runtime.complaints import Complaints

QUEUE = 10


class TriggerInputs:
    """Subscriptions of the triggers' topics, reliable, as a lost press is a lost demonstration."""

    def __init__(
        self,
        node: ManagedNode,
        triggers: Sequence[Trigger],
        debounce_ns: int,
        act: Callable[[TriggerAction, str], None],
        complaints: Complaints,
    ) -> None:
        """`act` receives the action and the pressed button, `complaints` buttons that do not exist."""
        self._node, self._act, self._complaints = node, act, complaints
        by_topic: dict[str, list[Trigger]] = defaultdict(list)
        for trigger in triggers:
            by_topic[trigger.topic].append(trigger)
        self._subscriptions = [
            self._subscribe(topic, Buttons(of_topic, debounce_ns), is_pedal=of_topic[0].button is None)
            for topic, of_topic in by_topic.items()
        ]

    def destroy(self) -> None:
        """Unsubscribe."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)

    def _subscribe(self, topic: str, buttons: Buttons, is_pedal: bool) -> Subscription:
        def on_message(message: Any) -> None:
            self._receive(topic, buttons, [message.data] if is_pedal else message.buttons)

        def on_incompatible(event: QoSRequestedIncompatibleQoSInfo) -> None:
            policy = qos_policy_name_from_kind(event.last_policy_kind).lower()
            remedy = 'have it publish reliably, or a press may be lost'
            text = (
                f'trigger {topic}: a publisher has incompatible QoS ({policy}), no message arrives; {remedy}'
            )
            self._complaints.set(f'trigger {topic} qos', policy, text)

        callbacks = SubscriptionEventCallbacks(incompatible_qos=on_incompatible)
        kind = Bool if is_pedal else Joy
        return self._node.create_subscription(kind, topic, on_message, QUEUE, event_callbacks=callbacks)

    def _receive(self, topic: str, buttons: Buttons, states: Sequence[object]) -> None:
        pressed, missing = buttons.pressed(states, self._node.steady_clock.now().nanoseconds)
        if missing:
            names = ', '.join(trigger.source for trigger in missing)
            has = f'the joystick has {len(states)} buttons, counted from 0'
            text = f'trigger {names} can never be pressed: {has}; correct the parameter triggers'
            self._complaints.set(f'trigger {topic}', 'button', text)
        else:
            self._complaints.clear(f'trigger {topic}')
        for trigger in pressed:
            self._act(trigger.action, trigger.source)

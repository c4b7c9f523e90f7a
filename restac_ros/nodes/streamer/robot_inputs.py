"""Inputs of the streamer besides chunks: measured pose, robot mode, enabling switch, other publishers."""

from collections import deque
from collections.abc import Callable
from typing import Any

from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from rclpy.publisher import Publisher
from std_msgs.msg import Bool

from restac_ros.contract.schema import Contract
from restac_ros.control.streaming import Measured
from restac_ros.control.supervisor import ROBOT_STATE, Health
from restac_ros.nodes.newest_values import NewestValues, others_publishing
from restac_ros.nodes.polled_input import PolledInput
from restac_ros.nodes.subscriptions import message_class
from restac_ros.runtime.node_parameters import ParameterError
from restac_ros.runtime.streamer_parameters import StreamerParameters

RIVAL_SILENT_NS = 1_000_000_000  # another publisher that has sent nothing for this long is no rival
ECHO_DEPTH = 64
OWN_KEPT = 512  # a second of set-points at the highest rate


def robot_state_class(parameters: StreamerParameters) -> Any:
    """Message type of the robot's state; None when it is not watched.

    Raises:
        UnknownTypeError: the type's package is not installed.
        ParameterError: the message has no such field.
    """
    if not parameters.robot_state_topic:
        return None
    found: Any = message_class(parameters.robot_state_type)
    fields, wanted = found.get_fields_and_field_types(), parameters.robot_mode_field
    if wanted not in fields:
        raise ParameterError(
            f'robot_mode_field is {wanted!r}, but {parameters.robot_state_type} has {", ".join(fields)}'
        )
    return found


class RobotInputs:
    """Polls its inputs right before each set-point, so that they act on that set-point.

    Ages are by `pace_ns`, a steady clock, or the simulated one. The thread of the set-points calls `health`
    and `measured`, the executor `update_publishers`.
    """

    def __init__(
        self,
        node: Node,
        contract: Contract,
        parameters: StreamerParameters,
        target: Publisher,
        pace_ns: Callable[[], int],
    ) -> None:
        self.others: tuple[str, ...] = ()  # other publishers of set-points, whether they send or not
        self._node, self._contract, self._target, self._pace_ns = node, contract, target, pace_ns
        self._field = parameters.robot_mode_field
        self._mode: int | None = None
        self._mode_ns: int | None = None
        self._pressed = False
        self._deadman_ns: int | None = None
        self._foreign_ns: int | None = None
        self._own: deque[bytes] = deque(maxlen=OWN_KEPT)
        self._pose_stream = contract.pose_stream
        self._gripper_stream = contract.gripper_stream
        echo = PolledInput(node, PoseStamped, target.topic_name, ECHO_DEPTH, self._receive_target, raw=True)
        self._inputs = [echo]
        measured = tuple(filter(None, (self._pose_stream, self._gripper_stream)))
        self._values = NewestValues(node, contract, measured)
        if state_class := robot_state_class(parameters):
            topic = parameters.robot_state_topic
            self._inputs.append(PolledInput(node, state_class, topic, 1, self._receive_state))
        if topic := parameters.deadman_topic:
            self._inputs.append(PolledInput(node, Bool, topic, 1, self._receive_deadman))

    def health(self, now_ns: int) -> Health:
        """Poll the inputs and return their state."""
        for queue in self._inputs:
            queue.poll()
        self._values.poll()
        pace_ns = self._pace_ns()
        rival = self._foreign_ns is not None and pace_ns - self._foreign_ns < RIVAL_SILENT_NS
        return Health(
            now_ns,
            ages_ns={} if self._mode_ns is None else {ROBOT_STATE: pace_ns - self._mode_ns},
            robot_mode=self._mode,
            deadman_pressed=self._pressed,
            deadman_age_ns=None if self._deadman_ns is None else pace_ns - self._deadman_ns,
            rivals=(self.others or ('an unknown node',)) if rival else (),
        )

    def measured(self, now_ns: int) -> Measured | None:
        """The newest measured pose, and the gripper's opening while the contract allows its age."""
        pose = self._values.pose(self._pose_stream)
        return None if pose is None else Measured(*pose, self.opening_m(now_ns))

    def opening_m(self, now_ns: int) -> float | None:
        """The newest measured opening; None where it is unknown, or older than the contract allows."""
        name = self._gripper_stream
        found = self._values.value(name) if name else None
        if name is None or found is None or now_ns - found[0] > self._contract.streams[name].max_age_ns:
            return None
        return float(found[1])

    def note_sent(self, cdr: bytes) -> None:
        """Remember an own set-point, which is received again on its topic."""
        self._own.append(cdr)

    def update_publishers(self) -> None:
        """Query the graph, which is slow, for other publishers of set-points."""
        self.others = others_publishing(self._node, self._target)

    def destroy(self) -> None:
        """Unsubscribe."""
        for queue in self._inputs:
            queue.destroy()
        self._values.destroy()

    def _receive_target(self, cdr: Any, info: dict) -> None:
        if bytes(cdr) not in self._own:
            self._foreign_ns = self._pace_ns()

    def _receive_state(self, message: Any, info: dict) -> None:
        self._mode, self._mode_ns = int(getattr(message, self._field)), self._pace_ns()

    def _receive_deadman(self, message: Bool, info: dict) -> None:
        self._pressed, self._deadman_ns = message.data, self._pace_ns()

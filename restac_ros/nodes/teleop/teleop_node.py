"""Moves the simulated arm as a person asks: by steps (keys of a console) and by a gamepad.

`restac_ros.control.teleoperation` does the work; here are topics, services and complaints. While nothing is
asked for nothing is published, so that the arm stays where it was sent last.
"""

import math
import time
from functools import partial

import numpy as np
from geometry_msgs.msg import PoseStamped, Twist
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Joy
from std_msgs.msg import Float64
from std_srvs.srv import Trigger

from restac_ros.contract.schema import Contract
from restac_ros.control.limits import LimitError
from restac_ros.control.stick_axes import deflections
from restac_ros.control.teleoperation import Teleoperation
from restac_ros.geometry.pose import Offset, Pose
from restac_ros.nodes.diagnostics import Status
from restac_ros.nodes.fields import pose_message
from restac_ros.nodes.lifecycle import ManagedNode
from restac_ros.nodes.newest_values import NewestValues, others_publishing
from restac_ros.nodes.running import run_node
from restac_ros.nodes.subscriptions import UnknownTypeError
from restac_ros.nodes.teleop.teleop_parameters import TeleopParameters
from restac_ros.runtime.complaints import Complaints

_COMMAND_QOS, _INPUT_QOS = QoSProfile(depth=1), QoSProfile(depth=100)  # reliable: no step is lost
_WATCH_PERIOD_S = 0.5


class TeleopNode(ManagedNode[TeleopParameters]):
    """Publishes `target_pose` and the gripper's opening.

    A step comes on `~/step` (Twist: `linear` in m, and `angular`, a rotation vector in rad, in the base
    frame), a gamepad on `joy`; `~/close` and `~/open` move the gripper.
    """

    model = TeleopParameters
    unique = True
    refusals = (LimitError, UnknownTypeError)
    _contract: Contract  # this from configure on, the following from activate on
    _motion: Teleoperation
    _arm: NewestValues

    def __init__(self) -> None:
        super().__init__('teleop_node')
        logger = self.get_logger()
        self._complaints = Complaints(logger.warning, logger.info, time.monotonic_ns)
        self._sent = self._steps = self._joys = 0
        self._joy_ns: int | None = None
        self._held: tuple[bool, bool] = (False, False)  # the gamepad's buttons of closing and opening
        self._others: tuple[str, ...] = ()
        for name in ('close', 'open'):
            self.create_service(Trigger, f'~/{name}', partial(self._grip, name))

    def configure(self) -> None:
        parameters = self.parameters
        self._contract = self.load_contract()
        limits = parameters.limits(self._contract)
        speeds = f'{limits.motion.speed_m_s:g} m/s and {limits.motion.speed_rad_s:g} rad/s'
        self.get_logger().info(f'{self.resolve_topic_name(parameters.target_topic)} at up to {speeds}')

    def activate(self) -> None:
        parameters = self.parameters
        self._motion, self._joy_ns = Teleoperation(parameters.limits(self._contract)), None
        self._arm = NewestValues(self, self._contract, (self._contract.pose_stream,))
        self._target = self.create_publisher(PoseStamped, parameters.target_topic, _COMMAND_QOS)
        self._gripper = self.create_publisher(Float64, parameters.gripper_topic, _COMMAND_QOS)
        self._inputs = [
            self.create_subscription(Twist, '~/step', self._receive_step, _INPUT_QOS),
            self.create_subscription(Joy, parameters.joy_topic, self._receive_joy, _INPUT_QOS),
        ]
        self._timers_of_motion = [
            self.create_timer(1.0 / parameters.rate_hz, self._advance),
            self.create_timer(_WATCH_PERIOD_S, self._watch, clock=self.steady_clock),
        ]
        self._watch()

    def deactivate(self) -> None:
        for timer in self._timers_of_motion:
            self.destroy_timer(timer)
        for subscription in self._inputs:
            self.destroy_subscription(subscription)
        self._arm.destroy()
        self.destroy_publisher(self._target)
        self.destroy_publisher(self._gripper)

    def summarise(self) -> dict[str, object]:
        return {'set_points': self._sent, 'steps': self._steps, 'gamepad_messages': self._joys}

    def diagnose(self) -> list[Status]:
        if self.phase != 'active':
            return []
        texts = self._complaints.texts
        counts = {name: str(count) for name, count in self.summarise().items()}
        return [Status('teleoperation', 'warn' if texts else 'ok', '; '.join(texts) or 'ready', counts)]

    # Called by the executor.

    def _advance(self) -> None:
        """Publish the set-point that is due, if any."""
        now_ns = self.now_ns()
        if self._joy_ns is not None and now_ns - self._joy_ns > self.parameters.joy_max_age_ms * 1e6:
            self._joy_ns = None
            self._motion.deflect(np.zeros(6))
        self._arm.poll()
        measured = self._measured(now_ns)
        if measured is None or self._others:
            self._motion.drop_steps()  # the answer to a key is that it does not move: nothing is done later
            return
        try:
            set_point = self._motion.advance(measured, now_ns)
        except LimitError as error:
            self._motion.drop_steps()
            self._complaints.set('motion', 'limits', f'not moving: {error}')
            return
        self._complaints.clear('motion')
        if set_point is not None:
            self._target.publish(pose_message(set_point, now_ns, self._contract.robot.base_frame))
            self._sent += 1

    def _measured(self, now_ns: int) -> Pose | None:
        """Pose of the tool, unless it is older than the contract allows."""
        name = self._contract.pose_stream
        found = self._arm.pose(name)
        spec = self._contract.streams[name]
        if found is None or now_ns - found[0] > spec.max_age_ns:
            text = f'not moving: no message of {name} on {spec.topic} within {spec.max_age_ns / 1e6:g} ms'
            self._complaints.set('measured pose', 'stale', text)
            return None
        self._complaints.clear('measured pose')
        return found[1]

    def _watch(self) -> None:
        """Stop while others publish targets: the controller would follow both."""
        self._others = others_publishing(self, self._target)
        names = ', '.join(self._others)
        text = f'not moving: {names} may publish {self._target.topic_name}, too; stop it'
        self._complaints.set('other publishers', names and 'others', text)

    def _receive_step(self, message: Twist) -> None:
        place, turn = message.linear, message.angular
        values = place.x, place.y, place.z, turn.x, turn.y, turn.z
        if not all(map(math.isfinite, values)):
            self._complaints.set('step', 'not finite', f'a step of {values} is no number; nothing is moved')
            return
        self._steps += 1
        self._motion.step(Offset(np.array(values[:3]), np.array(values[3:])))

    def _receive_joy(self, message: Joy) -> None:
        parameters = self.parameters
        shares, missing = deflections(parameters.joy_axes, message.axes, parameters.joy_dead_zone)
        buttons = [parameters.joy_close_button, parameters.joy_open_button]
        lacking = [f'axis {number}' for number in missing]
        lacking += [f'button {number}' for number in buttons if number >= len(message.buttons)]
        has = f'the gamepad has {len(message.axes)} axes and {len(message.buttons)} buttons, counted from 0'
        text = f'{", ".join(lacking)} cannot move anything: {has}; correct joy_axes and joy_*_button'
        self._complaints.set('gamepad', ', '.join(lacking), text)
        self._joys += 1
        self._joy_ns = self.now_ns()
        self._motion.deflect(shares)
        closing, opening = (n < len(message.buttons) and bool(message.buttons[n]) for n in buttons)
        closed, opened = self._held
        self._held = closing, opening
        if opening and not opened:
            self._move_gripper('open')
        elif closing and not closed:
            self._move_gripper('close')

    def _grip(self, name: str, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self.phase != 'active':
            response.message = f'the node is {self.phase}; expected active'
            return response
        self._move_gripper(name)
        response.success, response.message = True, f'gripper: {name}'
        return response

    def _move_gripper(self, name: str) -> None:
        closed_m, open_m = self._contract.gripper.opening_m
        self._gripper.publish(Float64(data=open_m if name == 'open' else closed_m))


def main() -> None:
    """Entry point."""
    run_node(TeleopNode)

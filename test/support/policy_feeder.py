"""Publishes what a robot and a policy publish, for tests of what shows them."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from rclpy.publisher import Publisher
from rclpy.serialization import serialize_message
from restac_ros.msg import ActionChunk, GateState, RunIdentity, Subtask
from sensor_msgs.msg import Image, JointState

from restac_ros.contract.load import load_contract
from restac_ros.dataset.bag.bag_writer import BagWriter
from restac_ros.framing.kinematics import fk_hand_tcp
from restac_ros.nodes.fields import LATCHED_QOS
from restac_ros.nodes.messages import residual_message
from ros_rig import RosRig

READY_RAD = [0.0, -0.785, 0.0, -2.356, 0.0, 1.571, 0.785]
START_S = 1_760_000_000


class PolicyFeeder(RosRig):
    """Publishes joints, touch, gates, chunks and residuals, as `now` says."""

    def __init__(self, contract_file: Path, domain: int) -> None:
        super().__init__('feeder', domain)
        self.contract = load_contract(contract_file)
        streams = self.contract.streams
        self._joints = self.node.create_publisher(JointState, streams['joints'].topic, 10)
        self._tactile = self.node.create_publisher(Image, streams['gelsight_left'].topic, 10)
        self._gates = self.node.create_publisher(GateState, '/policy_node/gate_state', 10)
        self._residuals = self.node.create_publisher(Image, '/policy_node/tactile_residual', 10)
        self._chunks = self.node.create_publisher(ActionChunk, '/policy_node/action_chunk', 10)
        self._subtasks = self.node.create_publisher(Subtask, '/policy_node/subtask', LATCHED_QOS)
        self.now = SimpleNamespace(gate=0.75, image=plain_image(), encoding='bgr8', cut=0, policy=True)
        self._ticks = 0

    def record(self, path: Path, ticks: int) -> Path:
        """What `act` would send, as a bag of `ticks` messages a topic."""
        writer = BagWriter(path, start_ns=START_S * 10**9)
        channels: dict[str, int] = {}
        for tick in range(ticks):
            for publisher, message in self._messages():
                topic = publisher.topic_name
                if topic not in channels:
                    package = type(message).__module__.partition('.')[0]
                    channels[topic] = writer.declare(topic, f'{package}/msg/{type(message).__name__}')
                stamp_ns = START_S * 10**9 + tick * 33_000_000
                writer.append(channels[topic], serialize_message(message), stamp_ns)
        return writer.finish()

    def act(self) -> None:
        """Send one message a topic."""
        for publisher, message in self._messages():
            publisher.publish(message)

    def act_by(self, subtask: str) -> None:
        """Send what an operator lets chunks be planned for."""
        run = RunIdentity(prompt=subtask)
        self._subtasks.publish(Subtask(run=run, source=Subtask.SOURCE_OPERATOR, ended=True))

    def _messages(self) -> Iterator[tuple[Publisher, object]]:
        self._ticks += 1
        joints = JointState(name=list(self.contract.streams['joints'].joints), position=READY_RAD)
        joints.velocity = joints.effort = [0.0] * 7
        yield self._joints, self._stamped(joints)
        image, encoding = self.now.image, self.now.encoding
        message = Image(height=240, width=320, encoding=encoding, step=960)
        message.data = image.tobytes()
        yield self._tactile, self._stamped(message)
        if self.now.policy:
            yield self._gates, self._stamped(self._gate())
            yield self._chunks, self._stamped(self._chunk())
            yield self._residuals, self._stamped(residual())

    def _gate(self) -> GateState:
        gate = GateState(gate=self.now.gate, logvar=-9.5, logvar_standardised=1.5, code_index=12)
        gate.residual_norm, gate.tactile_age_ns, gate.inference_ns = 0.5, 50_000_000, 8_000_000
        return gate

    def _chunk(self) -> ActionChunk:
        chunk = ActionChunk(chunk_id=self._ticks, step_ns=10**9, horizon=8, gate=self.now.gate)
        chunk.header.frame_id = 'fr3_link0'
        anchor = chunk.anchor_pose.position
        anchor.x, anchor.y, anchor.z = tool_position().tolist()
        steps = np.zeros((8, 6))
        steps[:, 2] = -0.02 * np.arange(1, 9)
        chunk.anchor_state = np.concatenate([tool_position(), np.zeros(3)])
        chunk.rotation_convention, chunk.delta_composition = 'rpy', 'elementwise'
        chunk.valid_until.sec = START_S + 86_400
        chunk.delta_pose = steps.ravel()[: 48 - self.now.cut].tolist()
        chunk.gripper = [0.04] * 8
        return chunk

    def _stamped(self, message: object) -> object:
        message.header.stamp.sec = START_S + self._ticks // 30
        message.header.stamp.nanosec = self._ticks % 30 * 33_000_000
        return message


def residual() -> Image:
    """As the policy publishes it: one latent position of 16 x 20 is off."""
    values = np.zeros((16, 20), np.float32)
    values[3, 4] = 9.0
    return residual_message(0, values, 'gelsight_left')


def plain_image() -> np.ndarray:
    return np.full((240, 320, 3), 90, np.uint8)


def tool_position() -> np.ndarray:
    return fk_hand_tcp(np.array(READY_RAD))[:3, 3]

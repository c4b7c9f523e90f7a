"""A robot's drivers: every stream of the contract, published from a thread, with faults on demand."""

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from node_process import poll_until

KEPT = 200  # messages, for a subscriber that a busy machine delays


class Robot:
    """Small images, moving joints. Faults are attributes that may be changed at any time.

    silent: streams that are not published; zero_stamps: streams whose stamps stay unset; frozen: image
    streams that repeat; encodings: what the messages of an image stream claim; joint_names: of the arm;
    lag_s: how much too old a stream's stamps are.
    """

    def __init__(self, contract_file: Path, domain: int) -> None:
        import rclpy
        from rclpy.executors import SingleThreadedExecutor

        from restac_ros.contract.load import load_contract
        from services import Services

        self.contract = load_contract(contract_file)
        self.silent: set[str] = set()
        self.zero_stamps: set[str] = set()
        self.frozen: set[str] = set()
        self.encodings: dict[str, str] = {}
        self.joint_names = list(self.contract.streams['joints'].joints)
        self.swing_rad = 0.1  # how far the joints move to and fro
        self.lag_s: dict[str, float] = {}
        self.received: dict[str, list] = {}
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = rclpy.create_node('robot', context=self.context)
        self._services = Services(self.node, poll_until)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._publishers: dict[str, Any] = {}
        self._phase = 0.0
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def publish_streams(self) -> None:
        """Begin to publish: joints at 200 Hz, everything else at 20 Hz."""
        from sensor_msgs.msg import Image, JointState

        for name, spec in self.contract.streams.items():
            kind = JointState if 'JointState' in spec.type else Image
            self._publishers[name] = self.node.create_publisher(kind, spec.topic, KEPT)
        self.node.create_timer(0.005, lambda: self._publish('joints'))
        self.node.create_timer(
            0.05, lambda: [self._publish(name) for name in self._publishers if name != 'joints']
        )

    def listen(self, topic: str, kind: type, qos: Any = 1000) -> list:
        """Keep what is published on a topic, all of it on a busy machine, too; returns the growing list."""
        kept = self.received.setdefault(topic, [])
        self.node.create_subscription(kind, topic, kept.append, qos)
        return kept

    def call(self, service: str, kind: type, request: Any = None) -> Any:
        """Call a service and wait for its answer."""
        return self._services.call(service, kind, request)

    def close(self) -> None:
        self._executor.shutdown()
        self._thread.join()
        self.node.destroy_node()
        self.context.try_shutdown()

    def _spin(self) -> None:
        from rclpy.executors import ExternalShutdownException, ShutdownException

        try:
            self._executor.spin()
        except (ExternalShutdownException, ShutdownException):
            return

    def _publish(self, name: str) -> None:
        if name in self.silent:
            return
        spec = self.contract.streams[name]
        match spec.role:
            case 'arm_joints':
                self._phase += 0.005
                swing = self.swing_rad * np.sin(self._phase + np.arange(7))
                positions = np.array([0, -0.785, 0, -2.356, 0, 1.571, 0.785]) + swing
                message = self._joint_state(self.joint_names, positions)
            case 'gripper':
                message = self._joint_state(list(spec.joints), np.full(2, 0.02))
            case _:
                message = self._image(self.encodings.get(name, spec.encoding), name in self.frozen)
        if name not in self.zero_stamps:
            stamp_ns = time.time_ns() - round(self.lag_s.get(name, 0.0) * 1e9)
            message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, 10**9)
        self._publishers[name].publish(message)

    def _joint_state(self, names: list[str], positions: np.ndarray) -> Any:
        from sensor_msgs.msg import JointState

        return JointState(name=names, position=positions.tolist())

    def _image(self, encoding: str, is_frozen: bool) -> Any:
        from sensor_msgs.msg import Image

        channels = {'mono8': 1, 'rgba8': 4}.get(encoding, 3)
        message = Image(height=48, width=64, encoding=encoding, step=64 * channels)
        shade = 127 if is_frozen else int(127 + 120 * np.sin(self._phase))
        message.data = bytes([shade]) * (48 * 64 * channels)
        return message

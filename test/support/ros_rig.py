"""A ROS node that a test drives: it publishes and receives only while the test waits for something."""

from collections.abc import Callable
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor

from node_process import DEADLINE_S
from services import Services

SPIN_S = 0.01


class RosRig:
    """A node in a context of its own. Subclasses publish in `act` and describe the other side in `seen`."""

    def __init__(self, name: str, domain: int) -> None:
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = rclpy.create_node(name, context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self._services = Services(self.node, lambda condition, _: self.until(condition))

    def act(self) -> None:
        """Publish what is due; called before every spin."""

    def seen(self) -> str:
        """What the other side has published last, for the message of a failed test."""
        return ''

    def system_ns(self) -> int:
        """The system's time, ns."""
        return self.node.get_clock().now().nanoseconds

    def until(self, happened: Callable[[], Any], acting: bool = True) -> None:
        """Act and spin until `happened`; without `acting`, only spin."""
        begun_ns = self.system_ns()
        while not happened():
            waited_s = (self.system_ns() - begun_ns) * 1e-9
            assert waited_s < DEADLINE_S, f'not within {DEADLINE_S:g} s; received: {self.seen()}'
            if acting:
                self.act()
            self.executor.spin_once(timeout_sec=SPIN_S)

    def request(self, service: str, kind: type, request: Any = None) -> Any:
        """Call a service and act until its answer has come, which is returned."""
        return self._services.call(service, kind, request)

    def close(self) -> None:
        """Leave the graph."""
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)

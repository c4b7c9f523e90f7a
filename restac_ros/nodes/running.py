"""The life of a node's process: signals, spinning, an orderly end."""

import signal
import sys
from collections.abc import Callable

import cv2
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions

from restac_ros.nodes.lifecycle import ManagedNode
from restac_ros.nodes.priority import lower_priority
from restac_ros.nodes.transport import use_transport_profile

WAKE_S = 0.1
ONLOOKER_NICENESS = 10
# How long a thread may keep the interpreter from others that wait. With the default of 5 ms, framing waits
# several times as long as it works.
SWITCH_INTERVAL_S = 0.0005


def run_node(make_node: Callable[[], ManagedNode], niceness: int = 0) -> None:
    """Run a node until Ctrl-C, SIGTERM or the end of its work, then exit with its status.

    `niceness` is for nodes that only look on: they must not keep those waiting that move the arm.

    rclpy's own signal handlers would close the middleware at once, before an episode is finished and told.
    """
    lower_priority(niceness)  # first, as threads inherit it
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    cv2.setNumThreads(1)  # images are small here: waiting for helpers costs more than they save
    warning = use_transport_profile()
    try:
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    except RuntimeError as error:
        sys.exit(f'wrong ROS arguments: {error}')
    node = make_node()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: node.request_stop())
    if warning:
        node.get_logger().warning(warning)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        node.autostart()
        while not node.stop_requests and node.exit_status is None:
            executor.spin_once(timeout_sec=WAKE_S)
    finally:
        status = node.close()
        node.destroy_node()
        rclpy.try_shutdown()
    sys.exit(status)

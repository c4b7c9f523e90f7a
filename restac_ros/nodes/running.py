"""Runs a node as a process: signals, spinning, orderly end."""

import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import cv2
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions

from restac_ros.nodes.console import unblock_stderr
from restac_ros.nodes.lifecycle import ManagedNode
from restac_ros.nodes.transport import use_transport_profile
from restac_ros.stopping import watch

WAKE_S = 0.1
ONLOOKER_NICENESS = 10
_CONFIGURING_GRACE_S = 0.5  # a configuration may last this much longer after a stop request
# Longest time that a thread keeps the interpreter lock while others wait. With the default of 5 ms, framing
# waits several times as long as it works.
SWITCH_INTERVAL_S = 0.0005


def lower_priority(niceness: int) -> None:
    """Lower the priority of the calling thread and of threads it starts (Linux: nice value per thread)."""
    thread = threading.get_native_id()
    os.setpriority(os.PRIO_PROCESS, thread, max(niceness, os.getpriority(os.PRIO_PROCESS, thread)))


def call_niced[T](niceness: int, action: Callable[[], T]) -> T:
    """Call `action` in a thread of lower priority and wait for it; its exception is raised here.

    Thread pools that libraries create meanwhile inherit the priority, and keep it.
    """
    with ThreadPoolExecutor(1, 'niced', initializer=lower_priority, initargs=(niceness,)) as pool:
        return pool.submit(action).result()


def run_node(make_node: Callable[[], ManagedNode], niceness: int = 0) -> None:
    """Run a node until it is asked to stop, left alone or its work is done, then exit with its status.

    Ctrl-C, SIGTERM, a closed terminal and the end of the process that started it all stop it in order.
    rclpy's own signal handlers would close the middleware at once, before an episode is finished.
    `niceness` is for nodes that only display or log: they must not delay those that move the arm.
    """
    lower_priority(niceness)  # first, as threads inherit it
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    cv2.setNumThreads(1)  # images are small here: waiting for helpers costs more than they save
    restore_stderr = unblock_stderr()
    try:
        sys.exit(_run(make_node, restore_stderr))
    finally:
        restore_stderr()


def _run(make_node: Callable[[], ManagedNode], restore_stderr: Callable[[], None]) -> int:
    """Run a node, and return its exit status."""
    warning = use_transport_profile()
    try:
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    except RuntimeError as error:
        print(f'wrong ROS arguments: {error}', file=sys.stderr)
        return 1
    node = make_node()
    stop = _Stop(node, restore_stderr)
    watch(stop.ask, stop.poll)
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
    return status


class _Stop:
    """Passes stop requests to a node, and ends a configuration that lasts for minutes.

    Loading and compiling cannot be interrupted, and a node that is not configured has nothing to finish.
    """

    def __init__(self, node: ManagedNode, restore_stderr: Callable[[], None]) -> None:
        self._node, self._restore_stderr = node, restore_stderr
        self._asked_s: float | None = None

    def ask(self, reason: str) -> None:
        """Request an orderly stop. A missing parent counts only as the first request."""
        if not self._node.stop_requests or reason.startswith('SIG'):
            self._node.request_stop()
        if self._asked_s is None:
            self._asked_s = time.monotonic()
            self._node.get_logger().info(f'stopping: {reason}')

    def poll(self) -> None:
        """End the process when its configuration outlasts the request."""
        late = self._asked_s is not None and time.monotonic() - self._asked_s > _CONFIGURING_GRACE_S
        if late and self._node.configuring:
            self._node.get_logger().info('stopped while it was being configured')
            # Unless destroyed, the node stays known for seconds. This may block on the main thread's locks.
            leaving = threading.Thread(target=self._node.destroy_node, daemon=True)
            leaving.start()
            leaving.join(_CONFIGURING_GRACE_S)
            self._restore_stderr()
            os._exit(0)

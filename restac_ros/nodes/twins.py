"""Refuses to start a node beside another of the same full name in this domain."""

import os
import time

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node

from restac_ros.nodes.polled_input import PolledInput

_POLL_S = 0.05
_DISCOVERY_S = 3.0  # time to discover running nodes: 1.3 s on a busy machine
_GHOST_S = 25.0  # a killed node stays known for this long
_DEPTH = 100


class TwinError(RuntimeError):
    """Another node of this name is alive; the text names the remedy."""


def check_alone(node: Node, run_id: str) -> None:
    """Return when no other node of this full name is alive.

    A known node may have been killed: wait until it publishes diagnostics, which proves it alive, or until
    the middleware forgets it.

    Raises:
        TwinError: there is one.
    """
    full_name = node.get_fully_qualified_name()
    others: set[str] = set()

    def receive(array: DiagnosticArray, _: dict[str, int]) -> None:
        for status in array.status:
            if status.name == f'{full_name.removeprefix("/")}: state':
                others.update(pair.value for pair in status.values if pair.key == 'run_id')
        others.discard(run_id)

    diagnostics = PolledInput(node, DiagnosticArray, '/diagnostics', _DEPTH, receive)
    try:
        known, end_s = False, time.monotonic() + _DISCOVERY_S
        while time.monotonic() < end_s and not others:
            time.sleep(_POLL_S)
            diagnostics.poll()
            if known and _count(node, full_name) < 2:
                return
            if not known and _count(node, full_name) > 1:
                known, end_s = True, time.monotonic() + _GHOST_S
                node.get_logger().info(f'another {full_name} is known: waiting whether it is alive')
    finally:
        diagnostics.destroy()
    if others or known:
        found = f'another {full_name} runs already in ROS_DOMAIN_ID {os.environ.get("ROS_DOMAIN_ID", "0")}'
        run = f' (run {", ".join(sorted(others))})' if others else ''
        raise TwinError(f'{found}{run}: end it, or use another ROS_DOMAIN_ID or namespace')


def _count(node: Node, full_name: str) -> int:
    return node.get_fully_qualified_node_names().count(full_name)

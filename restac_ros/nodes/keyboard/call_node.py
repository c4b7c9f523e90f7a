"""Calls one service of a node, or sets one of its text parameters, and prints the response.

call_node NODE SERVICE
call_node NODE PARAMETER TEXT
"""

import secrets
import sys
import time
from collections.abc import Callable

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.utilities import remove_ros_args

from restac_ros.nodes.keyboard.requests import Caller, ConsoleCall, SetText

_DISCOVERY_S = 5.0
# Until a second node that serves the same is discovered: at least 2 s, longer where the first came late.
_RIVALS_S, _RIVALS_SHARE = 2.0, 3.0
_ANSWER_S = 60.0
_POLL_S = 0.05


def main() -> None:
    """Entry point. Exit status: 0 for success, 1 for a refusal or no response."""
    name, *rest = remove_ros_args(sys.argv)[1:]
    request = SetText(rest[1], rest[0], name) if len(rest) > 1 else ConsoleCall(rest[0], name)
    rclpy.init()
    begun_s = time.monotonic()
    node = Node(f'call_{secrets.token_hex(4)}')
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    answers: list[tuple[bool, str]] = []
    caller = Caller(node)

    def spin_until(condition: Callable[[], object], timeout_s: float) -> None:
        end_s = time.monotonic() + timeout_s
        while not condition() and time.monotonic() < end_s:
            executor.spin_once(timeout_sec=_POLL_S)

    spin_until(lambda: caller.is_ready(request), _DISCOVERY_S)
    # Halting is urgent, and harmless to a second robot.
    if caller.is_ready(request) and request != ConsoleCall('halt', name):
        spin_until(lambda: False, max(_RIVALS_S, _RIVALS_SHARE * (time.monotonic() - begun_s)))
    caller.ask(request, lambda _, success, text: answers.append((success, text)))
    spin_until(lambda: answers, _ANSWER_S)
    success, text = answers[0] if answers else (False, f'{name} has not answered within {_ANSWER_S:g} s')
    node.destroy_node()
    rclpy.try_shutdown()
    print(text, file=sys.stdout if success else sys.stderr)
    sys.exit(0 if success else 1)

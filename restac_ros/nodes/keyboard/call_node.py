"""Calls one service of a node, or sets one of its text parameters, and prints the answer.

call_node NODE SERVICE
call_node NODE PARAMETER TEXT
"""

import secrets
import sys
import time

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
    """Entry point. Exit status: 0 when it was done, 1 when it was refused or nobody answered."""
    name, *rest = remove_ros_args(sys.argv)[1:]
    request = SetText(rest[1], rest[0], name) if len(rest) > 1 else ConsoleCall(rest[0], name)
    rclpy.init()
    begun_s = time.monotonic()
    node = Node(f'call_{secrets.token_hex(4)}')
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    answers: list[tuple[bool, str]] = []
    caller = Caller(node)
    while not caller.is_ready(request) and time.monotonic() < begun_s + _DISCOVERY_S:
        executor.spin_once(timeout_sec=_POLL_S)
    if request != ConsoleCall('halt', name):  # halting is urgent, and does no harm to a second robot
        found_s = time.monotonic()
        end_s = found_s + max(_RIVALS_S, _RIVALS_SHARE * (found_s - begun_s))
        while time.monotonic() < end_s:
            executor.spin_once(timeout_sec=_POLL_S)
    caller.ask(request, lambda _, success, text: answers.append((success, text)))
    end_s = time.monotonic() + _ANSWER_S
    while not answers and time.monotonic() < end_s:
        executor.spin_once(timeout_sec=_POLL_S)
    success, text = answers[0] if answers else (False, f'{name} has not answered within {_ANSWER_S:g} s')
    node.destroy_node()
    rclpy.try_shutdown()
    print(text, file=sys.stdout if success else sys.stderr)
    sys.exit(0 if success else 1)


if __name__ == '__main__':
    main()

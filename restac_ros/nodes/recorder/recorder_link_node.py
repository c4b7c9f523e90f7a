"""The recorder's services and status as lines of JSON on stdin and stdout, for a front end without ROS.

In: {"id": 1, "call": "start"} with the name of any of the recorder's services, or {"id": 2, "task": "push"}.
Out: {"ready": true} once the recorder can be called, {"status": {...}} whenever it tells how it stands, and
{"id": 1, "success": true, "message": "..."} for every request. It ends when stdin does.
"""

import json
import sys
import threading
from collections import deque
from functools import partial
from typing import Any, get_args

import rclpy
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.task import Future
from std_srvs.srv import Trigger

from restac_ros.msg import RecorderStatus
from restac_ros.recording.recorder import REQUESTS, State

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
LOOK_PERIOD_S = 0.1
RECORDER = 'recorder_node'  # in the namespace of this node
STATES = {getattr(RecorderStatus, f'STATE_{name.upper()}'): name for name in get_args(State)}


class RecorderLink(Node):
    """Hands requests on to the recorder, and its answers and status back."""

    def __init__(self) -> None:
        super().__init__('recorder_link_node')
        self.ended = False
        self._requests: deque[dict] = deque()
        self._wake = self.create_guard_condition(self._take_requests)
        self._triggers = {name: self.create_client(Trigger, f'{RECORDER}/{name}') for name in REQUESTS}
        self._parameters = self.create_client(SetParameters, f'{RECORDER}/set_parameters')
        self.create_subscription(RecorderStatus, f'{RECORDER}/status', self._on_status, LATCHED)
        self._look = self.create_timer(LOOK_PERIOD_S, self._tell_when_ready)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in sys.stdin:
            self._requests.append(json.loads(line))
            self._wake.trigger()
        self.ended = True
        self._wake.trigger()

    def _tell_when_ready(self) -> None:
        if all(client.service_is_ready() for client in (*self._triggers.values(), self._parameters)):
            self._look.cancel()
            _tell(ready=True)

    def _take_requests(self) -> None:
        while self._requests:
            request = self._requests.popleft()
            if 'task' in request:
                task = Parameter('task', value=request['task']).to_parameter_msg()
                future = self._parameters.call_async(SetParameters.Request(parameters=[task]))
            else:
                future = self._triggers[request['call']].call_async(Trigger.Request())
            future.add_done_callback(partial(self._on_answer, request['id']))

    def _on_answer(self, number: int, future: Future) -> None:
        answer = future.result()
        if isinstance(answer, SetParameters.Response):
            [result] = answer.results
            _tell(id=number, success=result.successful, message=result.reason)
        else:
            _tell(id=number, success=answer.success, message=answer.message)

    def _on_status(self, message: RecorderStatus) -> None:
        names = ('received', 'written', 'dropped', 'lost', 'high_water')
        columns = zip(*(getattr(message, name) for name in names), strict=True)
        streams = {
            stream: dict(zip(names, map(int, counts), strict=True))
            for stream, counts in zip(message.streams, columns, strict=True)
        }
        stamp = message.header.stamp
        _tell(
            status={
                'stamp_ns': stamp.sec * 10**9 + stamp.nanosec,
                'state': STATES[message.state],
                'message': message.message,
                'task': message.task,
                'episodes': message.episode,
                'frames': message.frames,
                'duration_ns': message.duration_ns,
                'bytes': message.bytes,
                'disk_free': message.disk_free,
                'unfinished': list(message.unfinished),
                'streams': streams,
            }
        )


def _tell(**content: Any) -> None:
    print(json.dumps(content), flush=True)


def main() -> None:
    """Entry point."""
    rclpy.init()
    link = RecorderLink()
    executor = SingleThreadedExecutor()
    executor.add_node(link)
    while rclpy.ok() and not link.ended:
        executor.spin_once()
    link.destroy_node()
    rclpy.try_shutdown()


if __name__ == '__main__':
    main()

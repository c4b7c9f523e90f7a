"""Reads the keyboard of a run and calls services; for `restac-ros record` it draws the display, too."""

import os
import signal
import sys
from contextlib import suppress

import rclpy
from geometry_msgs.msg import Twist
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rich.console import Console
from rich.live import Live
from rich.markup import escape

from restac_ros.msg import RecorderStatus
from restac_ros.nodes.fields import LATCHED_QOS
from restac_ros.nodes.keyboard.jog_keys import JogKeys
from restac_ros.nodes.keyboard.record_keys import RecordKeys, is_open
from restac_ros.nodes.keyboard.requests import Caller, ConsoleCall, ConsoleRequest, JogStep, SetText, Stop
from restac_ros.nodes.keyboard.run_keys import RunKeys
from restac_ros.nodes.keyboard.terminal import LOG_LINE, Inputs, single_keys
from restac_ros.recording.recorder import REQUESTS
from restac_ros.stopping import is_orphan

_STATUS = 'recorder_node/status'
_POLL_S = 0.1
_STEPS_DEPTH = 100  # reliable: no step is lost
_COLOURS = {'WARN': 'yellow', 'ERROR': 'red', 'FATAL': 'bold red'}


class ConsoleNode(Node):
    """With a display (for a recorder alone), the streams stand below the log lines of the other nodes."""

    def __init__(self) -> None:
        super().__init__('console_node')
        names = ('nodes', ['']), ('task', ''), ('log_descriptor', -1), ('run_id', '')
        values = {name: self.declare_parameter(name, default).value for name, default in names}
        self._run_id, self._logs = values['run_id'], values['log_descriptor']
        jog = JogKeys() if 'teleop_node' in values['nodes'] else None
        self._steps = self.create_publisher(Twist, 'teleop_node/step', _STEPS_DEPTH) if jog else None
        self._record = RecordKeys(values['task'], jog) if self._logs >= 0 else None
        self._run = RunKeys(values['nodes'])
        self._caller = Caller(self)
        self._screen = Console(file=sys.stdout if self._record else sys.stderr)
        self._live = Live(console=self._screen, auto_refresh=False)
        self._inputs = Inputs(self._on_key, self._on_lost)
        self._awaited: list[ConsoleCall | SetText] = []
        if self._record:
            self._awaited = [*map(ConsoleCall, REQUESTS), SetText('')]
        for request in self._run.requests:
            self._caller.is_ready(request)  # discovers its server before the key is pressed
        self.asked_to_stop = False
        if self._record:
            self._inputs.read_lines(self._logs, self._on_log)
        if self._record or jog:  # the recorder may run in another terminal
            self.create_subscription(RecorderStatus, _STATUS, self._on_status, LATCHED_QOS)

    def run(self, executor: SingleThreadedExecutor) -> None:
        """Handle keys until the run has ended, and with a display until the last log line is printed."""
        with suppress(OSError), single_keys(with_interrupt=self._record is not None):
            if self._record:
                self._live.start()
            else:
                self._print(self._run.line)
            while not (self.asked_to_stop and self._inputs.lines_ended) and not is_orphan():
                self._inputs.poll(_POLL_S)
                executor.spin_once(timeout_sec=0)
                self._update()
            self._live.stop()

    def _update(self) -> None:
        record = self._record
        if record is None:
            return
        if self._awaited and all(map(self._caller.is_ready, self._awaited)):
            self._awaited = []
            record.ready()
        if self.asked_to_stop:
            record.lost()  # the recorder finishes: further keys have no effect
        self._live.update(record.render(), refresh=True)

    def _on_key(self, key: str) -> None:
        if self._record:
            self._do(self._record.key(key))
            return
        if not self.count_publishers(_STATUS):
            self._run.note_recording(False)  # a recorder that has ended, however, records nothing
        before = self._run.line
        self._do(self._run.key(key))
        if self._run.notice or self._run.line != before:
            self._print(self._run.notice or self._run.line)

    def _on_lost(self) -> None:
        if self._record:
            self._do(self._record.lost())

    def _do(self, requests: list[ConsoleRequest]) -> None:
        for request in requests:
            match request:
                case Stop() if not is_orphan():
                    os.kill(os.getppid(), signal.SIGUSR1)  # the supervisor ends the run
                case JogStep():
                    self._publish_step(request)
                case ConsoleCall() | SetText():
                    self._caller.ask(request, self._on_answer)

    def _publish_step(self, step: JogStep) -> None:
        message = Twist()
        message.linear.x, message.linear.y, message.linear.z = step.offset_m
        message.angular.z = step.turn_rad
        if self._steps:
            self._steps.publish(message)

    def _on_answer(self, request: ConsoleCall | SetText, success: bool, text: str) -> None:
        if self._record:
            self._do(self._record.answered(request, success))
        # The others log what they do themselves.
        if not success or request.node in ('streamer_node', 'teleop_node'):
            self._print(text, 'green' if success else 'red')

    def _on_status(self, message: RecorderStatus) -> None:
        if self._record is None:
            self._run.note_recording(is_open(message))
        elif message.run_id == self._run_id:  # not another run's recorder
            self._record.receive(message)

    def _on_log(self, line: str) -> None:
        found = LOG_LINE.fullmatch(line)
        text = found['text'] if found else line
        self._print(text, _COLOURS.get(found['level'], '') if found else '')

    def _print(self, text: str, colour: str = '') -> None:
        self._screen.print(
            f'[{colour}]{escape(text)}[/]' if colour else escape(text), soft_wrap=True, highlight=False
        )


def main() -> None:
    """Entry point. The supervisor starts it in its own process group: Ctrl-C reaches both, and it decides."""
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = ConsoleNode()
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: setattr(node, 'asked_to_stop', True))
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        node.run(executor)
    finally:
        node.destroy_node()
        rclpy.try_shutdown()

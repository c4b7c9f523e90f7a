"""Shows a run in a browser, with Rerun's server as a child of this process.

A process of its own, that only listens: it polls the newest message of each input at the drawing rate and can
neither delay the policy nor be delayed by a slow browser.
"""

import threading
import time
from functools import partial
from typing import NamedTuple

import numpy as np
import rerun as rr
from pydantic import Field
from std_srvs.srv import Trigger

from restac_ros.contract.schema import Contract
from restac_ros.framing.decode import decode_image, decode_joints
from restac_ros.framing.values import decode_value
from restac_ros.nodes.diagnostics import Status, StatusLevel, latency_statuses
from restac_ros.nodes.lifecycle import ManagedNode
from restac_ros.nodes.running import ONLOOKER_NICENESS, run_node
from restac_ros.nodes.subscriptions import UnknownTypeError
from restac_ros.nodes.view_inputs import ViewInputs, ViewParameters
from restac_ros.runtime.latency import Latencies
from restac_ros.runtime.pacer import Pacer
from restac_ros.runtime.summary_file import latency_summary
from restac_ros.runtime.worker import Worker
from restac_ros.view.errors import ViewError
from restac_ros.view.playback import tactile_stream
from restac_ros.view.rerun import layout
from restac_ros.view.rerun.recordings import new_recording
from restac_ros.view.rerun.sink import RerunSink
from restac_ros.view.rerun.viewer import ViewerPlace, ViewerServer


class RerunViewParameters(ViewParameters):
    """See config/rerun_view.yaml."""

    subtask_topic: str = Field(description='Subtask of the policy, where a planner runs; empty: none')
    bind: str = Field(min_length=1, description='address that the page is served at; 0.0.0.0: to everybody')
    web_port: int = Field(ge=1, le=65535, description='port of the page')
    data_port: int = Field(ge=1, le=65535, description='port of the data that the page reads')
    memory: str = Field(pattern=r'^\d+(MB|GB)$', description='what is kept for browsers that come later')


class _Shown(NamedTuple):
    """State while the node is configured."""

    server: ViewerServer
    recording: rr.RecordingStream
    sink: RerunSink


class RerunViewNode(ManagedNode):
    """Wires a RerunSink to topics."""

    model = RerunViewParameters
    refusals = (ViewError, UnknownTypeError)

    def __init__(self) -> None:
        super().__init__('rerun_view_node')
        self._inputs = ViewInputs(self)
        self._latencies = Latencies(time.perf_counter_ns, 'poll', 'draw')
        self._drawing: Worker | None = None
        self._lock = threading.Lock()  # of the sink
        self._shown: _Shown | None = None
        self.create_service(Trigger, '~/set_reference', self._set_reference)

    def configure(self) -> None:
        parameters: RerunViewParameters = self.parameters
        contract = self.load_contract()
        tactile = tactile_stream(contract, parameters.tactile_stream)
        place = ViewerPlace(parameters.bind, parameters.web_port, parameters.data_port)
        server = ViewerServer(place, parameters.memory)
        recording = new_recording(self.run_id, contract)
        recording.connect_grpc(place.data_url)
        epoch_ns = time.time_ns() - time.monotonic_ns()
        sink = RerunSink(recording, contract, tactile, parameters.scene_options, epoch_ns)
        self._shown = _Shown(server, recording, sink)
        self._inputs.listen_to_policy(parameters, contract, sink)
        if parameters.subtask_topic:
            show = partial(sink.add_words, layout.AT_SUBTASK)
            self._inputs.listen_to_subtasks(parameters.subtask_topic, show)
        self._listen_to_streams(contract, tactile, sink)
        self.get_logger().info(f'open {place.page}')

    def activate(self) -> None:
        if self._shown is None:
            raise ViewError(f'the view is {self.phase}: configure it first')
        shown, pacer = self._shown, Pacer(round(1e9 / self.parameters.rate_hz), time.monotonic_ns())

        def draw() -> None:
            if remaining_ns := pacer.remaining_ns(time.monotonic_ns()):
                worker.wait(remaining_ns * 1e-9)
                return
            with self._lock:
                self._tick(shown)
            pacer.ticked(time.monotonic_ns())

        worker = self._drawing = Worker('view', draw, self._fail)
        worker.start()

    def deactivate(self) -> None:
        if self._drawing:
            self._drawing.ask_to_stop()
            self._drawing.join()
            self._drawing = None

    def cleanup(self) -> None:
        self._inputs.destroy()
        if self._shown is not None:
            self._shown.recording.disconnect()
            self._shown.server.close()
            self._shown = None

    def diagnose(self) -> list[Status]:
        if self._shown is None:
            return []
        problem = self._shown.sink.reference_problem
        faults = [*self._inputs.faults, *([problem] if problem else [])]
        values = {name: str(count) for name, count in self._inputs.received.items()}
        level: StatusLevel = 'warn' if faults else 'ok'
        text = '; '.join(faults) or f'all inputs are shown at {self._shown.server.place.page}'
        return [Status('view', level, text, values), *latency_statuses(self._latencies)]

    def summarise(self) -> dict[str, object]:
        return {'received': self._inputs.received, 'latencies_ms': latency_summary(self._latencies)}

    def _listen_to_streams(self, contract: Contract, tactile: str, sink: RerunSink) -> None:
        for name, spec in contract.streams.items():
            listen = partial(self._inputs.listen_to_stream, contract, name)
            if name == tactile:
                listen(partial(decode_value, contract, name), sink.add_tactile)
            elif spec.role == 'camera':
                listen(partial(decode_image, spec), partial(sink.add_image, name))
            elif spec.role == 'gripper':
                listen(partial(decode_value, contract, name), lambda value, _: sink.add_opening(float(value)))
        spec, name = contract.streams[contract.pose_stream], contract.pose_stream

        def read_arm(cdr: bytes) -> tuple[np.ndarray, np.ndarray | None]:
            joints = decode_joints(spec, cdr) if spec.role == 'arm_joints' else None
            return decode_value(contract, name, cdr), joints

        def show_arm(arm: tuple[np.ndarray, np.ndarray | None], steady_ns: int) -> None:
            pose, joints = arm
            sink.add_pose(pose, steady_ns)
            if joints is not None:
                sink.add_joints(joints, steady_ns)

        self._inputs.listen_to_stream(contract, name, read_arm, show_arm)

    def _tick(self, shown: _Shown) -> None:
        if (status := shown.server.ended) is not None:
            raise ViewError(f'the server of the page ended with status {status}')
        start_ns = time.monotonic_ns()
        self._inputs.poll()
        polled_ns = time.monotonic_ns()
        shown.sink.draw(polled_ns)
        self._latencies.add('poll', polled_ns - start_ns)
        self._latencies.add('draw', time.monotonic_ns() - polled_ns)

    def _fail(self, text: str) -> None:
        """End the process when the thread has failed: it would leave an old picture."""
        self.report_problem(text)
        self.exit_status = 1

    def _set_reference(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = self._shown is not None
        if self._shown is None:
            response.message = f'the node is {self.phase}: configure it first'
        else:
            with self._lock:
                needed = self._shown.sink.restart_reference()
            response.message = f'the next {needed} tactile frames are the reference'
        return response


def main() -> None:
    """Entry point."""
    run_node(RerunViewNode, niceness=ONLOOKER_NICENESS)

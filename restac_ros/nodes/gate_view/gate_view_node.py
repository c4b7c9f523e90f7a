"""Draws for rviz: gate and chunk at the tool, the tactile image, a strip chart.

A thread polls the newest message of each input at the drawing rate, so that a 1 kHz joint stream costs as
much as a 15 Hz one and the executor sleeps. Outputs without subscribers are not drawn.
"""

import threading
import time
from functools import partial
from typing import NamedTuple

from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger
from visualization_msgs.msg import MarkerArray

from restac_ros.contract.schema import Contract
from restac_ros.framing.values import decode_value
from restac_ros.nodes.diagnostics import Status, StatusLevel, latency_statuses
from restac_ros.nodes.gate_view.view_messages import MarkerWriter, image_message
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
from restac_ros.view.scene import GateScene

MARKERS, TACTILE, CHART = '~/markers', '~/tactile', '~/chart'
# Newest only, but reliable, as config/restac.rviz asks for.
OUTPUT_QOS = QoSProfile(depth=2)
CHART_EVERY = 3  # ticks: at 5 Hz a chart of 20 s moves by less than four pixels at a time


class GateViewParameters(ViewParameters):
    """See config/gate_view.yaml."""


class _View(NamedTuple):
    """State while the node is configured."""

    contract: Contract
    scene: GateScene
    markers: MarkerWriter


class GateViewNode(ManagedNode):
    """Wires a GateScene to topics."""

    model = GateViewParameters
    refusals = (ViewError, UnknownTypeError)

    def __init__(self) -> None:
        super().__init__('gate_view_node')
        self._latencies = Latencies(time.perf_counter_ns, 'poll', 'draw')
        self._inputs = ViewInputs(self)
        self._drawing: Worker | None = None
        self._ticks = 0
        self._lock = threading.Lock()  # of the scene
        self._view: _View | None = None
        self._outputs = {
            MARKERS: self.create_lifecycle_publisher(MarkerArray, MARKERS, OUTPUT_QOS),
            TACTILE: self.create_lifecycle_publisher(Image, TACTILE, OUTPUT_QOS),
            CHART: self.create_lifecycle_publisher(Image, CHART, OUTPUT_QOS),
        }
        self.create_service(Trigger, '~/set_reference', self._set_reference)

    def configure(self) -> None:
        parameters: GateViewParameters = self.parameters
        contract = self.load_contract()
        tactile = tactile_stream(contract, parameters.tactile_stream)
        scene = GateScene(contract, tactile, parameters.scene_options)
        self._inputs.listen_to_policy(parameters, contract, scene)
        for name, show in ((tactile, scene.add_tactile), (contract.pose_stream, scene.add_pose)):
            self._inputs.listen_to_stream(contract, name, partial(decode_value, contract, name), show)
        self._view = _View(contract, scene, MarkerWriter(contract.robot.base_frame))

    def activate(self) -> None:
        if self._view is None:
            raise ViewError(f'the view is {self.phase}: configure it first')
        view, pacer = self._view, Pacer(round(1e9 / self.parameters.rate_hz), self._steady_ns())

        def draw() -> None:
            if remaining_ns := pacer.remaining_ns(self._steady_ns()):
                worker.wait(remaining_ns * 1e-9)
                return
            with self._lock:
                self._tick(view)
            pacer.ticked(self._steady_ns())

        worker = self._drawing = Worker('view', draw, self._fail)
        worker.start()

    def deactivate(self) -> None:
        if self._drawing:
            self._drawing.ask_to_stop()
            self._drawing.join()
            self._drawing = None

    def cleanup(self) -> None:
        self._inputs.destroy()
        self._view = None

    def diagnose(self) -> list[Status]:
        if self._view is None:
            return []
        scene = self._view.scene
        doubts = [scene.reference_problem] if scene.reference_problem else []
        faults = [*self._inputs.faults, *doubts]
        values = {name: str(count) for name, count in self._inputs.received.items()}
        values['reference'] = f'{scene.reference.collected} of {scene.reference.needed}'
        level: StatusLevel = 'warn' if faults else 'ok'
        text = '; '.join(faults) or 'all inputs are shown'
        return [Status('view', level, text, values), *latency_statuses(self._latencies)]

    def summarise(self) -> dict[str, object]:
        return {'received': self._inputs.received, 'latencies_ms': latency_summary(self._latencies)}

    def _fail(self, text: str) -> None:
        """End the process when the thread has failed: it would leave an old picture."""
        self.report_problem(text)
        self.exit_status = 1

    def _tick(self, view: _View) -> None:
        start_ns = self._steady_ns()
        self._inputs.poll()
        polled_ns = self._steady_ns()
        self._publish(view, polled_ns)
        self._latencies.add('poll', polled_ns - start_ns)
        self._latencies.add('draw', self._steady_ns() - polled_ns)

    def _publish(self, view: _View, steady_ns: int) -> None:
        """Draw and publish the outputs that have subscribers."""
        scene, stamp = view.scene, self.get_clock().now().to_msg()
        frame = view.contract.robot.tool_frame
        draw = {
            MARKERS: lambda: view.markers.write(scene.shapes(steady_ns)),
            TACTILE: lambda: image_message(scene.tactile_image(steady_ns), frame, stamp),
            CHART: lambda: image_message(scene.chart_image(steady_ns), frame, stamp),
        }
        for topic, output in self._outputs.items():
            due = topic != CHART or self._ticks % CHART_EVERY == 0
            if due and output.get_subscription_count():
                output.publish(draw[topic]())
        self._ticks += 1

    def _set_reference(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = self._view is not None
        if self._view is None:
            response.message = f'the node is {self.phase}: configure it first'
        else:
            reference = self._view.scene.reference
            with self._lock:
                reference.restart()
            response.message = f'the next {reference.needed} tactile frames are the reference'
        return response

    def _steady_ns(self) -> int:
        return time.monotonic_ns()


def main() -> None:
    """Entry point."""
    run_node(GateViewNode, niceness=ONLOOKER_NICENESS)

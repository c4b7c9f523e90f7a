"""Draws for rviz: gate and chunk at the tool, the tactile image, a strip chart.

A thread polls the newest message of each input at the drawing rate, so that a 1 kHz joint stream costs as
much as a 15 Hz one and the executor sleeps. Outputs without subscribers are not drawn.
"""

import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from pydantic import Field
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger
from visualization_msgs.msg import MarkerArray

from restac_ros.contract.schema import Contract
from restac_ros.framing.errors import DecodeError
from restac_ros.framing.sample import belongs
from restac_ros.framing.values import decode_value
from restac_ros.msg import ActionChunk, GateState
from restac_ros.nodes.diagnostics import Status, StatusLevel, latency_statuses
from restac_ros.nodes.gate_view.view_messages import MarkerWriter, image_message
from restac_ros.nodes.lifecycle import ManagedNode
from restac_ros.nodes.parameters import NodeParameters
from restac_ros.nodes.polled_input import PolledInput
from restac_ros.nodes.running import ONLOOKER_NICENESS, run_node
from restac_ros.nodes.subscriptions import UnknownTypeError, message_class
from restac_ros.runtime.complaints import Complaints
from restac_ros.runtime.latency import Latencies
from restac_ros.runtime.pacer import Pacer
from restac_ros.runtime.summary_file import latency_summary
from restac_ros.runtime.worker import Worker
from restac_ros.view.errors import ViewError
from restac_ros.view.playback import tactile_stream
from restac_ros.view.samples import chunk_sample, gate_sample, held_reason, residual_map
from restac_ros.view.scene import GateScene, SceneOptions
from restac_ros.view.tactile import HeatScale

MARKERS, TACTILE, CHART = '~/markers', '~/tactile', '~/chart'
# Newest only, but reliable, as config/restac.rviz asks for.
OUTPUT_QOS = QoSProfile(depth=2)
CHART_EVERY = 3  # ticks: at 5 Hz a chart of 20 s moves by less than four pixels at a time
RESIDUAL, DIAGNOSTICS = OPTIONAL = 'residual', 'diagnostics'  # need not come: some policies have no prior
SHARED_DEPTH = 16  # of a topic that streams share: a message of another stream must not hide ours
POLICY_DEPTH = 64  # gates and chunks between two ticks, with room for a stall


class GateViewParameters(NodeParameters):
    """See config/gate_view.yaml."""

    gate_topic: str = Field(min_length=1, description='GateState of the policy')
    chunk_topic: str = Field(min_length=1, description='ActionChunk of the policy')
    residual_topic: str = Field(description='felt minus expected (Image, 32FC1); empty: none')
    tactile_stream: str = Field(description='tactile stream of the contract; empty: its first')
    rate_hz: float = Field(gt=0, le=60, description='how often to draw; the chart a third as often')
    span_s: float = Field(gt=0, le=600, description='reach of the chart and of the executed path, s')
    stale_s: float = Field(gt=0, le=60, description='without a message for so long, a value is old, s')
    reference_frames: int = Field(ge=1, le=1000, description='first frames, the contact-free reference')
    heat_threshold: float = Field(ge=0, le=255, description='change that is contact, grey levels')
    residual_full: float = Field(gt=0, description='felt minus expected that is drawn brightest')
    heat_full: float = Field(gt=0, le=255, description='change that is drawn brightest, grey levels')


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
        logger = self.get_logger()
        self._complaints = Complaints(logger.warning, logger.info, time.monotonic_ns)
        self._latencies = Latencies(time.perf_counter_ns, 'poll', 'draw')
        self._inputs: dict[str, PolledInput] = {}
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
        parameters = self.parameters
        contract = self.load_contract()
        options = SceneOptions(
            parameters.span_s,
            parameters.stale_s,
            parameters.reference_frames,
            HeatScale(parameters.heat_threshold, parameters.heat_full, parameters.residual_full),
        )
        tactile = tactile_stream(contract, parameters.tactile_stream)
        base_frame = contract.robot.base_frame
        scene = GateScene(contract, tactile, options)

        def add_hold(reason: str | None, steady_ns: int) -> None:
            if reason is not None:
                scene.add_hold(reason, steady_ns)

        self._listen('gate', GateState, parameters.gate_topic, gate_sample, scene.add_gate)
        self._listen(
            'chunk',
            ActionChunk,
            parameters.chunk_topic,
            lambda message: chunk_sample(message, base_frame),
            scene.add_chunk,
        )
        if parameters.residual_topic:
            self._listen(RESIDUAL, Image, parameters.residual_topic, residual_map, scene.add_residual)
        self._listen(DIAGNOSTICS, DiagnosticArray, '/diagnostics', held_reason, add_hold)
        self._listen_to_stream(contract, tactile, scene.add_tactile)
        self._listen_to_stream(contract, contract.pose_stream, scene.add_pose)
        self._view = _View(contract, scene, MarkerWriter(base_frame))

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
        for source in self._inputs.values():
            source.destroy()
        self._inputs.clear()
        self._complaints.forget()
        self._view = None

    def diagnose(self) -> list[Status]:
        if self._view is None:
            return []
        scene = self._view.scene
        missing = [
            self._why_missing(source)
            for name, source in self._inputs.items()
            if not source.received and name not in OPTIONAL
        ]
        doubts = [scene.reference_problem] if scene.reference_problem else []
        faults = [*self._complaints.texts, *missing, *doubts]
        values = {name: str(source.received) for name, source in self._inputs.items()}
        values['reference'] = f'{scene.reference.collected} of {scene.reference.needed}'
        level: StatusLevel = 'warn' if faults else 'ok'
        text = '; '.join(faults) or 'all inputs are shown'
        return [Status('view', level, text, values), *latency_statuses(self._latencies)]

    def summarise(self) -> dict[str, object]:
        received = {name: source.received for name, source in self._inputs.items()}
        return {'received': received, 'latencies_ms': latency_summary(self._latencies)}

    def _listen(
        self, name: str, kind: type, topic: str, read: Callable[[Any], Any], show: Callable[[Any, int], None]
    ) -> None:
        """Show the messages of a topic; report one that cannot be read, and continue."""
        receive = self._receiver(name, read, show)
        self._inputs[name] = PolledInput(self, kind, topic, POLICY_DEPTH, receive)

    def _listen_to_stream(
        self, contract: Contract, name: str, show: Callable[[np.ndarray, int], None]
    ) -> None:
        """Show the newest message of a stream of the contract."""
        spec = contract.streams[name]
        receive = self._receiver(name, lambda cdr: decode_value(contract, name, cdr), show)

        def receive_own(cdr: bytes, info: dict) -> None:
            if belongs(spec, cdr):
                receive(cdr, info)

        depth = 1 if len(contract.by_topic()[spec.topic]) == 1 else SHARED_DEPTH
        self._inputs[name] = PolledInput(
            self, message_class(spec.type), spec.topic, depth, receive_own, raw=True
        )

    def _receiver(
        self, name: str, read: Callable[[Any], Any], show: Callable[[Any, int], None]
    ) -> Callable[[Any, dict], None]:
        def receive(message: Any, _: dict) -> None:
            try:
                value = read(message)
            except (ViewError, DecodeError) as error:
                self._complaints.set(name, type(error).__name__, str(error))
                return
            self._complaints.clear(name)
            show(value, self._steady_ns())

        return receive

    def _fail(self, text: str) -> None:
        """End the process when the thread has failed: it would leave an old picture."""
        self.report_problem(text)
        self.exit_status = 1

    def _tick(self, view: _View) -> None:
        start_ns = self._steady_ns()
        for source in self._inputs.values():
            source.poll()
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

    def _why_missing(self, source: PolledInput) -> str:
        count = self.count_publishers(source.topic)
        found = f'although it has {count} publishers' if count else 'no publisher'
        return f'{source.topic}: nothing received, {found}'

    def _steady_ns(self) -> int:
        return time.monotonic_ns()


def main() -> None:
    """Entry point."""
    run_node(GateViewNode, niceness=ONLOOKER_NICENESS)

"""What the nodes that show a run have in common: the topics they poll, and parameters of what they draw."""

import time
from collections.abc import Callable
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from pydantic import Field
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image

from restac_ros.contract.schema import Contract
from restac_ros.framing.errors import DecodeError
from restac_ros.framing.sample import belongs
from restac_ros.msg import ActionChunk, GateState, Subtask
from restac_ros.nodes.fields import LATCHED_QOS
from restac_ros.nodes.lifecycle import ManagedNode
from restac_ros.nodes.polled_input import PolledInput
from restac_ros.nodes.subscriptions import message_class
from restac_ros.runtime.complaints import Complaints
from restac_ros.runtime.node_parameters import NodeParameters
from restac_ros.view.errors import ViewError
from restac_ros.view.playback import Showing
from restac_ros.view.samples import chunk_sample, gate_sample, held_reason, residual_map, subtask_words
from restac_ros.view.scene import SceneOptions
from restac_ros.view.tactile import HeatScale

RESIDUAL, DIAGNOSTICS, PLANNED = OPTIONAL = 'residual', 'diagnostics', 'subtask'  # may be absent
SHARED_DEPTH = 16  # of a topic that streams share: a message of another stream must not hide ours
POLICY_DEPTH = 64  # gates and chunks between two ticks, with room for a stall


class ViewParameters(NodeParameters):
    """Of every node that shows a run."""

    gate_topic: str = Field(min_length=1, description='GateState of the policy')
    chunk_topic: str = Field(min_length=1, description='ActionChunk of the policy')
    residual_topic: str = Field(description='felt minus expected (Image, 32FC1); empty: none')
    tactile_stream: str = Field(description='tactile stream of the contract; empty: its first')
    rate_hz: float = Field(gt=0, le=60, description='how often to draw; the chart a third as often')
    span_s: float = Field(gt=0, le=600, description='reach of the chart and of the executed path, s')
    stale_s: float = Field(gt=0, le=60, description='without a message for so long, a value is old, s')
    reference_frames: int = Field(ge=1, le=1000, description='frames that agree, the contact-free reference')
    heat_threshold: float = Field(ge=0, le=255, description='change from which on there is heat, grey levels')
    residual_full: float = Field(gt=0, description='felt minus expected that is drawn brightest')
    heat_full: float = Field(gt=0, le=255, description='change that is drawn brightest, grey levels')

    @property
    def scene_options(self) -> SceneOptions:
        """The options of the scene.

        Raises:
            ViewError: the scale of the heat map is no range.
        """
        heat = HeatScale(self.heat_threshold, self.heat_full, self.residual_full)
        return SceneOptions(self.span_s, self.stale_s, self.reference_frames, heat)


class ViewInputs:
    """The topics of one view. A message that cannot be read is reported, and the view continues."""

    def __init__(self, node: ManagedNode) -> None:
        logger = node.get_logger()
        self.complaints = Complaints(logger.warning, logger.info, time.monotonic_ns)
        self._node = node
        self._inputs: dict[str, PolledInput] = {}

    @property
    def received(self) -> dict[str, int]:
        """Messages received so far, by input."""
        return {name: source.received for name, source in self._inputs.items()}

    @property
    def faults(self) -> list[str]:
        """Inputs that cannot be read, and inputs that were never received."""
        missing = [
            self._why_missing(source)
            for name, source in self._inputs.items()
            if not source.received and name not in OPTIONAL
        ]
        return [*self.complaints.texts, *missing]

    def poll(self) -> None:
        """Pass on what has arrived."""
        for source in self._inputs.values():
            source.poll()

    def destroy(self) -> None:
        """Unsubscribe from everything."""
        for source in self._inputs.values():
            source.destroy()
        self._inputs.clear()
        self.complaints.forget()

    def listen_to_policy(self, parameters: ViewParameters, contract: Contract, scene: Showing) -> None:
        """Show gates, chunks, residuals, and the policy's reason to hold."""
        base_frame = contract.robot.base_frame

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

    def listen_to_subtasks(self, topic: str, show: Callable[[str, int], None]) -> None:
        """Show what chunks are planned for where a planner runs, also what it was before this view began."""
        self._listen(PLANNED, Subtask, topic, subtask_words, show, LATCHED_QOS)

    def listen_to_stream[T](
        self, contract: Contract, name: str, read: Callable[[bytes], T], show: Callable[[T, int], None]
    ) -> None:
        """Show the newest message of a stream of the contract, read from its CDR bytes."""
        spec = contract.streams[name]
        receive = self._receiver(name, read, show)

        def receive_own(cdr: bytes, info: dict) -> None:
            if belongs(spec, cdr):
                receive(cdr, info)

        depth = 1 if len(contract.by_topic()[spec.topic]) == 1 else SHARED_DEPTH
        kind = message_class(spec.type)
        self._inputs[name] = PolledInput(self._node, kind, spec.topic, depth, receive_own, raw=True)

    def _listen(
        self,
        name: str,
        kind: type,
        topic: str,
        read: Callable[[Any], Any],
        show: Callable[[Any, int], None],
        qos: QoSProfile | int = POLICY_DEPTH,
    ) -> None:
        receive = self._receiver(name, read, show)
        self._inputs[name] = PolledInput(self._node, kind, topic, qos, receive)

    def _receiver(
        self, name: str, read: Callable[[Any], Any], show: Callable[[Any, int], None]
    ) -> Callable[[Any, dict], None]:
        def receive(message: Any, _: dict) -> None:
            try:
                value = read(message)
            except (ViewError, DecodeError) as error:
                self.complaints.set(name, type(error).__name__, str(error))
                return
            self.complaints.clear(name)
            show(value, time.monotonic_ns())

        return receive

    def _why_missing(self, source: PolledInput) -> str:
        count = self._node.count_publishers(source.topic)
        found = f'although it has {count} publishers' if count else 'no publisher'
        return f'{source.topic}: nothing received, {found}'

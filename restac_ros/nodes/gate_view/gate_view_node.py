"""Draws for rviz: gate and chunk at the tool, the tactile image, a strip chart.

Outputs without subscribers are not drawn.
"""

from dataclasses import dataclass
from functools import partial

from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
from visualization_msgs.msg import MarkerArray

from restac_ros.contract.schema import Contract
from restac_ros.framing.values import decode_value
from restac_ros.nodes.gate_view.view_messages import ImageWriter, MarkerWriter
from restac_ros.nodes.running import ONLOOKER_NICENESS, run_node
from restac_ros.nodes.view_inputs import ViewParameters
from restac_ros.nodes.view_node import RunView, ViewNode
from restac_ros.view.scene import GateScene

MARKERS, TACTILE, CHART = '~/markers', '~/tactile', '~/chart'
# Newest only, but reliable, as config/restac.rviz asks for.
OUTPUT_QOS = QoSProfile(depth=2)
CHART_EVERY = 3  # ticks: at 5 Hz a chart of 20 s moves by less than four pixels at a time


class GateViewParameters(ViewParameters):
    """See config/gate_view.yaml."""


@dataclass(frozen=True)
class _GateView(RunView):
    markers: MarkerWriter
    tactile: ImageWriter
    chart: ImageWriter


class GateViewNode(ViewNode[_GateView, GateViewParameters]):
    """Publishes what a GateScene shows."""

    model = GateViewParameters

    def __init__(self) -> None:
        super().__init__('gate_view_node')
        self._ticks = 0
        self._outputs = {
            MARKERS: self.create_lifecycle_publisher(MarkerArray, MARKERS, OUTPUT_QOS),
            TACTILE: self.create_lifecycle_publisher(Image, TACTILE, OUTPUT_QOS),
            CHART: self.create_lifecycle_publisher(Image, CHART, OUTPUT_QOS),
        }

    def open_view(self, contract: Contract, tactile: str | None) -> _GateView:
        scene = GateScene(contract, tactile, self.parameters.scene_options)
        tool, markers = contract.robot.tool_frame, MarkerWriter(contract.robot.base_frame)
        return _GateView(contract, scene, markers, ImageWriter(tool), ImageWriter(tool))

    def listen(self, view: _GateView, tactile: str | None) -> None:
        contract, scene = view.contract, view.scene
        self.inputs.listen_to_policy(self.parameters, contract, scene)
        for name, show in ((tactile, scene.add_tactile), (contract.pose_stream, scene.add_pose)):
            if name is not None:
                self.inputs.listen_to_stream(contract, name, partial(decode_value, contract, name), show)

    def draw(self, view: _GateView, steady_ns: int) -> None:
        scene, stamp = view.scene, self.get_clock().now().to_msg()
        draw = {
            MARKERS: lambda: view.markers.write(scene.shapes(steady_ns)),
            TACTILE: lambda: view.tactile.write(scene.tactile_image(steady_ns), stamp),
            CHART: lambda: view.chart.write(scene.chart_image(steady_ns), stamp),
        }
        for topic, output in self._outputs.items():
            due = topic != CHART or self._ticks % CHART_EVERY == 0
            if due and output.get_subscription_count():
                output.publish(draw[topic]())
        self._ticks += 1


def main() -> None:
    """Entry point."""
    run_node(GateViewNode, niceness=ONLOOKER_NICENESS)

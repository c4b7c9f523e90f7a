"""Shows a run in a browser, with Rerun's server as a child of this process.

A process of its own that only listens: it cannot delay the policy. While a browser does not keep up, what is
logged meanwhile is left out, for every browser.
"""

import time
from dataclasses import dataclass
from functools import partial

import numpy as np
import rerun as rr
from pydantic import Field

from restac_ros.contract.schema import Contract
from restac_ros.framing.decode import decode_image, decode_joints
from restac_ros.framing.values import decode_value
from restac_ros.nodes.running import ONLOOKER_NICENESS, run_node
from restac_ros.nodes.view_inputs import ViewParameters
from restac_ros.nodes.view_node import RunView, ViewNode
from restac_ros.view.errors import ViewError
from restac_ros.view.rerun.recordings import new_recording
from restac_ros.view.rerun.sink import RerunSink
from restac_ros.view.rerun.viewer import ViewerPlace, ViewerServer

_PATIENCE_S = 0.02  # for the server to take what a drawing logged


class RerunViewParameters(ViewParameters):
    """See config/rerun_view.yaml."""

    subtask_topic: str = Field(description='Subtask of the policy, where a planner runs; empty: none')
    bind: str = Field(min_length=1, description='address that the page is served at; 0.0.0.0: to everybody')
    web_port: int = Field(ge=1, le=65535, description='port of the page')
    data_port: int = Field(ge=1, le=65535, description='port of the data that the page reads')
    memory: str = Field(pattern=r'^\d+(MB|GB)$', description='what is kept for browsers that come later')


@dataclass(frozen=True)
class _RerunView(RunView):
    server: ViewerServer
    recording: rr.RecordingStream
    sink: RerunSink

    @property
    def healthy(self) -> str:
        return f'{super().healthy} at {self.server.place.page}'

    @property
    def problem(self) -> str:
        if not self.sink.is_stalled:
            return ''
        return (
            f'the page takes nothing, as a browser does not keep up: {self.sink.left_out} drawings left out'
        )

    def close(self) -> None:
        if self.sink.is_stalled:
            self.server.close()  # or disconnecting waits for it
        self.recording.disconnect()
        self.server.close()


class RerunViewNode(ViewNode[_RerunView, RerunViewParameters]):
    """Logs a run to Rerun's server."""

    model = RerunViewParameters

    def __init__(self) -> None:
        super().__init__('rerun_view_node')

    def open_view(self, contract: Contract, tactile: str | None) -> _RerunView:
        parameters = self.parameters
        place = ViewerPlace(parameters.bind, parameters.web_port, parameters.data_port)
        server = ViewerServer(place, parameters.memory)
        recording = new_recording(self.run_id, contract)
        recording.connect_grpc(place.data_url)
        epoch_ns = time.time_ns() - time.monotonic_ns()
        sink = RerunSink(recording, contract, tactile, parameters.scene_options, epoch_ns)
        return _RerunView(contract, sink.scene, server, recording, sink)

    def listen(self, view: _RerunView, tactile: str | None) -> None:
        contract, sink = view.contract, view.sink
        self.inputs.listen_to_policy(self.parameters, contract, sink)
        if self.parameters.subtask_topic:
            self.inputs.listen_to_subtasks(self.parameters.subtask_topic, sink.add_subtask)
        for name, spec in contract.streams.items():
            listen = partial(self.inputs.listen_to_stream, contract, name)
            if name == tactile:
                listen(partial(decode_value, contract, name), sink.add_tactile)
            elif spec.role == 'camera':
                listen(partial(decode_image, spec), partial(sink.add_image, name))
            elif spec.role == 'gripper':
                listen(partial(decode_value, contract, name), lambda value, _: sink.add_opening(float(value)))
        self._listen_to_arm(contract, sink)
        self.get_logger().info(f'open {view.server.place.page}')

    def draw(self, view: _RerunView, steady_ns: int) -> None:
        if (status := view.server.ended) is not None:
            raise ViewError(f'the server of the page ended with status {status}')
        view.sink.draw(steady_ns)
        view.sink.check_taken(_PATIENCE_S)

    def _listen_to_arm(self, contract: Contract, sink: RerunSink) -> None:
        spec, name = contract.streams[contract.pose_stream], contract.pose_stream

        def read_arm(cdr: bytes) -> tuple[np.ndarray, np.ndarray | None]:
            joints = decode_joints(spec, cdr) if spec.role == 'arm_joints' else None
            return decode_value(contract, name, cdr), joints

        def show_arm(arm: tuple[np.ndarray, np.ndarray | None], steady_ns: int) -> None:
            pose, joints = arm
            sink.add_pose(pose, steady_ns)
            if joints is not None:
                sink.add_joints(joints, steady_ns)

        self.inputs.listen_to_stream(contract, name, read_arm, show_arm)


def main() -> None:
    """Entry point."""
    run_node(RerunViewNode, niceness=ONLOOKER_NICENESS)

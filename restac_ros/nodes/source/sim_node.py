"""The simulated cell as a robot: publishes what its drivers would, and moves as it is commanded.

`restac_ros.sim.cell.cell_loop` does the work; here are topics, services and the pace.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast, get_args

import numpy as np
from geometry_msgs.msg import PoseStamped
from pydantic import Field
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription
from std_msgs.msg import Float64, UInt8
from std_srvs.srv import SetBool, Trigger

from restac_ros.contract.errors import did_you_mean
from restac_ros.control.supervisor import ROBOT_MODE_MOVE
from restac_ros.dataset.references import reference_topic
from restac_ros.framing.encode import driver_message
from restac_ros.framing.stamp import with_stamp
from restac_ros.geometry.pose import Pose
from restac_ros.graph import CELL_CONTRACT, SIM_LONGEST_S
from restac_ros.installation import config_file
from restac_ros.nodes.diagnostics import Status
from restac_ros.nodes.fields import LATCHED_QOS
from restac_ros.nodes.running import run_node
from restac_ros.nodes.source.cell_opening import open_cell_loop, open_expert_pilot
from restac_ros.nodes.source.driver_messages import clock_message, force_message, re_encoded
from restac_ros.nodes.source.source import (
    CLOCK_TOPIC,
    CLOCK_TYPE,
    SourceError,
    SourceNode,
    SourceParameters,
    Topic,
    contract_topics,
)
from restac_ros.nodes.subscriptions import message_class
from restac_ros.runtime.node_parameters import ParameterError
from restac_ros.runtime.pacer import SimulationPace
from restac_ros.runtime.playback import Outgoing, play
from restac_ros.sim.cell.parameters import CellError, draw_scene
from restac_ros.sim.stream_faults import StreamFault, StreamFaults
from restac_ros.sim.virtual_arm import ROBOT_MODE_GUIDING, ROBOT_MODE_REFLEX

if TYPE_CHECKING:
    from restac_ros.sim.cell.cell_loop import CellLoop
    from restac_ros.sim.cell.cell_window import CellWindow
    from restac_ros.sim.cell.demonstration import Pilot

TARGET_INPUT_QOS = QoSProfile(depth=1)  # reliable, as crisp_controllers'
MODE_PERIOD_S = 0.05
_CLOCK_HZ = 200.0
_FORCE_TYPE, _FORCE_PERIOD_NS = 'geometry_msgs/msg/WrenchStamped', 20_000_000  # a multiple of the clock's
_REFUSAL_PERIOD_S = 1.0


class SimParameters(SourceParameters):
    """See config/sim.yaml."""

    changeable: ClassVar[frozenset[str]] = frozenset({'stream_fault', 'fault_streams'})

    seed: int = Field(ge=0, le=2**31 - 1, description='chooses the scene, all noise and all delays')
    seconds: float = Field(gt=0, le=SIM_LONGEST_S, description='simulated time to run at most, s')
    end_when_inserted: bool = Field(description='end 1 s after the plug has been inserted')
    rate: float = Field(gt=0, le=100, description='largest ratio of simulated to real time')
    expert: bool = Field(description='the scripted expert moves the arm, and targets are not received')
    cameras: bool = Field(description='draw the cameras, which needs OpenGL')
    window: bool = Field(description="also show the cell in MuJoCo's viewer, where there is a display")
    camera_width_px: int = Field(ge=16, le=4096, description="width of the cameras' images")
    camera_height_px: int = Field(ge=16, le=4096, description='their height')
    tactile_width_px: int = Field(ge=16, le=4096, description="width of the tactile sensor's images")
    tactile_height_px: int = Field(ge=16, le=4096, description='their height')
    target_topic: str = Field(min_length=1, description='PoseStamped that the controller follows')
    gripper_topic: str = Field(min_length=1, description='Float64, opening of the gripper in m')
    push_n: float = Field(gt=0, le=200, description='force of the hand of ~/push, N')
    stream_fault: str = Field(description='fault of a driver, to begin with or at run time; empty: none')
    fault_streams: list[str] = Field(description='streams that have it; one empty text: all')

    @property
    def contract_path(self) -> Path:
        """The contract to read: the given one, or that of the cell."""
        return self.contract or config_file(CELL_CONTRACT)


class SimNode(SourceNode[SimParameters]):
    """Publishes until the plug is inserted or the time is over, then ends."""

    model = SimParameters
    refusals = (SourceError, CellError)
    _loop: 'CellLoop'  # this and the following from configure on
    _faults: StreamFaults
    _pilot: 'Pilot | None'
    _force_topic: str

    def __init__(self) -> None:
        super().__init__('sim_node')
        self._seed = 0
        self._simulated_s = self._real_s = 0.0
        self._cell_ns = 0  # time of the cell's last tick, as on /clock
        self._has_run = False  # the loop: its times go on, those of another activation begin anew
        self._inputs: list[Subscription] = []
        self._references: dict[str, Publisher] = {}  # of the tactile streams
        for name, mode in (('reflex', ROBOT_MODE_REFLEX), ('guide', ROBOT_MODE_GUIDING)):
            self.create_service(SetBool, f'~/{name}', partial(self._switch_mode, mode))
        self.create_service(SetBool, '~/push', self._push)
        self.create_service(Trigger, '~/reset', self._reset)

    def open(self) -> dict[str, Topic]:
        self.refuse_own_clock()
        contract, parameters = self.contract, self.parameters
        self._seed = parameters.seed
        self._open_loop()
        self._faults = StreamFaults(contract, lambda stream, cdr: re_encoded(contract, stream, cdr))
        self._begin_fault()
        published = {contract.streams[name].topic for name in self._loop.sensors.streams}
        topics = {name: topic for name, topic in contract_topics(contract).items() if name in published}
        self._force_topic = self.resolve_topic_name('~/contact_force')
        return {
            **topics,
            CLOCK_TOPIC: Topic(CLOCK_TYPE, _CLOCK_HZ),
            self._force_topic: Topic(_FORCE_TYPE, 1e9 / _FORCE_PERIOD_NS),
        }

    def activate(self) -> None:
        parameters = self.parameters
        if self._has_run:
            self._open_loop()
        self._has_run = True
        for name, spec in self.contract.by_role('tactile').items():
            kind = message_class(spec.type)
            self._references[name] = self.create_publisher(kind, reference_topic(spec.topic), LATCHED_QOS)
        self._mode = self.create_publisher(UInt8, '~/robot_mode', 10)
        if not parameters.expert:  # it alone commands then
            self._inputs = [
                self.create_subscription(
                    PoseStamped, parameters.target_topic, self._receive_target, TARGET_INPUT_QOS
                ),
                self.create_subscription(
                    Float64, parameters.gripper_topic, self._receive_gripper, TARGET_INPUT_QOS
                ),
            ]
        self._mode_timer = self.create_timer(MODE_PERIOD_S, self._publish_mode, clock=self.steady_clock)
        super().activate()

    def deactivate(self) -> None:
        super().deactivate()
        for subscription in self._inputs:
            self.destroy_subscription(subscription)
        self.destroy_timer(self._mode_timer)
        for publisher in (self._mode, *self._references.values()):
            self.destroy_publisher(publisher)
        self._inputs, self._references = [], {}

    def messages(self, start_ns: int) -> Iterator[Outgoing]:
        parameters = self.parameters
        self._cell_ns = start_ns
        self._publish_references()
        for reading in self._loop.readings():
            over = reading.publish_ns >= parameters.seconds * 1e9
            if over or (parameters.end_when_inserted and self._loop.complete):
                return
            if reading.stream is None:
                self._cell_ns = start_ns + reading.stamp_ns
                if self._pilot is not None:
                    self._pilot.advance(reading.stamp_ns)
                yield Outgoing(reading.publish_ns, CLOCK_TOPIC, clock_message(self._cell_ns))
                if reading.stamp_ns % _FORCE_PERIOD_NS == 0:
                    yield Outgoing(reading.publish_ns, self._force_topic, self._contact_force())
            elif reading.value is not None:
                cdr = driver_message(self.contract, reading.stream, reading.value)
                faulty = self._faults.apply(reading.stream, with_stamp(cdr, start_ns + reading.stamp_ns))
                if faulty is not None:
                    topic = self.contract.streams[reading.stream].topic
                    yield Outgoing(reading.publish_ns, topic, faulty)

    def _contact_force(self) -> bytes:
        state, robot = self._loop.cell.state(), self.contract.robot
        return force_message(self._cell_ns, robot.base_frame, state.felt_force_n)

    def check_change(self, name: str, value: Any) -> None:
        if name == 'stream_fault' and value and value not in get_args(StreamFault):
            hint = did_you_mean(value, get_args(StreamFault))
            raise ParameterError(f"parameter 'stream_fault': no fault {value!r}; {hint}")
        for stream in filter(None, value if name == 'fault_streams' else ()):
            if stream not in self.contract.streams:
                hint = did_you_mean(stream, self.contract.streams)
                raise ParameterError(f"parameter 'fault_streams': no stream {stream!r}; {hint}")

    def parameters_changed(self) -> None:
        self._begin_fault()

    def summarise(self) -> dict[str, object]:
        if self.phase == 'unconfigured':
            return super().summarise()
        outcome = {key: _rounded(value) for key, value in asdict(self._loop.outcome).items()}
        speed = round(self._simulated_s / self._real_s, 3) if self._real_s else None
        ran = {'seed': self._seed, 'simulated_s': round(self._simulated_s, 3), 'times_real_time': speed}
        return {**super().summarise(), **ran, **outcome}

    def diagnose(self) -> list[Status]:
        if self.phase != 'active':
            return super().diagnose()
        outcome = {key: str(_rounded(value)) for key, value in asdict(self._loop.outcome).items()}
        return [*super().diagnose(), Status('cell', 'ok', f'seed {self._seed}', outcome)]

    def _play(self) -> bool:
        parameters = self.parameters
        self.get_logger().info(f'simulating the cell of seed {self._seed}')
        pace, messages = SimulationPace(parameters.rate, time.monotonic_ns), self.messages(self.now_ns())
        begun_s = time.monotonic()

        window = self._opened_window()

        def publish(message: Outgoing) -> None:
            self._publish(message)
            if window is not None:
                window.show(message.due_ns)
            pace.reached(message.due_ns)
            self._simulated_s, self._real_s = message.due_ns * 1e-9, time.monotonic() - begun_s

        def pause(simulated_s: float) -> bool:
            return self._halt.wait(simulated_s / parameters.rate)

        try:
            return play(messages, publish, pace.elapsed_ns, pause, self.played)
        finally:
            if window is not None:
                window.close()

    def _opened_window(self) -> 'CellWindow | None':
        """Return the window that was asked for; None, and a message, where none can be opened."""
        if not self.parameters.window:
            return None
        from restac_ros.sim.cell.cell_window import CellWindow, WindowError

        try:
            return CellWindow(self._loop.cell)
        except WindowError as error:
            self.get_logger().warning(str(error))
            return None

    def _open_loop(self) -> None:
        """Open the cell in the present scene; raises as `open_cell_loop`."""
        parameters = self.parameters
        camera_px = parameters.camera_height_px, parameters.camera_width_px
        tactile_px = parameters.tactile_height_px, parameters.tactile_width_px
        self._loop = open_cell_loop(self.contract, self._seed, camera_px, tactile_px, parameters.cameras)
        self._loop.refused = self._note_refusal
        self._has_run = False
        self._begin_pilot()

    def _begin_pilot(self) -> None:
        self._pilot = open_expert_pilot(self._loop, self._seed) if self.parameters.expert else None

    def _begin_fault(self) -> None:
        kind, streams = self.parameters.stream_fault, list(filter(None, self.parameters.fault_streams))
        self.check_change('stream_fault', kind)
        self.check_change('fault_streams', streams)
        if kind:
            self._faults.begin(cast(StreamFault, kind), streams or list(self.contract.streams))
        else:
            self._faults.end()

    def _publish_references(self) -> None:
        """Publish the tactile image of the grasp, latched."""
        for name, publisher in self._references.items():
            cdr = driver_message(self.contract, name, self._loop.sensors.reference())
            publisher.publish(with_stamp(cdr, self._cell_ns))

    def _note_refusal(self, text: str) -> None:
        self.get_logger().warning(
            f'refused by the controller: {text}', throttle_duration_sec=_REFUSAL_PERIOD_S
        )

    # Called by the executor.

    def _receive_target(self, message: PoseStamped) -> None:
        frame, expected = message.header.frame_id, self.contract.robot.base_frame
        if frame != expected:
            self._note_refusal(f'a target in frame {frame!r}, expected {expected!r}')
            return
        place, turn = message.pose.position, message.pose.orientation
        self._loop.follow(
            Pose(np.array([place.x, place.y, place.z]), np.array([turn.x, turn.y, turn.z, turn.w]))
        )

    def _receive_gripper(self, message: Float64) -> None:
        self._loop.grip(message.data)

    def _publish_mode(self) -> None:
        self._mode.publish(UInt8(data=self._loop.cell.mode))

    def _switch_mode(
        self, mode: int, request: SetBool.Request, response: SetBool.Response
    ) -> SetBool.Response:
        """true: into `mode`; false: back into move."""
        wanted = mode if request.data else ROBOT_MODE_MOVE
        return self._post(lambda: self._loop.cell.set_mode(wanted), response)

    def _push(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        """true: a hand pushes sideways, towards the middle of the workspace; false: it lets go."""
        force_n = self.parameters.push_n if request.data else 0.0
        box = self.contract.limits.workspace_m
        middle_m = (box.min[1] + box.max[1]) / 2

        def push() -> None:
            aside_m = self._loop.cell.state().pose.position_m[1] - middle_m
            self._loop.cell.push(np.array([0.0, -force_n if aside_m > 0 else force_n, 0.0]))

        return self._post(push, response)

    def _reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Put everything where the next seed has it, the plug in the hand."""

        def reset() -> None:
            self._seed += 1
            scene = draw_scene(self._seed)
            self._loop.cell.reset(scene)
            self._loop.sensors.reset(scene)
            self._loop.begin_anew()
            self._begin_pilot()
            self._publish_references()

        return self._post(reset, response)

    def _post[Response: (SetBool.Response, Trigger.Response)](
        self, command: Callable[[], None], response: Response
    ) -> Response:
        response.success = self.phase == 'active'
        if response.success:
            self._loop.post(command)
        else:
            response.message = f'the node is {self.phase}; expected active'
        return response


def _rounded(value: object) -> object:
    return round(value, 3) if isinstance(value, float) else value


def main() -> None:
    """Entry point."""
    run_node(SimNode)

"""Fault drill: run a policy and a streamer on test patterns or a bag, cause faults, judge the reactions.

A compliant virtual arm, or a simulated cell, closes the loop. Set-points go to a topic of the drill's own;
the drill refuses to start where another node, such as a robot's driver, publishes the streams.
"""

import os
import threading
from collections.abc import Iterator
from dataclasses import asdict, replace
from itertools import count
from pathlib import Path
from typing import Literal, NamedTuple

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped
from pydantic import Field
from rclpy.parameter import parameter_dict_from_yaml_file
from rclpy.subscription import Subscription
from std_msgs.msg import Float64

from restac_ros.contract.errors import did_you_mean
from restac_ros.control.chunk_reading import stamp_as_ns
from restac_ros.control.limits import MotionLimits
from restac_ros.dataset.bag.bag_reader import Bag, open_bag
from restac_ros.dataset.bag.message_types import deserialize
from restac_ros.dataset.errors import BagError, JournalError
from restac_ros.dataset.recovery import find_unfinished, recover
from restac_ros.framing.decode import MESSAGE_TYPES
from restac_ros.framing.sample import belongs
from restac_ros.framing.stamp import with_stamp
from restac_ros.graph import Run, processes
from restac_ros.installation import config_file
from restac_ros.msg import ActionChunk
from restac_ros.nodes.drill.drill_cases import Case, cases_of
from restac_ros.nodes.drill.drill_director import Bounds, CaseOutcome, Director, judge_log
from restac_ros.nodes.drill.drill_record import StatusText
from restac_ros.nodes.drill.drill_stage import (
    CHUNK_TOPIC,
    DEADMAN_TOPIC,
    MODE_TOPIC,
    RIVAL_FRAME,
    TARGET_TOPIC,
    LateError,
    Stage,
    pose_of,
    set_point_of,
    statuses_of,
)
from restac_ros.nodes.drill.stage_arm import StageArm, SteppedArm
from restac_ros.nodes.running import run_node
from restac_ros.nodes.source.cell_opening import open_cell_arm
from restac_ros.nodes.source.driver_messages import re_encoded
from restac_ros.nodes.source.patterns import messages, patterns_of
from restac_ros.nodes.source.source import SourceError, SourceNode, SourceParameters, Topic, contract_topics
from restac_ros.process import ParameterValue, Process
from restac_ros.runtime.node_parameters import OptionalPath, ParameterError
from restac_ros.runtime.playback import Outgoing, ReadAhead, TimeMap, scheduled
from restac_ros.sim.cell.parameters import CellError
from restac_ros.sim.stream_faults import StreamFaults

GRIPPER_TOPIC = '/drill_node/gripper'
_DIAGNOSTICS_TYPE = 'diagnostic_msgs/msg/DiagnosticArray'
LOGGED = [
    f'{CHUNK_TOPIC} restac_ros/msg/ActionChunk',
    f'{TARGET_TOPIC} geometry_msgs/msg/PoseStamped',
    f'/diagnostics {_DIAGNOSTICS_TYPE}',
]
_NICENESS = -10
FOREVER_S = 86_400.0
PASS_GAP_NS = 30_000_000  # between the end of a bag and its next beginning


class DrillParameters(SourceParameters):
    """See config/drill.yaml."""

    checkpoint: OptionalPath = Field(description='policy to run')
    prompt: str = Field(min_length=1, description='task of the policy')
    bag: OptionalPath = Field(description='images to play, again and again; empty: test patterns')
    arm: Literal['virtual', 'cell'] = Field(description='what moves, and in a cell is also seen and felt')
    cases: list[str] = Field(description='faults by name or part of it; one empty text: all')
    directory: OptionalPath = Field(description='where logs and messages go')
    compile_cache: OptionalPath = Field(description="the policy's; empty: under ~/.cache")
    params: OptionalPath = Field(description='ROS parameter file for the nodes; empty: their defaults')
    max_frozen_ms: float = Field(gt=0, le=600_000, description="the policy's")
    camera_width_px: int = Field(ge=16, le=8192, description='of test patterns')
    camera_height_px: int = Field(ge=16, le=8192, description='of test patterns')


class _Drill(NamedTuple):
    """State while the node is configured."""

    bag: Bag | None
    arm: StageArm
    faults: StreamFaults
    stage: Stage
    cases: list[Case]
    directory: Path


class DrillNode(SourceNode[DrillParameters]):
    """Publishes the streams from one thread, runs the cases in another, ends when all are done."""

    model = DrillParameters
    refusals = (SourceError, BagError, JournalError, CellError)

    def __init__(self) -> None:
        super().__init__('drill_node')
        self._outcomes: list[CaseOutcome] = []
        self._opened: _Drill | None = None
        self._rehearsing: threading.Thread | None = None
        self._inputs: list[Subscription] = []

    @property
    def _drill(self) -> _Drill:
        if self._opened is None:
            raise SourceError(f'the drill is {self.phase}: configure it first')
        return self._opened

    def open(self) -> dict[str, Topic]:
        parameters = self.parameters
        if parameters.checkpoint is None or parameters.directory is None:
            raise ParameterError('checkpoint and directory must be given')
        checkpoint, directory = parameters.checkpoint, parameters.directory
        directory.mkdir(parents=True, exist_ok=True)
        contract = self.contract
        cases = self._chosen()
        bag = open_bag(parameters.bag) if parameters.bag else None
        if bag and not any(spec.topic in bag.topics for spec in contract.streams.values()):
            raise SourceError(f'{bag.path} holds none of the topics of contract {contract.name!r}')
        arm = StageArm(contract, self.now_ns, self._opened_arm())
        faults = StreamFaults(contract, lambda stream, cdr: re_encoded(contract, stream, cdr))
        stage = Stage(self, self._processes(checkpoint, directory), directory, faults, arm)
        self._opened = _Drill(bag, arm, faults, stage, cases, directory)
        return contract_topics(contract)

    def activate(self) -> None:
        self._raise_priority()
        self._inputs = [
            self.create_subscription(PoseStamped, TARGET_TOPIC, self._receive_target, 200),
            self.create_subscription(Float64, GRIPPER_TOPIC, self._receive_gripper, 10),
            self.create_subscription(DiagnosticArray, '/diagnostics', self._receive_diagnostics, 200),
            self.create_subscription(ActionChunk, CHUNK_TOPIC, self._receive_chunk, 10),
        ]
        drill = self._drill
        self._rehearsing = threading.Thread(target=self._rehearse, args=(drill,), name='drill', daemon=True)
        self._rehearsing.start()
        super().activate()

    def deactivate(self) -> None:
        if self._rehearsing is not None:
            self._drill.stage.stopping.set()
            self._rehearsing.join()
            self._rehearsing = None
        super().deactivate()
        for subscription in self._inputs:
            self.destroy_subscription(subscription)
        self._inputs.clear()

    def cleanup(self) -> None:
        super().cleanup()
        self._opened = None

    def summarise(self) -> dict[str, object]:
        return {'outcomes': [asdict(outcome) for outcome in self._outcomes]}

    def messages(self, start_ns: int) -> Iterator[Outgoing]:
        bag = self._drill.bag
        if bag is None:
            size_px = (self.parameters.camera_height_px, self.parameters.camera_width_px)
            return messages(self.contract, patterns_of(self.contract, size_px), FOREVER_S, start_ns)
        return iter(ReadAhead(self._passes(bag, start_ns)))

    def _passes(self, bag: Bag, start_ns: int) -> Iterator[Outgoing]:
        begin_ns, end_ns = bag.bounds_ns or (0, 0)
        for repetition in count():
            time_map = TimeMap(begin_ns, start_ns, 1.0, repetition * (end_ns - begin_ns + PASS_GAP_NS))
            yield from scheduled(bag.messages(set(self._outlets)), time_map, frozenset(MESSAGE_TYPES))

    def _publish(self, message: Outgoing) -> None:
        """Publish with the virtual arm's state and the current fault applied.

        The stamp is the time of publishing, so that delays of a busy machine add no fault of their own.
        """
        drill = self._drill
        for name in self.contract.by_topic()[message.topic]:
            if belongs(self.contract.streams[name], message.cdr):
                stamp_ns = self.now_ns()  # before the arm is read: no state may be older than it says
                content = with_stamp(drill.arm.cdr(name) or message.cdr, stamp_ns)
                if (cdr := drill.faults.apply(name, content)) is not None:
                    super()._publish(message._replace(cdr=cdr))

    def _opened_arm(self) -> SteppedArm | None:
        parameters = self.parameters
        if parameters.arm == 'virtual':
            return None
        if parameters.bag is not None:
            raise ParameterError('bag and arm: cell are given: the images of a cell are its own')
        size_px = (parameters.camera_height_px, parameters.camera_width_px)
        return open_cell_arm(self.contract, self.now_ns(), size_px)

    def _raise_priority(self) -> None:
        """Raise the priority of this process and of those it starts above other load."""
        try:
            os.setpriority(os.PRIO_PROCESS, 0, _NICENESS)
        except PermissionError:
            self.get_logger().warning(
                f'streams may come late on a busy machine: niceness {_NICENESS} is not permitted'
            )

    def _chosen(self) -> list[Case]:
        known = cases_of(self.contract, round(self.parameters.max_frozen_ms * 1e6))
        chosen: list[Case] = []
        for wanted in self.parameters.cases:
            found = [case for case in known if wanted in case.name]
            if not found:
                hint = did_you_mean(wanted, [case.name for case in known])
                raise ParameterError(f"parameter 'cases': no case {wanted!r}; {hint}")
            chosen += [case for case in found if case not in chosen]
        return chosen

    def _processes(self, checkpoint: Path, directory: Path) -> dict[str, Process]:
        """The processes of a run, with topics of the drill's own."""
        parameters = self.parameters
        run = Run(
            directory,
            contract=parameters.contract,
            checkpoint=checkpoint,
            prompt=parameters.prompt,
            sessions=directory / 'log',
            view='rviz',
            execute=True,
            parameter_file=parameters.params,
            run_id='drill',
        )
        changes: dict[str, dict[str, ParameterValue]] = {
            'policy_node': {
                'max_frozen_ms': parameters.max_frozen_ms,
                'compile_cache': str(parameters.compile_cache or ''),
            },
            'streamer_node': {
                'target_topic': TARGET_TOPIC,
                'gripper_type': 'std_msgs/msg/Float64',
                'gripper_name': GRIPPER_TOPIC,
                'deadman_topic': DEADMAN_TOPIC,
                'deadman_max_age_ms': 2000.0,
                'robot_state_topic': MODE_TOPIC,
                'robot_state_type': 'std_msgs/msg/UInt8',
                'robot_mode_field': 'data',
                'robot_state_max_age_ms': 5000.0,
            },
            'session_log_node': {'topics': LOGGED},
        }
        return {
            each.executable: replace(each, parameters={**each.parameters, **changes.get(each.executable, {})})
            for each in processes(run)
        }

    def _bounds(self, chunk: ActionChunk) -> Bounds:
        defaults = parameter_dict_from_yaml_file(str(config_file('streamer.yaml')), use_wildcard=True)
        oldest_ms = defaults['max_observation_age_ms'].value.double_value
        rate_hz = defaults['rate_hz'].value.double_value
        return Bounds(
            limits=MotionLimits.from_contract(self.contract),
            life_ns=min(chunk.horizon * chunk.step_ns, round(oldest_ms * 1e6)),
            period_ns=round(1e9 / rate_hz),
        )

    # Called by the drill's own thread.

    def _rehearse(self, drill: _Drill) -> None:
        stage, cases = drill.stage, drill.cases
        try:
            for name in ('session_log_node', 'gate_view_node', 'streamer_node', 'policy_node'):
                stage.start(name)
            stage.until(lambda: stage.chunk, 'the first chunk', self.parameters.wait_timeout_s)
            for outcome in Director(stage, self._bounds(stage.policys_chunk)).rehearse(cases):
                self._outcomes.append(outcome)
            stage.stop()
            judge_log(cases, self._outcomes, self._logged(drill.directory))
            self._complete = True
        except (LateError, BagError, JournalError) as error:
            self.report_problem(f'the drill has ended early: {error}; see {drill.directory}')
        finally:
            stage.stop()
            self.exit_status = int(not self._complete or any(outcome.faults for outcome in self._outcomes))

    def _logged(self, directory: Path) -> list[StatusText]:
        folder = directory / 'log'
        for partial in find_unfinished(folder):
            recover(partial)
        return [
            status
            for path in sorted(folder.iterdir())
            for message in open_bag(path).messages({'/diagnostics'})
            for status in statuses_of(deserialize(message.cdr, _DIAGNOSTICS_TYPE))
        ]

    # Called by the executor.

    def _receive_target(self, message: PoseStamped) -> None:
        if message.header.frame_id != RIVAL_FRAME:
            apart = self._drill.arm.follow(pose_of(message), stamp_as_ns(message.header.stamp))
            self._drill.stage.record.add_set_point(set_point_of(message, apart))

    def _receive_gripper(self, message: Float64) -> None:
        self._drill.arm.grip(message.data)

    def _receive_diagnostics(self, message: DiagnosticArray) -> None:
        self._drill.stage.record.add_statuses(statuses_of(message))

    def _receive_chunk(self, message: ActionChunk) -> None:
        if message.inference_ns:  # the policy's, not one of the drill's own
            self._drill.stage.chunk = message


def main() -> None:
    """Entry point."""
    run_node(DrillNode)

"""Rehearses faults: runs a policy and a streamer on test patterns or a bag, harms them, watches what happens.

An arm of thin air follows the set-points, so that the loop is closed. They go out on a topic of the drill's
own, and it is refused where anybody else, such as a robot, publishes the streams.
"""

import os
import threading
from collections.abc import Iterator
from dataclasses import asdict
from itertools import count

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped
from pydantic import Field
from rclpy.parameter import parameter_dict_from_yaml_file
from std_msgs.msg import Float64

from restac_ros.contract.errors import did_you_mean
from restac_ros.control.limits import MotionLimits
from restac_ros.dataset.bag.bag_reader import Bag, open_bag
from restac_ros.dataset.bag.message_types import deserialize
from restac_ros.dataset.errors import BagError, JournalError
from restac_ros.dataset.recovery import find_unfinished, recover
from restac_ros.framing.decode import MESSAGE_TYPES
from restac_ros.graph import Process, config_file
from restac_ros.msg import ActionChunk
from restac_ros.nodes.drill.drill_cases import Case, cases_of
from restac_ros.nodes.drill.drill_director import Bounds, Director, Outcome, judge_log
from restac_ros.nodes.drill.drill_record import Saying
from restac_ros.nodes.drill.drill_stage import (
    CHUNK_TOPIC,
    DEADMAN_TOPIC,
    MODE_TOPIC,
    TARGET_TOPIC,
    LateError,
    Stage,
    sayings_of,
    set_point_of,
)
from restac_ros.nodes.drill.stream_faults import StreamFaults
from restac_ros.nodes.drill.virtual_arm import VirtualArm
from restac_ros.nodes.parameters import OptionalPath, ParameterError
from restac_ros.nodes.running import run_node
from restac_ros.nodes.source.patterns import messages, patterns_of
from restac_ros.nodes.source.source import SourceError, SourceNode, SourceParameters, Topic
from restac_ros.runtime.playback import Outgoing, ReadAhead, TimeMap, scheduled, with_stamp

GRIPPER_TOPIC = '/drill_node/gripper'
DIAGNOSTICS_TYPE = 'diagnostic_msgs/msg/DiagnosticArray'
LOGGED = [
    f'{CHUNK_TOPIC} restac_ros/msg/ActionChunk',
    f'{TARGET_TOPIC} geometry_msgs/msg/PoseStamped',
    f'/diagnostics {DIAGNOSTICS_TYPE}',
]
NICENESS = -10
FOREVER_S = 86_400.0
PASS_GAP_NS = 30_000_000  # between the end of a bag and its next beginning


class DrillParameters(SourceParameters):
    """See config/drill.yaml."""

    checkpoint: OptionalPath = Field(description='policy to run')
    prompt: str = Field(min_length=1, description='what it is told to do')
    bag: OptionalPath = Field(description='images to play, again and again; empty: test patterns')
    cases: list[str] = Field(description='names of the faults, or parts of them; one empty text: all')
    directory: OptionalPath = Field(description='where logs and messages go')
    compile_cache: OptionalPath = Field(description="the policy's; empty: under ~/.cache")
    params: OptionalPath = Field(description='ROS parameter file for the nodes; empty: their defaults')
    max_frozen_ms: float = Field(gt=0, le=600_000, description="the policy's")
    camera_width_px: int = Field(ge=16, le=8192, description='of test patterns')
    camera_height_px: int = Field(ge=16, le=8192, description='of test patterns')


class DrillNode(SourceNode):
    """Plays the streams from one thread, goes through the cases in another, ends when all are done."""

    model = DrillParameters
    refusals = (SourceError, BagError, JournalError)

    def __init__(self) -> None:
        super().__init__('drill_node')
        self._bag: Bag | None = None
        self._arm: VirtualArm | None = None
        self._faults: StreamFaults | None = None
        self._stage: Stage | None = None
        self._cases: list[Case] = []
        self._outcomes: list[Outcome] = []
        self._drill: threading.Thread | None = None
        self._arms_topics: dict[str, str] = {}

    def open(self) -> dict[str, Topic]:
        parameters = self.parameters
        if parameters.checkpoint is None or parameters.directory is None:
            raise ParameterError('checkpoint and directory must be given')
        parameters.directory.mkdir(parents=True, exist_ok=True)
        self._cases = self._chosen()
        self._bag = open_bag(parameters.bag) if parameters.bag else None
        if self._bag and not any(spec.topic in self._bag.topics for spec in self.contract.streams.values()):
            raise SourceError(f'{self._bag.path} holds none of the topics of contract {self.contract.name!r}')
        self._arm, self._faults = VirtualArm(self.contract), StreamFaults(self.contract)
        self._arms_topics = {
            spec.topic: name
            for name, spec in self.contract.streams.items()
            if spec.role in ('arm_joints', 'tool_pose', 'gripper')
        }
        return {spec.topic: Topic(spec.type, spec.rate_hz) for spec in self.contract.streams.values()}

    def activate(self) -> None:
        self._take_priority()
        self._stage = Stage(self, self._processes(), self.parameters.directory, self._faults)
        self.create_subscription(PoseStamped, TARGET_TOPIC, self._see_target, 200)
        self.create_subscription(Float64, GRIPPER_TOPIC, self._see_gripper, 10)
        self.create_subscription(DiagnosticArray, '/diagnostics', self._see_diagnostics, 200)
        self.create_subscription(ActionChunk, CHUNK_TOPIC, self._see_chunk, 10)
        self._drill = threading.Thread(target=self._rehearse, name='drill', daemon=True)
        self._drill.start()
        super().activate()

    def deactivate(self) -> None:
        if self._stage:
            self._stage.stopping.set()
            self._drill.join()
        super().deactivate()

    def summarise(self) -> dict[str, object]:
        return {'outcomes': [asdict(outcome) for outcome in self._outcomes]}

    def messages(self, start_ns: int) -> Iterator[Outgoing]:
        if self._bag is None:
            size_px = (self.parameters.camera_height_px, self.parameters.camera_width_px)
            return messages(self.contract, patterns_of(self.contract, size_px), FOREVER_S, start_ns)
        return iter(ReadAhead(self._passes(start_ns)))

    def _passes(self, start_ns: int) -> Iterator[Outgoing]:
        begin_ns, end_ns = self._bag.bounds_ns
        for repetition in count():
            time_map = TimeMap(begin_ns, start_ns, 1.0, repetition * (end_ns - begin_ns + PASS_GAP_NS))
            yield from scheduled(self._bag.messages(set(self._outlets)), time_map, frozenset(MESSAGE_TYPES))

    def _publish(self, message: Outgoing) -> None:
        """The arm's own state in place of a pattern's or a bag's; then whatever is to go wrong.

        What comes late on a busy machine counts as captured now: that isn't among the faults rehearsed.
        """
        stream = self._arms_topics.get(message.topic)
        content = self._arm.cdr(stream) if stream else message.cdr
        cdr = self._faults.apply(message._replace(cdr=with_stamp(content, self.now_ns())))
        if cdr is not None:
            super()._publish(message._replace(cdr=cdr))

    def _take_priority(self) -> None:
        """For the streams and all that is started: what else the machine does is not what is rehearsed."""
        try:
            os.setpriority(os.PRIO_PROCESS, 0, NICENESS)
        except PermissionError:
            self.get_logger().warning(
                f'streams may come late on a busy machine: niceness {NICENESS} is not permitted'
            )

    def _chosen(self) -> list[Case]:
        known = cases_of(self.contract, round(self.parameters.max_frozen_ms * 1e6))
        chosen = []
        for wanted in self.parameters.cases:
            found = [case for case in known if wanted in case.name]
            if not found:
                hint = did_you_mean(wanted, [case.name for case in known])
                raise ParameterError(f"parameter 'cases': no case {wanted!r}; {hint}")
            chosen += [case for case in found if case not in chosen]
        return chosen

    def _processes(self) -> dict[str, Process]:
        parameters = self.parameters
        special = {
            'policy_node': {
                'checkpoint': str(parameters.checkpoint),
                'prompt': parameters.prompt,
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
            'session_log_node': {
                'log_dir': str(parameters.directory / 'log'),
                'task': 'drill',
                'topics': LOGGED,
            },
            'gate_view_node': {},
        }
        contract = str(parameters.contract_path)
        return {
            name: Process(
                name,
                {
                    'contract': contract,
                    'exit_on_refusal': True,
                    'summary_file': str(parameters.directory / f'{name}.json'),
                    **given,
                },
                parameters.params,
            )
            for name, given in special.items()
        }

    def _bounds(self) -> Bounds:
        defaults = parameter_dict_from_yaml_file(str(config_file('streamer.yaml')), use_wildcard=True)
        oldest_ms = defaults['max_observation_age_ms'].value.double_value
        chunk_ns = self._stage.chunk.horizon * self._stage.chunk.step_ns
        rate_hz = defaults['rate_hz'].value.double_value
        return Bounds(
            limits=MotionLimits.from_contract(self.contract),
            life_ns=min(chunk_ns, round(oldest_ms * 1e6)),
            period_ns=round(1e9 / rate_hz),
        )

    # The drill's own thread.

    def _rehearse(self) -> None:
        stage = self._stage
        try:
            for name in ('session_log_node', 'gate_view_node', 'streamer_node', 'policy_node'):
                stage.start(name)
            stage.until(lambda: stage.chunk, 'the first chunk', self.parameters.wait_timeout_s)
            for outcome in Director(stage, self._bounds()).rehearse(self._cases):
                self._outcomes.append(outcome)
            stage.stop()
            judge_log(self._cases, self._outcomes, self._logged())
            self._complete = True
        except (LateError, BagError, JournalError) as error:
            self.report_problem(f'the drill has ended early: {error}; see {self.parameters.directory}')
        finally:
            stage.stop()
            self.exit_status = int(not self._complete or any(outcome.faults for outcome in self._outcomes))

    def _logged(self) -> list[Saying]:
        folder = self.parameters.directory / 'log'
        for partial in find_unfinished(folder):
            recover(partial)
        sayings = []
        for path in sorted(folder.iterdir()):
            for message in open_bag(path).messages({'/diagnostics'}):
                sayings += sayings_of(deserialize(message.cdr, DIAGNOSTICS_TYPE))
        return sayings

    # The executor's.

    def _see_target(self, message: PoseStamped) -> None:
        point = set_point_of(message)
        self._stage.record.add_set_point(point)
        self._arm.follow(point.position_m, point.quaternion_xyzw)

    def _see_gripper(self, message: Float64) -> None:
        self._arm.grip(message.data)

    def _see_diagnostics(self, message: DiagnosticArray) -> None:
        for saying in sayings_of(message):
            self._stage.record.add_saying(saying)

    def _see_chunk(self, message: ActionChunk) -> None:
        if message.inference_ns:  # the policy's, not one of the drill's own
            self._stage.chunk = message


def main() -> None:
    """Entry point."""
    run_node(DrillNode)


if __name__ == '__main__':
    main()

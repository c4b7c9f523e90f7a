"""The contract: what is known about one robot, as validated, immutable values.

`load.load_contract` reads it from YAML and reports faults with their place in the file. Units are part of
every name; frames are ROS frame names.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Literal, Self, overload

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, Strict, model_validator

from restac_ros.contract.checks import cross_check
from restac_ros.contract.errors import ContractError, Problem, did_you_mean
from restac_ros.geometry.conventions import Composition, Convention

Role = Literal['camera', 'tactile', 'arm_joints', 'gripper', 'tool_pose', 'target_pose']
CameraSlot = Literal['base_0_rgb', 'left_wrist_0_rgb', 'right_wrist_0_rgb']
ImageType = Literal['sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage']
Encoding = Literal['rgb8', 'bgr8', 'rgba8', 'bgra8', 'mono8', '8UC3', 'passthrough', 'jpeg', 'png']


def _topic(name: str) -> str:
    if not re.fullmatch(r'/?[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)*', name):
        raise ValueError(
            'expected a ROS topic name, absolute as /camera/image_raw or relative as camera/image_raw'
        )
    return name


def _stream_name(name: str) -> str:
    if not re.fullmatch(r'[a-z][a-z0-9_]*', name):
        raise ValueError('expected a stream name of lower-case letters, digits and _, such as wrist_left')
    return name


def _feature(name: str) -> str:
    if not re.fullmatch(r'observation\.images\.[a-z][a-z0-9_]*', name):
        raise ValueError('expected a LeRobot image key such as observation.images.main_realsense_rgb')
    return name


# Strict(False) lets a YAML list stand for a tuple; the elements stay strict.
Vector3 = Annotated[tuple[float, float, float], Strict(False)]
Names = Annotated[tuple[str, ...], Strict(False)]
Text = Annotated[str, Field(min_length=1, max_length=255)]
Positive = Annotated[float, Field(gt=0)]


class _Facts(BaseModel):
    """Immutable, unknown keys and silent type conversions refused, every number finite."""

    model_config = ConfigDict(frozen=True, extra='forbid', strict=True, allow_inf_nan=False)


class Transform(_Facts):
    """A rigid transform: translation in m, then roll, pitch, yaw in rad (extrinsic xyz)."""

    xyz_m: Vector3 = (0.0, 0.0, 0.0)
    rpy_rad: Vector3 = (0.0, 0.0, 0.0)


class Robot(_Facts):
    """The arm and its frames. `pose_tool_in_hand`: pose of the tool in the hand TCP (fr3_hand_tcp).

    `arm` selects the forward kinematics; leave it out where a tool_pose stream measures the pose.
    """

    arm: Literal['fr3', 'panda'] | None = None
    base_frame: Text
    tool_frame: Text
    pose_tool_in_hand: Transform = Transform()


class Rotation(_Facts):
    """How three numbers stand for the tool's orientation, and around which values they are unwrapped."""

    convention: Convention
    branch_centre_rad: Vector3


class JointScale(_Facts):
    """Joint positions, in `unit`, at which a gripper is closed and open; the opening is linear in between."""

    unit: Literal['m', 'mm', 'rad', 'deg', 'fraction', 'percent']
    closed: float
    open: float


class Gripper(_Facts):
    """Opening between the fingertips: [closed, open] in m.

    `joint`: how the joint positions of the gripper stream give the opening (unset: finger positions in m).
    `absent`: why the robot has no gripper; state[6] and action[6] then hold the one value of `opening_m`.
    """

    opening_m: Annotated[tuple[float, float], Strict(False)]
    joint: JointScale | None = None
    absent: Text | None = None


class Action(_Facts):
    """What one action row of the data set means.

    `source`: 'next_state' uses the state one period later, 'target_pose' the pose commanded on the stream
    of that role. `delta` is how the policy composes a change with the current pose.
    """

    space: Literal['absolute_pose'] = 'absolute_pose'
    delta: Composition = 'elementwise'
    source: Literal['next_state', 'target_pose'] = 'next_state'


class Box(_Facts):
    """An axis-aligned box in the base frame."""

    min: Vector3
    max: Vector3


class Limits(_Facts):
    """What commanded tool poses must never leave or exceed."""

    workspace_m: Box
    speed_m_s: Positive
    speed_rad_s: Positive


class _Stream(_Facts):
    """What every stream declares.

    `latency_ms` runs from capture to the header's stamp (to receipt, for a driver that leaves its stamps at
    zero). `max_age_ms` counts from capture: an older sample is invalid. `reliability` is the QoS asked for;
    best_effort matches any publisher, reliable only reliable ones.
    """

    topic: Annotated[str, AfterValidator(_topic)]
    rate_hz: Positive
    latency_ms: Annotated[float, Field(ge=0, le=10_000)] = 0.0
    max_age_ms: Annotated[float, Field(gt=0, le=60_000)]
    required: bool = True
    reliability: Literal['reliable', 'best_effort'] = 'reliable'

    @property
    def latency_ns(self) -> int:
        return round(self.latency_ms * 1e6)

    @property
    def max_age_ns(self) -> int:
        return round(self.max_age_ms * 1e6)


class _ImageStream(_Stream):
    """`encoding`: refuse any other (unset: the message's). `channel_order`: where neither defines it."""

    type: ImageType
    feature: Annotated[str, AfterValidator(_feature)]
    encoding: Encoding | None = None
    channel_order: Literal['rgb', 'bgr'] | None = None


class CameraStream(_ImageStream):
    """A colour camera; `slot` is the image input of the model that it feeds."""

    role: Literal['camera']
    slot: CameraSlot


class TactileStream(_ImageStream):
    """A GelSight or another camera-based tactile sensor."""

    role: Literal['tactile']


class ArmJointsStream(_Stream):
    """Measured joint positions; `joints` from base to flange."""

    role: Literal['arm_joints']
    type: Literal['sensor_msgs/msg/JointState']
    joints: Names


class GripperStream(_Stream):
    """Finger joint positions: two names, or one of two that move alike; other grippers: `gripper.joint`."""

    role: Literal['gripper']
    type: Literal['sensor_msgs/msg/JointState']
    joints: Names


class PoseStream(_Stream):
    """Pose of `robot.tool_frame` in `robot.base_frame`: measured (tool_pose) or commanded (target_pose).

    `frame_id`: refuse messages whose header names another frame (unset: not checked).
    """

    role: Literal['tool_pose', 'target_pose']
    type: Literal['geometry_msgs/msg/PoseStamped']
    frame_id: Text | None = None


Stream = CameraStream | TactileStream | ArmJointsStream | GripperStream | PoseStream
STREAM_MODELS: dict[str, type[_Stream]] = {
    'camera': CameraStream,
    'tactile': TactileStream,
    'arm_joints': ArmJointsStream,
    'gripper': GripperStream,
    'tool_pose': PoseStream,
    'target_pose': PoseStream,
}


class Contract(_Facts):
    """Everything about one robot that recording, training and running must agree on.

    `max_skew_ms`: a message stamped later than its receipt by more is refused, as two clocks disagree.
    Construction raises pydantic's ValidationError; `load_contract` turns it into a ContractError.
    """

    schema_version: Literal[1]
    name: Text
    fps: Annotated[int, Field(ge=1, le=120)]
    max_skew_ms: Annotated[float, Field(ge=0, le=1000)] = 20.0
    robot: Robot
    rotation: Rotation
    gripper: Gripper
    action: Action
    limits: Limits
    streams: dict[
        Annotated[str, AfterValidator(_stream_name)], Annotated[Stream, Field(discriminator='role')]
    ]

    @model_validator(mode='after')
    def _agree(self) -> Self:
        if problems := cross_check(self):
            raise ContractError(problems)
        return self

    @property
    def period_ns(self) -> int:
        """Time between two frames, rounded down to whole ns (grid ticks are not sums of it)."""
        return 10**9 // self.fps

    @property
    def max_skew_ns(self) -> int:
        return round(self.max_skew_ms * 1e6)

    def stream(self, name: str) -> Stream:
        """The stream called `name`; ContractError with the nearest known name otherwise."""
        if name not in self.streams:
            hint = did_you_mean(name, self.streams)
            raise ContractError([Problem('streams', f'unknown stream {name!r}; {hint}')])
        return self.streams[name]

    @overload
    def by_role(self, role: Literal['camera']) -> dict[str, CameraStream]: ...
    @overload
    def by_role(self, role: Literal['tactile']) -> dict[str, TactileStream]: ...
    @overload
    def by_role(self, role: Literal['arm_joints']) -> dict[str, ArmJointsStream]: ...
    @overload
    def by_role(self, role: Literal['gripper']) -> dict[str, GripperStream]: ...
    @overload
    def by_role(self, role: Literal['tool_pose', 'target_pose']) -> dict[str, PoseStream]: ...
    @overload
    def by_role(self, role: Role) -> Mapping[str, Stream]: ...
    def by_role(self, role: Role) -> Mapping[str, Stream]:
        """Streams of one role by name, in the file's order."""
        if role not in STREAM_MODELS:
            hint = did_you_mean(role, STREAM_MODELS)
            raise ContractError([Problem('streams', f'unknown role {role!r}; {hint}')])
        return {name: stream for name, stream in self.streams.items() if stream.role == role}

    @property
    def pose_stream(self) -> str:
        """Name of the one stream that measures the pose of the tool."""
        return next(iter({**self.by_role('arm_joints'), **self.by_role('tool_pose')}))

    @property
    def gripper_stream(self) -> str | None:
        """Name of the one stream that measures the gripper's opening; None where there is no gripper."""
        return next(iter(self.by_role('gripper')), None)

    @property
    def state_streams(self) -> tuple[str, ...]:
        """Names of the streams that the state vector is made of."""
        return (self.pose_stream, *self.by_role('gripper'))

    def by_topic(self) -> dict[str, tuple[str, ...]]:
        """Names of the streams on each topic, in the file's order; joint streams may share a topic."""
        topics: dict[str, tuple[str, ...]] = {}
        for name, stream in self.streams.items():
            topics[stream.topic] = (*topics.get(stream.topic, ()), name)
        return topics

    def with_topics(self, resolve: Callable[[str], str]) -> 'Contract':
        """The same robot with every topic as `resolve` returns it: expanded by a namespace, or remapped."""
        streams = {
            name: stream.model_copy(update={'topic': resolve(stream.topic)})
            for name, stream in self.streams.items()
        }
        return self.model_copy(update={'streams': streams})

    def digest(self) -> str:
        """SHA-256 (hex) of the values, whatever the order and comments of the file they came from."""
        text = json.dumps(
            self.model_dump(mode='json', exclude_none=True), sort_keys=True, separators=(',', ':')
        )
        return hashlib.sha256(text.encode()).hexdigest()

    def differences(self, other: 'Contract') -> list[str]:
        """One line `path: ours != theirs` per value that differs; empty when equal."""
        ours, theirs = dict(_leaves(self.model_dump())), dict(_leaves(other.model_dump()))
        lines = []
        for path in [*ours, *(path for path in theirs if path not in ours)]:
            if ours.get(path) != theirs.get(path):
                left = repr(ours[path]) if path in ours else 'absent'
                right = repr(theirs[path]) if path in theirs else 'absent'
                lines.append(f'{path}: {left} != {right}')
        return lines


def _leaves(values: dict, path: str = '') -> Iterator[tuple[str, object]]:
    for key, value in values.items():
        dotted = f'{path}.{key}' if path else str(key)
        if isinstance(value, dict):
            yield from _leaves(value, dotted)
        else:
            yield dotted, value

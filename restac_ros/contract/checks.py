"""What several entries of a contract must agree on; each check yields its problems with their paths."""

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from restac_ros.contract.errors import Problem

if TYPE_CHECKING:
    from restac_ros.contract.schema import (
        ArmJointsStream,
        CameraStream,
        Contract,
        GripperStream,
        TactileStream,
    )

ASK = {
    'm': 'is this in mm?',
    'm/s': 'is this in mm/s?',
    'rad': 'is this in degrees?',
    'rad/s': 'is this in degrees/s?',
}
LARGEST_POSITION = {
    'm': 0.3,
    'mm': 300.0,
    'rad': 2 * math.pi,
    'deg': 360.0,
    'fraction': 1.0,
    'percent': 100.0,
}
FINGER_JOINTS = ('finger_joint1', 'finger_joint2')  # of a Franka hand: prismatic, in m


def cross_check(contract: 'Contract') -> list[Problem]:
    """All disagreements between a contract's entries; empty when there are none."""
    checks = (
        _ranges,
        _units,
        _roles,
        _unique,
        _shared_topics,
        _pose_source,
        _images,
        _gripper,
        _joints,
        _timing,
    )
    return [problem for check in checks for problem in check(contract)]


def _ranges(contract: 'Contract') -> Iterator[Problem]:
    box = contract.limits.workspace_m
    for axis, low, high in zip('xyz', box.min, box.max, strict=True):
        if low >= high:
            yield Problem('limits.workspace_m', f'found {axis} from {low} to {high}; expected min < max')


def _units(contract: 'Contract') -> Iterator[Problem]:
    """Numbers that no robot of this kind has in the stated unit, but may have in another."""
    limits, offset = contract.limits, contract.robot.pose_tool_in_hand
    box, turn = limits.workspace_m, 2 * math.pi
    # The largest plausible magnitudes: an FR3 reaches 0.9 m and moves its tool at 3 m/s.
    quantities: tuple[tuple[str, Sequence[float], str, float], ...] = (
        ('limits.speed_m_s', [limits.speed_m_s], 'm/s', 3.0),
        ('limits.speed_rad_s', [limits.speed_rad_s], 'rad/s', 10.0),
        ('limits.workspace_m.min', box.min, 'm', 2.0),
        ('limits.workspace_m.max', box.max, 'm', 2.0),
        ('gripper.opening_m', contract.gripper.opening_m, 'm', 0.3),
        ('robot.pose_tool_in_hand.xyz_m', offset.xyz_m, 'm', 1.0),
        ('robot.pose_tool_in_hand.rpy_rad', offset.rpy_rad, 'rad', turn),
        ('rotation.branch_centre_rad', contract.rotation.branch_centre_rad, 'rad', turn),
    )
    for path, values, unit, most in quantities:
        if beyond := [value for value in values if abs(value) > most]:
            yield Problem(path, f'found {beyond[0]:g} {unit}; expected at most {most:g} {unit}: {ASK[unit]}')


def _gripper(contract: 'Contract') -> Iterator[Problem]:
    """Either a stream measures the opening, in a known unit, or the contract states why there is none."""
    gripper, streams = contract.gripper, contract.by_role('gripper')
    closed, opened = gripper.opening_m
    if gripper.absent and streams:
        yield Problem('gripper.absent', f'found a reason, but stream {next(iter(streams))} has role gripper')
    elif gripper.absent and not 0 <= closed == opened:
        expected = 'expected one constant, twice, as gripper.absent is set'
        yield Problem('gripper.opening_m', f'found [{closed}, {opened}]; {expected}')
    elif not gripper.absent and not 0 <= closed < opened:
        yield Problem('gripper.opening_m', f'found [{closed}, {opened}]; expected 0 <= closed < open, in m')
    if not gripper.absent and not streams:
        remedy = 'add one; for a robot without a gripper set gripper.absent to the reason'
        yield Problem('streams', f'no stream has role gripper; expected exactly one; {remedy}')
    yield from _scale(contract)


def _scale(contract: 'Contract') -> Iterator[Problem]:
    """The unit of the gripper's joint is known: a Franka finger's, or declared."""
    if (scale := contract.gripper.joint) is None:
        for name, stream in contract.by_role('gripper').items():
            if unknown := [joint for joint in stream.joints if not joint.endswith(FINGER_JOINTS)]:
                found = f'{unknown[0]!r} is no finger joint of a Franka hand, so its unit is not known'
                remedy = 'set gripper.joint, for example {unit: rad, closed: 0.8, open: 0.0}'
                yield Problem(f'streams.{name}.joints', f'found {found}; {remedy}')
        return
    if scale.closed == scale.open:
        found = f'found closed = open = {scale.closed:g}'
        yield Problem('gripper.joint', f'{found}; expected different positions')
    for key, value in (('closed', scale.closed), ('open', scale.open)):
        if abs(value) > LARGEST_POSITION[scale.unit]:
            expected = f'expected at most {LARGEST_POSITION[scale.unit]:g} for unit {scale.unit}'
            yield Problem(f'gripper.joint.{key}', f'found {value:g}; {expected}: is it in another unit?')


def _roles(contract: 'Contract') -> Iterator[Problem]:
    if not contract.by_role('camera'):
        yield Problem('streams', 'no stream has role camera; expected at least one')
    roles = [stream.role for stream in contract.streams.values()]
    for role in ('gripper', 'tool_pose', 'target_pose', 'arm_joints'):
        if roles.count(role) > 1:
            names = [name for name, stream in contract.streams.items() if stream.role == role]
            yield Problem('streams', f'{_listed(names)} role {role}; expected at most one')
    if contract.action.source == 'target_pose' and not contract.by_role('target_pose'):
        remedy = 'add one, or use next_state'
        yield Problem('action.source', f"found 'target_pose', but no stream has that role; {remedy}")


def _pose_source(contract: 'Contract') -> Iterator[Problem]:
    joints, poses = list(contract.by_role('arm_joints')), list(contract.by_role('tool_pose'))
    if bool(joints) == bool(poses):
        found = f'{_listed(joints + poses)} role arm_joints or tool_pose'
        yield Problem('streams', f'{found}; expected exactly one stream with one of the two')
    for name in [*joints, *poses, *contract.by_role('gripper')]:
        if not contract.streams[name].required:
            reason = 'without it there is no state'
            yield Problem(f'streams.{name}.required', f'found false; expected true: {reason}')
    if joints and contract.robot.arm is None:
        reason = f'stream {joints[0]} (arm_joints) needs its forward kinematics'
        yield Problem('robot.arm', f'missing; expected fr3 or panda: {reason}')
    offset = contract.robot.pose_tool_in_hand
    if poses and any(offset.xyz_m + offset.rpy_rad):
        reason = f'stream {poses[0]} (tool_pose) already is the pose of robot.tool_frame'
        yield Problem('robot.pose_tool_in_hand', f'found an offset; leave it out: {reason}')


def _unique(contract: 'Contract') -> Iterator[Problem]:
    for key in ('slot', 'feature'):
        owners: dict[str, str] = {}
        for name, stream in contract.streams.items():
            value = getattr(stream, key, None)
            if value is not None and owners.setdefault(value, name) != name:
                path = f'streams.{name}.{key}'
                yield Problem(path, f'found {value!r}, which stream {owners[value]} has already')


def _shared_topics(contract: 'Contract') -> Iterator[Problem]:
    """Joint streams may share a topic, as each message names its joints; no other streams may."""
    jointed = _joint_streams(contract)
    for topic, (first, *others) in contract.by_topic().items():
        for name in others:
            if first in jointed and name in jointed:
                yield from _apart(first, jointed[first], name, jointed[name])
            else:
                reason = 'only streams of joint positions can share a topic'
                found = f'found {topic!r}, which stream {first} has already'
                yield Problem(f'streams.{name}.topic', f'{found}: {reason}')


def _joint_streams(contract: 'Contract') -> 'dict[str, ArmJointsStream | GripperStream]':
    return {**contract.by_role('arm_joints'), **contract.by_role('gripper')}


def _apart(
    first: str, one: 'ArmJointsStream | GripperStream', name: str, other: 'ArmJointsStream | GripperStream'
) -> Iterator[Problem]:
    """Two streams on one topic must have joints of their own and be one subscription."""
    if common := set(one.joints) & set(other.joints):
        found = f'found {", ".join(sorted(common))}, which stream {first} reads from {one.topic} already'
        yield Problem(f'streams.{name}.joints', found)
    if one.reliability != other.reliability:
        found = f'found {other.reliability!r}, but stream {first} on the same topic has {one.reliability!r}'
        yield Problem(f'streams.{name}.reliability', f'{found}; they are one subscription')


def _images(contract: 'Contract') -> Iterator[Problem]:
    images: dict[str, CameraStream | TactileStream] = {
        **contract.by_role('camera'),
        **contract.by_role('tactile'),
    }
    for name, stream in images.items():
        yield from _encoding(f'streams.{name}', stream)


def _encoding(path: str, stream: 'CameraStream | TactileStream') -> Iterator[Problem]:
    encoding, order = stream.encoding, stream.channel_order
    file_formats = ('jpeg', 'png')
    compressed = stream.type == 'sensor_msgs/msg/CompressedImage'
    if encoding is not None and (encoding in file_formats) != compressed:
        allowed = 'jpeg or png' if compressed else 'a raw encoding such as rgb8'
        yield Problem(f'{path}.encoding', f'found {encoding!r}; expected {allowed} for {stream.type}')
    if encoding in ('8UC3', 'passthrough') and order is None:
        reason = f'encoding {encoding!r} does not define it'
        yield Problem(f'{path}.channel_order', f"missing; expected 'rgb' or 'bgr': {reason}")
    if encoding in ('rgb8', 'rgba8', 'bgr8', 'bgra8') and order not in (None, encoding[:3]):
        yield Problem(f'{path}.channel_order', f'found {order!r}, but encoding is {encoding!r}; leave it out')


def _joints(contract: 'Contract') -> Iterator[Problem]:
    counts = {'arm_joints': (7,), 'gripper': (1, 2)}
    for name, stream in _joint_streams(contract).items():
        path, joints = f'streams.{name}.joints', list(stream.joints)
        if len(joints) not in counts[stream.role]:
            expected = ' or '.join(map(str, counts[stream.role]))
            yield Problem(path, f'found {len(joints)} names; expected {expected} for {stream.role}')
        if len(set(joints)) != len(joints) or not all(joints):
            yield Problem(path, f'found {joints}; expected different, non-empty names')


def _timing(contract: 'Contract') -> Iterator[Problem]:
    for name, stream in contract.streams.items():
        # A gripper may report slower than the frames: its opening is held in between.
        if stream.rate_hz < contract.fps and stream.role not in ('gripper', 'target_pose'):
            found = f'found {stream.rate_hz:g}, below fps {contract.fps}: frames would repeat samples'
            yield Problem(f'streams.{name}.rate_hz', f'{found}; lower fps, or raise the rate')
        least_ms = stream.latency_ms + 1000 / stream.rate_hz
        if stream.max_age_ms < least_ms:
            path, reason = f'streams.{name}.max_age_ms', 'one period plus the latency'
            yield Problem(
                path,
                f'found {stream.max_age_ms:g}; expected at least {math.ceil(10 * least_ms) / 10}, {reason}',
            )


def _listed(names: list[str]) -> str:
    match names:
        case []:
            return 'no stream has'
        case [name]:
            return f'stream {name} has'
    return f'streams {", ".join(names)} have'

"""What several entries of a contract must agree on; each check yields its problems with their paths."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from restac_ros.contract.errors import Problem

if TYPE_CHECKING:
    from restac_ros.contract.schema import Contract, Stream


def cross_check(contract: 'Contract') -> list[Problem]:
    """All disagreements between a contract's entries; empty when there are none."""
    checks = (_ranges, _roles, _unique, _pose_source, _images, _joints, _timing)
    return [problem for check in checks for problem in check(contract)]


def _ranges(contract: 'Contract') -> Iterator[Problem]:
    closed, opened = contract.gripper.opening_m
    if not 0 <= closed < opened:
        yield Problem('gripper.opening_m', f'found [{closed}, {opened}]; expected 0 <= closed < open, in m')
    box = contract.limits.workspace_m
    for axis, low, high in zip('xyz', box.min, box.max, strict=True):
        if low >= high:
            yield Problem('limits.workspace_m', f'found {axis} from {low} to {high}; expected min < max')
    for angle in contract.rotation.branch_centre_rad:
        if abs(angle) > 2 * math.pi:
            yield Problem('rotation.branch_centre_rad', f'found {angle}; expected rad, within -2 pi .. 2 pi')


def _roles(contract: 'Contract') -> Iterator[Problem]:
    if not contract.by_role('camera'):
        yield Problem('streams', 'no stream has role camera; expected at least one')
    for role, least in (('gripper', 1), ('tool_pose', 0), ('target_pose', 0), ('arm_joints', 0)):
        names = list(contract.by_role(role))
        if not least <= len(names) <= 1:
            count = 'exactly one' if least else 'at most one'
            yield Problem('streams', f'{_listed(names)} role {role}; expected {count}')
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
    offset = contract.robot.pose_tool_in_hand
    if poses and any(offset.xyz_m + offset.rpy_rad):
        reason = f'stream {poses[0]} (tool_pose) already is the pose of robot.tool_frame'
        yield Problem('robot.pose_tool_in_hand', f'found an offset; leave it out: {reason}')


def _unique(contract: 'Contract') -> Iterator[Problem]:
    for key in ('topic', 'slot', 'feature'):
        owners: dict[str, str] = {}
        for name, stream in contract.streams.items():
            value = getattr(stream, key, None)
            if value is not None and owners.setdefault(value, name) != name:
                path = f'streams.{name}.{key}'
                yield Problem(path, f'found {value!r}, which stream {owners[value]} has already')


def _images(contract: 'Contract') -> Iterator[Problem]:
    for name, stream in (contract.by_role('camera') | contract.by_role('tactile')).items():
        yield from _encoding(f'streams.{name}', stream)


def _encoding(path: str, stream: 'Stream') -> Iterator[Problem]:
    encoding, order = stream.encoding, stream.channel_order
    file_formats = ('jpeg', 'png')
    compressed = stream.type == 'sensor_msgs/msg/CompressedImage'
    if encoding is not None and (encoding in file_formats) != compressed:
        allowed = 'jpeg or png' if compressed else 'a raw encoding such as rgb8'
        yield Problem(f'{path}.encoding', f'found {encoding!r}; expected {allowed} for {stream.type}')
    if encoding in ('8UC3', 'passthrough') and order is None:
        reason = f"encoding {encoding!r} doesn't tell"
        yield Problem(f'{path}.channel_order', f"missing; expected 'rgb' or 'bgr': {reason}")
    if encoding in ('rgb8', 'rgba8', 'bgr8', 'bgra8') and order not in (None, encoding[:3]):
        yield Problem(f'{path}.channel_order', f'found {order!r}, but encoding is {encoding!r}; leave it out')


def _joints(contract: 'Contract') -> Iterator[Problem]:
    for role, counts in (('arm_joints', (7,)), ('gripper', (1, 2))):
        for name, stream in contract.by_role(role).items():
            path, joints = f'streams.{name}.joints', list(stream.joints)
            if len(joints) not in counts:
                expected = ' or '.join(map(str, counts))
                yield Problem(path, f'found {len(joints)} names; expected {expected} for {role}')
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
            yield Problem(path, f'found {stream.max_age_ms:g}; expected at least {least_ms:.4g}, {reason}')


def _listed(names: list[str]) -> str:
    match names:
        case []:
            return 'no stream has'
        case [name]:
            return f'stream {name} has'
    return f'streams {", ".join(names)} have'

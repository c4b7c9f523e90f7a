"""Arrays -> messages as drivers publish them, serialised without ROS, stamps unset: decode's inverse."""

import struct
from collections.abc import Sequence
from functools import cache
from typing import Any

import cv2
import numpy as np

from restac_ros.contract.schema import (
    ArmJointsStream,
    CameraStream,
    Contract,
    GripperStream,
    PoseStream,
    TactileStream,
)
from restac_ros.framing.decode import load_types
from restac_ros.framing.values import gripper_positions
from restac_ros.geometry.pose import Pose

_DOUBLE = np.dtype('<f8')
_POSE = struct.Struct('<7d')  # position, quaternion xyzw
_MARK = np.frombuffer(b'\x5a\xa5\x3c\xc3\x69\x96\x12\x40', _DOUBLE)[0]  # bytes that no name holds
_FROM_RGB = {
    'bgr8': cv2.COLOR_RGB2BGR,
    'rgba8': cv2.COLOR_RGB2RGBA,
    'bgra8': cv2.COLOR_RGB2BGRA,
    'mono8': cv2.COLOR_RGB2GRAY,
}


def driver_message(contract: Contract, name: str, value: np.ndarray | Pose) -> bytes:
    """Return the message of stream `name` for what was measured.

    `value`: image uint8 [H, W, 3] RGB; arm: positions and speeds [2, 7] in rad and rad/s; gripper: opening []
    in m; pose of the tool in the base.
    """
    spec = contract.streams[name]
    match spec:
        case PoseStream():
            assert isinstance(value, Pose)
            return tool_pose(spec.frame_id or contract.robot.base_frame, value)
        case CameraStream() | TactileStream():
            assert isinstance(value, np.ndarray)
            return driver_image(spec, value, f'{name}_optical_frame')
        case ArmJointsStream():
            return joint_state(spec.joints, np.asarray(value[0]), np.asarray(value[1]))
        case GripperStream():
            assert isinstance(value, np.ndarray)
            return joint_state(spec.joints, gripper_positions(contract, spec, float(value)))


def driver_image(spec: CameraStream | TactileStream, rgb: np.ndarray, frame_id: str) -> bytes:
    """Return an image uint8 [H, W, 3] RGB in the contract's type and encoding."""
    encode = _compressed if spec.type == 'sensor_msgs/msg/CompressedImage' else _raw
    return encode(spec, rgb, frame_id)


def raw_image(pixels: np.ndarray, encoding: str, frame_id: str) -> bytes:
    """Return an Image of pixels uint8 [H, W] or [H, W, C] that are in `encoding` already."""
    height, width = pixels.shape[:2]
    return _serialised(
        'sensor_msgs/msg/Image',
        frame_id,
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=0,
        step=pixels.nbytes // height,
        data=np.ascontiguousarray(pixels).reshape(-1),
    )


def joint_state(names: Sequence[str], positions: np.ndarray, speeds: np.ndarray | None = None) -> bytes:
    """Return a JointState of positions and speeds [N], rad and rad/s; unknown speeds are an empty array."""
    if len(positions) != len(names) or (speeds is not None and len(speeds) != len(names)):
        raise ValueError(f'{len(names)} joints, but positions {positions} and speeds {speeds}')
    head, middle, tail = _joint_state_parts(tuple(names), speeds is not None)
    values = np.asarray(positions, dtype=_DOUBLE).tobytes()
    rates = b'' if speeds is None else np.asarray(speeds, dtype=_DOUBLE).tobytes()
    return b''.join((head, values, middle, rates, tail))


@cache
def _joint_state_parts(names: tuple[str, ...], with_speeds: bool) -> tuple[bytes, bytes, bytes]:
    """Bytes before, between and after positions and speeds, made once: thousands of messages share them."""
    positions = np.full(len(names), _MARK, _DOUBLE)
    speeds = np.full(len(names) if with_speeds else 0, -_MARK, _DOUBLE)
    cdr = _serialised(
        'sensor_msgs/msg/JointState',
        '',
        name=list(names),
        position=positions,
        velocity=speeds,
        effort=np.zeros(0),
    )
    head, _, rest = cdr.partition(positions.tobytes())
    middle, _, tail = rest.partition(speeds.tobytes()) if with_speeds else (rest, b'', b'')
    return head, middle, tail


def tool_pose(frame_id: str, pose: Pose) -> bytes:
    """Return a PoseStamped. The first of a frame takes longer; the others a few microseconds."""
    numbers = (*pose.position_m.tolist(), *pose.quaternion_xyzw.tolist())
    return _tool_pose_head(frame_id) + _POSE.pack(*numbers)


@cache
def _tool_pose_head(frame_id: str) -> bytes:
    """Bytes before position and quaternion, made once: a streamer sends hundreds a second."""
    types, mark = load_types().types, float(_MARK)
    position = types['geometry_msgs/msg/Point'](x=mark, y=mark, z=mark)
    orientation = types['geometry_msgs/msg/Quaternion'](x=mark, y=mark, z=mark, w=mark)
    content = types['geometry_msgs/msg/Pose'](position=position, orientation=orientation)
    cdr = _serialised('geometry_msgs/msg/PoseStamped', frame_id, pose=content)
    return cdr.removesuffix(_POSE.pack(*[mark] * 7))


def _raw(spec: CameraStream | TactileStream, rgb: np.ndarray, frame_id: str) -> bytes:
    encoding = spec.encoding or 'rgb8'
    wanted = 'bgr8' if encoding in ('8UC3', 'passthrough') and spec.channel_order == 'bgr' else encoding
    pixels = cv2.cvtColor(rgb, _FROM_RGB[wanted]) if wanted in _FROM_RGB else rgb
    return raw_image(pixels, encoding, frame_id)


def _compressed(spec: CameraStream | TactileStream, rgb: np.ndarray, frame_id: str) -> bytes:
    kind = spec.encoding or 'jpeg'
    pixels = rgb if spec.channel_order == 'bgr' else cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    _, content = cv2.imencode('.jpg' if kind == 'jpeg' else '.png', pixels)
    return _serialised('sensor_msgs/msg/CompressedImage', frame_id, format=kind, data=content.reshape(-1))


def _serialised(kind: str, frame_id: str, **content: Any) -> bytes:
    """A message of type `kind` with a header."""
    store = load_types()
    stamp = store.types['builtin_interfaces/msg/Time'](sec=0, nanosec=0)
    header = store.types['std_msgs/msg/Header'](stamp=stamp, frame_id=frame_id)
    return bytes(store.serialize_cdr(store.types[kind](header=header, **content), kind))

"""Serialised ROS messages -> arrays. One decoder for live messages and for bags, as both are CDR bytes.

Every function raises DecodeError, naming the topic, what was found, what was expected and the remedy.
"""

import functools
import io
import struct
import zlib
from contextlib import suppress
from typing import Any

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError
from rosbags.serde import SerdeError
from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.store import Typestore

from restac_ros.contract.schema import (
    ArmJointsStream,
    CameraStream,
    GripperStream,
    PoseStream,
    Stream,
    TactileStream,
)
from restac_ros.framing.errors import DecodeError, UnsupportedError
from restac_ros.geometry import quaternion as quat

MESSAGE_TYPES = (
    'sensor_msgs/msg/Image',
    'sensor_msgs/msg/CompressedImage',
    'sensor_msgs/msg/JointState',
    'geometry_msgs/msg/PoseStamped',
)
MAX_SIDE_PX = 8192
QUATERNION_TOLERANCE = 0.01  # on the norm: float32 drivers round, an unset quaternion is 0

# Encoding -> channels and their order; None where the contract must define it.
_LAYOUTS: dict[str, tuple[int, str | None]] = {
    'rgb8': (3, 'rgb'),
    'bgr8': (3, 'bgr'),
    'rgba8': (4, 'rgba'),
    'bgra8': (4, 'bgra'),
    'mono8': (1, 'mono'),
    '8UC3': (3, None),
    'passthrough': (3, None),  # what some GelSight drivers call 8UC3
}
_TO_RGB = {
    'bgr': cv2.COLOR_BGR2RGB,
    'rgba': cv2.COLOR_RGBA2RGB,
    'bgra': cv2.COLOR_BGRA2RGB,
    'mono': cv2.COLOR_GRAY2RGB,
}
SIGNATURES = (b'\xff\xd8\xff', b'\x89PN')  # the first bytes of JPEG and PNG
DEPTH_ENCODINGS = ('16UC1', '32FC1')
_MODES = {
    'CMYK': 'print colours',
    'P': 'a palette',
    '1': 'one bit',
    'I;16': '16 bit',
    'I': '16 bit',
    'LA': 'grey, alpha',
}
# What Pillow raises for damaged files, depending on where the damage is.
_PILLOW_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)

# rclpy's serialize_message reserves padding for empty sequences of doubles (a JointState without velocities)
# and hands it out behind the message; bags written by scripts hold such messages.
SURPLUS_BYTES = (4, 8, 12)


def decode_image(spec: CameraStream | TactileStream, cdr: bytes | memoryview) -> np.ndarray:
    """Image or CompressedImage -> uint8 [H, W, 3] RGB; may be a read-only view of the message."""
    message = _deserialize(spec, cdr)
    if spec.type == 'sensor_msgs/msg/CompressedImage':
        return _decompress(spec, message)
    pixels, order = _pixels(spec, message)
    return pixels if order == 'rgb' else cv2.cvtColor(pixels, _TO_RGB[order])


def decode_joints(spec: ArmJointsStream | GripperStream, cdr: bytes | memoryview) -> np.ndarray:
    """JointState -> positions float64 [n] of `spec.joints`, found by name, in the contract's order."""
    message = _deserialize(spec, cdr)
    names, positions = list(message.name), message.position
    if missing := [joint for joint in spec.joints if joint not in names]:
        found = f'no joint {", ".join(missing)}; the message has {", ".join(names) or "none"}'
        if len(missing) == len(spec.joints):
            raise DecodeError(f'{spec.topic}: {found}; set joints')
        some = f'only {len(spec.joints) - len(missing)} of {len(spec.joints)} joints'
        raise DecodeError(
            f'{spec.topic}: {found}: {some}; let one publisher send them together, or set joints'
        )
    if len(names) != len(positions):
        found = f'{len(names)} joint names but {len(positions)} positions'
        raise DecodeError(f'{spec.topic}: {found}; expected as many; does the driver publish positions here?')
    if repeated := [joint for joint in spec.joints if names.count(joint) > 1]:
        raise DecodeError(f'{spec.topic}: joint {", ".join(repeated)} is named more than once')
    values = np.array([positions[names.index(joint)] for joint in spec.joints], dtype=np.float64)
    if not np.isfinite(values).all():
        raise DecodeError(f'{spec.topic}: positions {values.tolist()}; expected finite numbers')
    return values


def why_not_of(spec: Stream, cdr: bytes | memoryview) -> str:
    """Return why a joint state is not the stream's: the joints expected and found, and the remedy."""
    if isinstance(spec, ArmJointsStream | GripperStream):
        try:
            decode_joints(spec, cdr)
        except DecodeError as error:
            return str(error)
    return ''


def decode_pose(spec: PoseStream, cdr: bytes | memoryview) -> np.ndarray:
    """PoseStamped -> homogeneous matrix float64 [4, 4]: the tool in the base frame."""
    message = _deserialize(spec, cdr)
    if spec.frame_id is not None and message.header.frame_id != spec.frame_id:
        found = f'frame_id {message.header.frame_id!r}'
        raise DecodeError(f'{spec.topic}: {found}; the contract expects {spec.frame_id!r}')
    position, orientation = message.pose.position, message.pose.orientation
    xyz = np.array([position.x, position.y, position.z])
    quaternion = np.array([orientation.x, orientation.y, orientation.z, orientation.w])
    norm = np.linalg.norm(quaternion)
    if not (np.isfinite(xyz).all() and abs(norm - 1) <= QUATERNION_TOLERANCE):
        found = f'position {xyz.tolist()}, quaternion {quaternion.tolist()} of norm {norm:.4g}'
        raise DecodeError(f'{spec.topic}: {found}; expected finite numbers and norm 1 (x, y, z, w)')
    pose = np.eye(4)
    pose[:3, :3] = quat.to_matrix(quaternion / norm)
    pose[:3, 3] = xyz
    return pose


@functools.cache
def load_types() -> Typestore:
    """Generate the readers of all message types now: it takes 0.2 s, which the first decoding would spend."""
    store = get_typestore(Stores.ROS2_JAZZY)
    for name in MESSAGE_TYPES:
        store.get_msgdef(name)
    return store


def _deserialize(spec: Stream, cdr: bytes | memoryview) -> Any:
    store, view = load_types(), memoryview(cdr)
    try:
        return store.deserialize_cdr(view, spec.type)
    except SerdeError as error:
        for surplus in SURPLUS_BYTES:
            with suppress(SerdeError):
                return store.deserialize_cdr(view[:-surplus], spec.type)
        raise DecodeError(f'{spec.topic}: not a readable {spec.type}: {error}') from error


def _pixels(spec: CameraStream | TactileStream, message: Any) -> tuple[np.ndarray, str]:
    """A checked view [H, W, C] of an Image's bytes without row padding, and its channel order."""
    channels, order = _layout(spec, message.encoding)
    height, width, step, data = message.height, message.width, message.step, message.data
    if not (0 < height <= MAX_SIDE_PX and 0 < width <= MAX_SIDE_PX):
        raise DecodeError(f'{spec.topic}: {width}x{height} px; expected 1 to {MAX_SIDE_PX} a side')
    if step < width * channels or len(data) != height * step:
        found = f'{width}x{height} {message.encoding} with step {step} and {len(data)} bytes'
        expected = f'step >= {width * channels} and step * {height} bytes'
        raise DecodeError(f'{spec.topic}: {found}; expected {expected}; the driver fills Image wrongly')
    # is_bigendian is ignored: it has no meaning for 8-bit channels, and drivers set it at random.
    rows = data.reshape(height, step)[:, : width * channels]
    return rows.reshape(height, width, channels), order


def _layout(spec: CameraStream | TactileStream, encoding: str) -> tuple[int, str]:
    if spec.encoding is not None and encoding != spec.encoding:
        remedy = f'correct the driver, or set encoding: {encoding}'
        raise UnsupportedError(
            f'{spec.topic}: encoding {encoding!r}; the contract expects {spec.encoding!r}; {remedy}'
        )
    if encoding not in _LAYOUTS:
        known = ', '.join(_LAYOUTS)
        what = ', a depth image' if encoding in DEPTH_ENCODINGS else ''
        raise UnsupportedError(
            f'{spec.topic}: encoding {encoding!r}{what}; expected one of {known}; set the driver to one'
        )
    channels, order = _LAYOUTS[encoding]
    if (order := order or spec.channel_order) is None:
        remedy = 'declare channel_order: rgb or bgr'
        raise DecodeError(
            f'{spec.topic}: encoding {encoding!r} does not define the order of red and blue; {remedy}'
        )
    return channels, order


def _decompress(spec: CameraStream | TactileStream, message: Any) -> np.ndarray:
    """JPEG or PNG -> RGB. Size and colour mode are read from the file's header before its pixels."""
    if problem := _format_problem(message):
        raise UnsupportedError(f'{spec.topic}: format {message.format!r}: {problem}')
    kind: type[DecodeError] = UnsupportedError
    try:
        with Image.open(io.BytesIO(message.data), formats=('JPEG', 'PNG')) as picture:
            problem = _picture_problem(spec, picture)
            pixels = np.empty(0, np.uint8) if problem else np.asarray(picture.convert('RGB'))
    except UnidentifiedImageError:  # its own text holds an address, so that no two would be equal
        head = bytes(message.data[:3])
        if any(signature.startswith(head) for signature in SIGNATURES):
            problem, kind = 'not a whole JPEG or PNG: its header is damaged or cut off', DecodeError
        else:
            problem = f'no JPEG or PNG: it begins with {head.hex(" ")}'
    except _PILLOW_ERRORS as error:
        problem, kind = f'not a whole JPEG or PNG: {error}', DecodeError
    if problem:
        raise kind(f'{spec.topic}: format {message.format!r}: {problem}')
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB) if spec.channel_order == 'bgr' else pixels


def _format_problem(message: Any) -> str:
    """Return why the format cannot be a colour picture: depth, or another kind of file; '' otherwise."""
    if 'compressedDepth' in message.format or message.format.startswith(DEPTH_ENCODINGS):
        return 'a depth image; expected a colour image: correct the topic'
    data = bytes(message.data[:12])
    if data[:4] == b'RIFF' and data[8:] == b'WEBP':
        return 'a WebP image; expected JPEG or PNG: set the driver to one'
    return ''


def _picture_problem(spec: CameraStream | TactileStream, picture: Image.Image) -> str:
    found = f'{picture.format} of {picture.width}x{picture.height} px, mode {picture.mode}'
    if spec.encoding is not None and str(picture.format).lower() != spec.encoding:
        return f'{found}; the contract expects {spec.encoding}'
    if max(picture.size) > MAX_SIDE_PX or picture.mode not in ('RGB', 'RGBA', 'L'):
        what = f' ({_MODES[picture.mode]})' if picture.mode in _MODES else ''
        return f'{found}{what}; expected 8-bit colour or grey, at most {MAX_SIDE_PX} px a side'
    return ''

"""Moving test patterns for every stream of a contract: what the synthetic source publishes."""

import heapq
import itertools
import math
from collections.abc import Callable, Iterator, Mapping

import cv2
import numpy as np

from restac_ros.contract.schema import (
    ArmJointsStream,
    CameraStream,
    Contract,
    GripperStream,
    PoseStream,
    Stream,
    TactileStream,
)
from restac_ros.framing.encode import driver_image, joint_state, tool_pose
from restac_ros.framing.stamp import with_stamp
from restac_ros.framing.values import gripper_positions
from restac_ros.geometry.pose import Pose
from restac_ros.runtime.playback import Outgoing
from restac_ros.sim.inverse_kinematics import READY_RAD

CAMERA_SIZE_PX = (480, 640)  # height, width, as of the following
TACTILE_SIZE_PX = (240, 320)
# A stream's serialised message, its stamp unset, as a function of time in s.
Pattern = Callable[[float], bytes]

_LOOP_S = 2.0  # every pattern but the gel's repeats after this
GEL_LOOP_S = 4.0
CONTACT_FREE_S = 2.0  # at the beginning of each loop of the gel: its first frames are a view's reference
_PRESS_S = 1.2  # how long the press after that lasts
_GEL_IMAGES = 120  # at most in a loop: 28 MB
_GEL_NOISE = 1.5  # standard deviation in grey levels
IMAGE_FRAMES = 24  # a loop's distinct images: 22 MB a camera
SWING_RAD = np.array([0.10, 0.06, 0.08, 0.06, 0.10, 0.08, 0.12])
CIRCLE_CENTRE_M, CIRCLE_RADIUS_M = np.array([0.5, 0.0, 0.4]), 0.05


def camera_image(phase: float, hue: int, size_px: tuple[int, int] = CAMERA_SIZE_PX) -> np.ndarray:
    """uint8 [H, W, 3] RGB: drifting stripes of one hue (0..179) and a disc on a circle; `phase` 0..1."""
    height, width = size_px
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    stripes = 0.5 + 0.5 * np.sin(2 * np.pi * (4 * (columns + 0.5 * rows) / width - phase))
    hsv = np.empty((height, width, 3), np.uint8)
    hsv[..., 0], hsv[..., 1], hsv[..., 2] = hue, 140, 60 + 160 * stripes
    image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    angle = 2 * np.pi * phase
    x, y = (0.5 + 0.25 * math.cos(angle)) * width, (0.5 + 0.25 * math.sin(angle)) * height
    centre = (round(x), round(y))
    return cv2.circle(image, centre, height // 12, (255, 255, 255), -1, cv2.LINE_AA)


def tactile_image(time_s: float) -> np.ndarray:
    """uint8 [240, 320, 3] RGB: a gel lit red, green, blue from three sides, with a sensor's noise.

    Of each loop it is free for `CONTACT_FREE_S`, then pressed once.
    """
    height, width = TACTILE_SIZE_PX
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    press = (time_s % GEL_LOOP_S - CONTACT_FREE_S) / _PRESS_S
    depth = math.sin(np.pi * press) if 0 <= press <= 1 else 0.0  # 0: no contact
    x, y = (columns - width / 2) / 45, (rows - height / 2) / 45
    bump = depth * np.exp(-(x**2 + y**2))
    slope_x, slope_y = -2 * x * bump, -2 * y * bump
    lights = [(1.0, 0.0), (-0.5, 0.87), (-0.5, -0.87)]
    channels = [110 + 90 * (lx * slope_x + ly * slope_y) - 20 * bump for lx, ly in lights]
    generator = np.random.default_rng(round(time_s * 1e6))
    noise = _GEL_NOISE * generator.standard_normal((height, width, 3), np.float32)
    return np.clip(np.stack(channels, axis=-1) + noise, 0, 255).astype(np.uint8)


def patterns_of(contract: Contract, size_px: tuple[int, int] = CAMERA_SIZE_PX) -> dict[str, Pattern]:
    """The pattern of every stream, cameras' of `size_px`; everything is serialised here, once."""
    return {name: pattern(contract, name, size_px) for name in contract.streams}


def messages(
    contract: Contract, patterns: Mapping[str, Pattern], seconds: float, start_ns: int
) -> Iterator[Outgoing]:
    """Every stream at its declared rate for `seconds`, stamped with the moment it is due.

    Streams are a little out of phase with each other, as real drivers are.
    """
    streams = [
        _stream(spec, patterns[name], seconds, start_ns, phase=(index + 1) / (len(contract.streams) + 1))
        for index, (name, spec) in enumerate(contract.streams.items())
    ]
    return heapq.merge(*streams, key=lambda message: message.due_ns)


def _stream(spec: Stream, cdr_at: Pattern, seconds: float, start_ns: int, phase: float) -> Iterator[Outgoing]:
    for index in itertools.count():
        due_ns = round((index + phase) * 1e9 / spec.rate_hz)
        if due_ns >= seconds * 1e9:
            return
        yield Outgoing(due_ns, spec.topic, with_stamp(cdr_at(due_ns * 1e-9), start_ns + due_ns))


def pattern(contract: Contract, name: str, size_px: tuple[int, int] = CAMERA_SIZE_PX) -> Pattern:
    """The pattern of one stream."""
    spec = contract.streams[name]
    match spec:
        case CameraStream():
            hue = 37 * list(contract.streams).index(name) % 180
            drawn = [camera_image(i / IMAGE_FRAMES, hue, size_px) for i in range(IMAGE_FRAMES)]
            return _images(spec, drawn, _LOOP_S)
        case TactileStream():
            count = max(1, min(_GEL_IMAGES, round(GEL_LOOP_S * spec.rate_hz)))
            drawn = [tactile_image(i / count * GEL_LOOP_S) for i in range(count)]
            return _images(spec, drawn, GEL_LOOP_S)
        case ArmJointsStream():
            return _loop(spec, lambda t: joint_state(spec.joints, _swinging_rad(t)))
        case GripperStream():
            return _loop(spec, lambda t: joint_state(spec.joints, _fingers_m(contract, spec, t)))
        case PoseStream():
            frame_id = spec.frame_id or contract.robot.base_frame
            return _loop(spec, lambda t: tool_pose(frame_id, _circling(t)))


def _loop(spec: Stream, cdr_at: Pattern) -> Pattern:
    """The messages of one loop, serialised beforehand: at 1 kHz that would be most of the source's work."""
    count = max(1, round(_LOOP_S * spec.rate_hz))
    serialised = [cdr_at(_LOOP_S * index / count) for index in range(count)]
    return lambda t: serialised[int(t / _LOOP_S * count) % count]


def _images(spec: CameraStream | TactileStream, drawn: list[np.ndarray], loop_s: float) -> Pattern:
    serialised = [driver_image(spec, image, 'synthetic') for image in drawn]
    return lambda t: serialised[int(t / loop_s * len(serialised)) % len(serialised)]


def _swinging_rad(t: float) -> np.ndarray:
    """Seven joint positions around the ready posture."""
    return READY_RAD + SWING_RAD * math.sin(2 * np.pi * t / _LOOP_S)


def _fingers_m(contract: Contract, spec: GripperStream, t: float) -> np.ndarray:
    """Each finger's position: opens and closes once a loop, staying inside the declared range."""
    closed, opened = contract.gripper.opening_m
    opening = closed + (opened - closed) * (0.5 + 0.45 * math.cos(2 * np.pi * t / _LOOP_S))
    return gripper_positions(contract, spec, opening)


def _circling(t: float) -> Pose:
    """The tool on a circle, pointing down."""
    angle = 2 * np.pi * t / _LOOP_S
    offset_m = CIRCLE_RADIUS_M * np.array([math.cos(angle), math.sin(angle), 0.0])
    return Pose(CIRCLE_CENTRE_M + offset_m, np.array([1.0, 0.0, 0.0, 0.0]))

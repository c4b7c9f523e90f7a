"""Recordings made without a robot and without ROS, for what reads, converts or breaks them.

Cameras see a textured scene that moves, with a sensor's noise: encoders work on it as on a real one. Every
stream has its declared rate and stamps; the same seed gives the same bytes.
"""

import heapq
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from restac_ros.contract.schema import Contract, GripperStream, Stream
from restac_ros.dataset.bag.bag_writer import Compression
from restac_ros.dataset.bag.storage import BagMessage
from restac_ros.dataset.journal import Journal
from restac_ros.framing.encode import joint_state, raw_image
from restac_ros.framing.values import gripper_positions
from restac_ros.installation import GraphError

START_NS = 1_760_000_000_000_000_000
_LOOP_S = 2.0  # images repeat after this, with new stamps
DELAY_NS = 5_000_000  # from stamp to receipt
NOISE = 2.0  # standard deviation of a camera's noise, of 255
TEXTURE_PX = 48  # size of the coarsest patches
CHANNELS = {'rgb8': 3, 'bgr8': 3, '8UC3': 3, 'passthrough': 3, 'rgba8': 4, 'bgra8': 4, 'mono8': 1}
_READY_RAD = np.array([0.0, -0.785, 0.0, -2.356, 0.0, 1.571, 0.785])  # Franka's usual ready posture
STAMP = slice(4, 12)  # of a header, in CDR


@dataclass(frozen=True)
class Scene:
    """What is recorded: sizes are (width, height) in px."""

    camera_px: tuple[int, int] = (640, 480)
    tactile_px: tuple[int, int] = (320, 240)
    seed: int = 0


def make_messages(
    contract: Contract, seconds: float, scene: Scene, start_ns: int = START_NS
) -> Iterator[BagMessage]:
    """Messages of all streams in the order of receipt.

    Raises:
        GraphError: the contract has a stream of a type that this does not make.
    """
    phases = 1 / (len(contract.streams) + 1)
    streams = [
        _stream(spec, _loop(contract, name, scene), seconds, start_ns, (index + 1) * phases)
        for index, (name, spec) in enumerate(contract.streams.items())
    ]
    return heapq.merge(*streams, key=lambda message: message.log_time_ns)


def write_recording(
    path: Path,
    contract: Contract,
    messages: Iterable[BagMessage],
    task: str = 'bench',
    compression: Compression = 'none',
) -> Path:
    """Write a journal as the recorder does, but without waiting for the disk at each flush.

    Raises:
        JournalError: the disk refuses.
    """
    names = {spec.topic: name for name, spec in contract.streams.items()}
    journal, end_ns = None, 0
    for message in messages:
        if journal is None:
            journal = Journal(
                path, contract, start_ns=message.log_time_ns, task=task, compression=compression, sync=False
            )
        journal.write(names[message.topic], message.cdr, message.log_time_ns)
        end_ns = message.log_time_ns + 1
    if journal is None:
        raise GraphError(f'nothing to record into {path}: no message in that time')
    return journal.close(end_ns)


def drop_from_memory(folder: Path) -> None:
    """Drop the files from the system's cache, so that the next reader reads the disk."""
    for file in folder.iterdir():
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def _stream(
    spec: Stream, loop: list[bytes], seconds: float, start_ns: int, phase: float
) -> Iterator[BagMessage]:
    """One stream, dated; streams are a little out of phase with each other."""
    for index in range(round(seconds * spec.rate_hz)):
        stamp_ns = start_ns + round((index + phase) * 1e9 / spec.rate_hz)
        cdr = loop[index % len(loop)]
        dated = b''.join((cdr[: STAMP.start], _stamp(stamp_ns), cdr[STAMP.stop :]))
        yield BagMessage(spec.topic, spec.type, dated, stamp_ns + DELAY_NS)


def _stamp(stamp_ns: int) -> bytes:
    seconds, nanoseconds = divmod(stamp_ns, 10**9)
    return seconds.to_bytes(4, 'little') + nanoseconds.to_bytes(4, 'little')


def _loop(contract: Contract, name: str, scene: Scene) -> list[bytes]:
    """The serialised messages of one loop, not dated."""
    spec = contract.streams[name]
    count = max(2, round(_LOOP_S * spec.rate_hz))
    make = _maker(contract, name, scene)
    return [make(index / count) for index in range(count)]


def _maker(contract: Contract, name: str, scene: Scene) -> Callable[[float], bytes]:
    """A stream's message as a function of the phase of the loop, 0..1."""
    spec = contract.streams[name]
    seed = scene.seed * 97 + list(contract.streams).index(name)
    if spec.type == 'sensor_msgs/msg/Image':
        size_px = scene.camera_px if spec.role == 'camera' else scene.tactile_px
        return _Images(size_px, spec.encoding or 'rgb8', seed)
    if spec.role == 'arm_joints':
        offset = np.random.default_rng(seed).uniform(-0.05, 0.05, 7)
        swing = 0.1 * (1 + np.arange(7) / 7)
        return lambda phase: joint_state(spec.joints, _READY_RAD + offset + swing * np.sin(2 * np.pi * phase))
    if isinstance(spec, GripperStream):
        closed, opened = contract.gripper.opening_m
        middle, width = 0.25 * (closed + opened), 0.2 * (opened - closed)

        def message(phase: float) -> bytes:
            opening_m = 2 * (middle + width * np.cos(2 * np.pi * phase))
            return joint_state(spec.joints, gripper_positions(contract, spec, opening_m))

        return message
    raise GraphError(f'stream {name} is a {spec.type}: benchmarks make raw images and joint states only')


class _Images:
    """Views of one large texture, moving on a circle, each with noise of its own."""

    def __init__(self, size_px: tuple[int, int], encoding: str, seed: int) -> None:
        self._width, self._height = size_px
        self._encoding, self._channels = encoding, CHANNELS[encoding]
        self._noise = np.random.default_rng(seed)
        margin = max(4, self._width // 8)
        shape = (self._height + 2 * margin, self._width + 2 * margin)
        self._margin = margin
        self._texture = _texture(shape, self._channels, self._noise)

    def __call__(self, phase: float) -> bytes:
        angle = 2 * np.pi * phase
        top = self._margin + round(self._margin * np.sin(angle))
        left = self._margin + round(self._margin * np.cos(angle))
        view = self._texture[top : top + self._height, left : left + self._width]
        noise = self._noise.standard_normal(view.shape, dtype=np.float32) * NOISE
        return raw_image(np.clip(view + noise, 0, 255).astype(np.uint8), self._encoding, 'bench')


def _texture(shape: tuple[int, int], channels: int, rng: np.random.Generator) -> np.ndarray:
    """float32 [H, W, C]: smooth patches of several sizes, as things in a room are."""
    total = np.zeros((*shape, channels), np.float32)
    for patch, weight in ((TEXTURE_PX, 60.0), (TEXTURE_PX // 4, 15.0)):
        grid = (shape[0] // patch + 2, shape[1] // patch + 2)
        grey = rng.uniform(-1, 1, (*grid, 1)) + 0.3 * rng.uniform(-1, 1, (*grid, channels))
        coarse = grey.astype(np.float32)
        rows, columns = np.arange(shape[0]) / patch, np.arange(shape[1]) / patch
        total += weight * _interpolated(coarse, rows, columns)
    return total + 128


def _interpolated(coarse: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Bilinear: coarse [h, w, C] at fractional rows [H] and columns [W] -> [H, W, C]."""
    for axis, places in ((0, rows), (1, columns)):
        below = places.astype(int)
        shape = [1, 1, 1]
        shape[axis] = -1
        part = (places - below).astype(np.float32).reshape(shape)
        coarse = coarse.take(below, axis) * (1 - part) + coarse.take(below + 1, axis) * part
    return coarse

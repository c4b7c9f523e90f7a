"""Messages as drivers would send them, serialised by rosbags."""

import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from PIL import Image
from rosbags.typesys import Stores, get_typestore

from restac_ros.contract.load import load_contract, parse_contract
from restac_ros.contract.schema import Contract

STORE = get_typestore(Stores.ROS2_JAZZY)
ARM_JOINTS = [f'fr3_joint{i}' for i in range(1, 8)]
FINGERS = ['fr3_finger_joint1', 'fr3_finger_joint2']


def _header(stamp_ns: int, frame_id: str = ''):
    stamp = STORE.types['builtin_interfaces/msg/Time'](stamp_ns // 10**9, stamp_ns % 10**9)
    return STORE.types['std_msgs/msg/Header'](stamp, frame_id)


def _serialize(name: str, little_endian: bool, *fields) -> bytes:
    return bytes(STORE.serialize_cdr(STORE.types[name](*fields), name, little_endian=little_endian))


def image(
    pixels: np.ndarray,
    encoding: str,
    stamp_ns: int = 1,
    padding: int = 0,
    little_endian: bool = True,
    **wrong,
) -> bytes:
    """An Image of uint8 [H, W, C], its rows padded by some bytes; `wrong` overrides fields."""
    height, width, channels = pixels.shape
    rows = np.full((height, width * channels + padding), 0xAB, np.uint8)
    rows[:, : width * channels] = pixels.reshape(height, -1)
    fields = {
        'height': height,
        'width': width,
        'encoding': encoding,
        'is_bigendian': 0,
        'step': rows.shape[1],
    }
    fields |= {'data': rows.reshape(-1)} | wrong
    return _serialize('sensor_msgs/msg/Image', little_endian, _header(stamp_ns), *fields.values())


def compressed(pixels: np.ndarray, file_format: str, stamp_ns: int = 1, **options) -> bytes:
    """A CompressedImage of uint8 [H, W, 3] RGB, [H, W, 4] RGBA or [H, W] grey."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, file_format, **options)
    return compressed_bytes(file.getvalue(), file_format, stamp_ns)


def compressed_bytes(content: bytes, stated: str, stamp_ns: int = 1) -> bytes:
    data = np.frombuffer(content, np.uint8)
    return _serialize('sensor_msgs/msg/CompressedImage', True, _header(stamp_ns), stated, data)


def joints(
    names: list[str], positions: list[float], stamp_ns: int = 1, little_endian: bool = True, velocity=()
) -> bytes:
    """A JointState."""
    arrays = [np.asarray(values, np.float64) for values in (positions, velocity, ())]
    return _serialize('sensor_msgs/msg/JointState', little_endian, _header(stamp_ns), names, *arrays)


def arm(q_rad: np.ndarray, stamp_ns: int = 1) -> bytes:
    return joints(ARM_JOINTS, list(q_rad), stamp_ns)


def gripper(opening_m: float, stamp_ns: int = 1) -> bytes:
    return joints(FINGERS, [opening_m / 2] * 2, stamp_ns)


def pose(xyz_m, quaternion_xyzw, stamp_ns: int = 1, frame_id: str = 'fr3_link0', little_endian: bool = True):
    """A PoseStamped."""
    value = STORE.types['geometry_msgs/msg/Pose'](
        STORE.types['geometry_msgs/msg/Point'](*xyz_m),
        STORE.types['geometry_msgs/msg/Quaternion'](*quaternion_xyzw),
    )
    name = 'geometry_msgs/msg/PoseStamped'
    return _serialize(name, little_endian, _header(stamp_ns, frame_id), value)


@pytest.fixture(scope='session')
def messages() -> SimpleNamespace:
    """Makers of serialised messages."""
    return SimpleNamespace(
        image=image,
        compressed=compressed,
        compressed_bytes=compressed_bytes,
        joints=joints,
        arm=arm,
        gripper=gripper,
        pose=pose,
    )


@pytest.fixture(scope='session')
def contract(repository: Path) -> Contract:
    """The shipped contract."""
    return load_contract(repository / 'config' / 'contract.yaml')


@pytest.fixture(scope='session')
def edited_contract(repository: Path):
    """edited_contract({'streams.main.encoding': 'bgr8'}): the shipped one, changed; None removes a key."""
    text = (repository / 'config' / 'contract.yaml').read_text(encoding='utf-8')

    def edit(changes: dict[str, object]) -> Contract:
        values = yaml.safe_load(text)
        for path, value in changes.items():
            *parents, last = path.split('.')
            target = values
            for key in parents:
                target = target[key]
            if value is None:
                target.pop(last, None)
            else:
                target[last] = value
        return parse_contract(yaml.safe_dump(values))

    return edit

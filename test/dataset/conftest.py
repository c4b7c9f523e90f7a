"""Small synthetic recordings with the drivers' topics, types and rates; nothing here needs other files."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from restac_ros.contract.load import parse_contract
from restac_ros.contract.schema import Contract
from restac_ros.dataset.bag.storage import BagMessage
from restac_ros.dataset.journal import Journal

STORE = get_typestore(Stores.ROS2_JAZZY)
START_NS = 1_760_000_000_000_000_000
SECONDS = 2.0
DELAYS_S = {'camera': 0.010, 'tactile': 0.050, 'arm_joints': 0.0005, 'gripper': 0.001}
CAMERA_SIZE = (48, 64)  # height, width
TACTILE_SIZE = (128, 160)  # the data set's own: compared exactly
_GEL = np.random.default_rng(5).integers(0, 250, (*TACTILE_SIZE, 3), dtype=np.uint8)  # which nothing presses


@pytest.fixture(scope='module')
def no_copies_in_the_users_cache() -> Iterator[None]:
    from restac_ros.dataset.lerobot_access import private_cache  # seconds, which not all modules here need

    with private_cache():
        yield


@pytest.fixture(scope='session')
def contract_values(repository: Path) -> dict:
    """The shipped contract with slower joints and frames, as plain values to vary."""
    values = yaml.safe_load((repository / 'config' / 'contract.yaml').read_text())
    values['fps'] = 10
    values['streams']['joints']['rate_hz'] = 200
    return values


@pytest.fixture(scope='session')
def contract(contract_values: dict) -> Contract:
    return parse_contract(yaml.safe_dump(contract_values))


@pytest.fixture(scope='session')
def recording(contract: Contract) -> list[BagMessage]:
    """Two seconds of all streams, in the order of arrival."""
    return make_recording(contract)


@pytest.fixture(scope='session')
def write_bag() -> Callable[..., Path]:
    return write_rosbags_bag


@pytest.fixture(scope='session', name='make_recording')
def recording_maker() -> Callable[..., list[BagMessage]]:
    """make_recording(contract, seconds) -> messages of all streams, in the order of arrival."""
    return make_recording


@pytest.fixture
def journal_of(tmp_path: Path, contract: Contract) -> Callable[..., Path]:
    """Records messages with a Journal: journal_of(messages, name='take', **options) -> finished bag."""

    def record(messages: Iterable[BagMessage], name: str = 'take', end_ns: int = 0, **options: str) -> Path:
        messages = list(messages)
        journal = Journal(tmp_path / name, contract, start_ns=START_NS, task='press the button', **options)
        fill(journal, contract, messages)
        return journal.close(end_ns or messages[-1].log_time_ns + 1)

    return record


def fill(journal: Journal, contract: Contract, messages: Iterable[BagMessage]) -> None:
    streams = {stream.topic: name for name, stream in contract.streams.items()}
    for message in messages:
        journal.write(streams[message.topic], message.cdr, message.log_time_ns)


def make_recording(contract: Contract, seconds: float = SECONDS) -> list[BagMessage]:
    rng = np.random.default_rng(7)
    messages = []
    for stream in contract.streams.values():
        for index, time_s in enumerate(np.arange(0.002, seconds, 1 / stream.rate_hz)):
            stamp_ns = START_NS + round(time_s * 1e9)
            cdr = serialised(stream.role, index, time_s, stamp_ns, rng)
            receive_ns = stamp_ns + round(DELAYS_S[stream.role] * 1e9)
            messages.append(BagMessage(stream.topic, stream.type, cdr, receive_ns))
    return sorted(messages, key=lambda message: message.log_time_ns)


def serialised(role: str, index: int, time_s: float, stamp_ns: int, rng: np.random.Generator) -> bytes:
    if role == 'camera':
        height, width = CAMERA_SIZE
        ramp = np.linspace(0, 150, width, dtype=np.uint8) + np.uint8(3 * index % 100)
        pixels = np.broadcast_to(ramp[None, :, None], (height, width, 3)).copy()
        return image_cdr(pixels, 'rgb8', stamp_ns)
    if role == 'tactile':
        return image_cdr(_GEL + rng.integers(0, 4, _GEL.shape, dtype=np.uint8), 'bgr8', stamp_ns)
    if role == 'arm_joints':
        rest = np.array([0.0, -0.6, 0.0, -2.2, 0.0, 1.6, 0.8])
        return joints_cdr([f'fr3_joint{i}' for i in range(1, 8)], rest + 0.2 * np.sin(2 * time_s), stamp_ns)
    finger = 0.02 + 0.01 * np.sin(time_s)
    return joints_cdr(['fr3_finger_joint1', 'fr3_finger_joint2'], np.full(2, finger), stamp_ns)


def header(stamp_ns: int) -> object:
    stamp = STORE.types['builtin_interfaces/msg/Time'](sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
    return STORE.types['std_msgs/msg/Header'](stamp=stamp, frame_id='test')


def image_cdr(pixels: np.ndarray, encoding: str, stamp_ns: int) -> bytes:
    height, width, channels = pixels.shape
    message = STORE.types['sensor_msgs/msg/Image'](
        header=header(stamp_ns),
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=0,
        step=width * channels,
        data=pixels.reshape(-1),
    )
    return bytes(STORE.serialize_cdr(message, 'sensor_msgs/msg/Image'))


def joints_cdr(names: list[str], positions: np.ndarray, stamp_ns: int) -> bytes:
    message = STORE.types['sensor_msgs/msg/JointState'](
        header=header(stamp_ns), name=names, position=positions, velocity=np.zeros(0), effort=np.zeros(0)
    )
    return bytes(STORE.serialize_cdr(message, 'sensor_msgs/msg/JointState'))


def write_rosbags_bag(path: Path, messages: Iterable[BagMessage], storage: str = 'mcap') -> Path:
    """A bag as another program writes it."""
    with Writer(path, version=9, storage_plugin=StoragePlugin[storage.upper()]) as bag:
        connections = {}
        for message in messages:
            if message.topic not in connections:
                connections[message.topic] = bag.add_connection(message.topic, message.type, typestore=STORE)
            bag.write(connections[message.topic], message.log_time_ns, message.cdr)
    return path

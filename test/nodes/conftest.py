"""Nodes as processes on a ROS domain of this test run, and a robot that can be given faults."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

DEADLINE_S = 90.0  # generous: the machine may be busy; nothing waits for it when all is well
POLL_S = 0.02
PAUSE = threading.Event()  # never set: waiting on it is how a condition is polled


def poll_until(
    condition: Callable[[], Any], what: Callable[[], str] | str, deadline_s: float = DEADLINE_S
) -> Any:
    """Poll until `condition` gives something true, which is returned."""
    begun_s = time.monotonic()
    while not (result := condition()):
        if time.monotonic() - begun_s > deadline_s:
            pytest.fail(f'not within {deadline_s:g} s: {what if isinstance(what, str) else what()}')
        PAUSE.wait(POLL_S)
    return result


@pytest.fixture(scope='session')
def wait_until() -> Callable[..., Any]:
    """Polls a condition until it gives something true, which is returned; fails after a deadline."""
    return poll_until


class NodeProcess:
    """A node of this package in a process of its own; its messages are in `log`."""

    def __init__(self, name: str, line: list[str], env: dict[str, str], directory: Path) -> None:
        self.name = name
        self.summary_file = directory / f'{name}.json'
        self._log_file = directory / f'{name}.log'
        with self._log_file.open('wb') as log:
            self.process = subprocess.Popen(line, env=env, stdout=log, stderr=subprocess.STDOUT)

    @property
    def log(self) -> str:
        """Everything it has said so far."""
        return self._log_file.read_text(errors='replace')

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def wait_for(self, pattern: str, times: int = 1) -> str:
        """Until a regular expression has been said; returns the last match."""

        def said() -> list[str]:
            found = [match.group(0) for match in re.finditer(pattern, self.log)]
            if len(found) < times and not self.alive:
                pytest.fail(f'{self.name} ended without saying {pattern!r}:\n{self.log}')
            return found if len(found) >= times else []

        return poll_until(said, lambda: f'{self.name} said {pattern!r}; it said:\n{self.log}')[-1]

    def end(self, number: int = signal.SIGINT) -> int:
        """Ask it to stop and wait; returns the exit status."""
        if self.alive:
            self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Until it has ended; returns the exit status."""
        try:
            return self.process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            pytest.fail(f'{self.name} has not ended:\n{self.log}')

    @property
    def summary(self) -> dict:
        """What it left behind."""
        return json.loads(self.summary_file.read_text())


@pytest.fixture
def start_node(ros_domain: int, repository: Path, tmp_path: Path) -> Iterator[Callable[..., NodeProcess]]:
    """Start a node: start_node('replay_node', bag=path, rate=2.0). What still runs at the end is killed."""
    pytest.importorskip('rclpy')
    pytest.importorskip('restac_ros.msg', reason='the messages are not built: `make build`')
    from restac_ros.graph import PACKAGE, GraphError, package_prefix

    try:
        programs = package_prefix() / 'lib' / PACKAGE
    except GraphError as error:
        pytest.skip(str(error))
    started: list[NodeProcess] = []

    def start(name: str, *arguments: str, **parameters: object) -> NodeProcess:
        directory = tmp_path / 'processes' / str(len(started))
        directory.mkdir(parents=True)
        given = {
            'contract': repository / 'config' / 'contract.yaml',
            'summary_file': directory / f'{name}.json',
            **parameters,
        }
        line = [sys.executable, str(programs / name), '--ros-args', '-r', f'__node:={name}', *arguments]
        for key, value in given.items():
            line += [
                '-p',
                f'{key}:={json.dumps(value if isinstance(value, bool | int | float | list) else str(value))}',
            ]
        env = {**os.environ, 'ROS_DOMAIN_ID': str(ros_domain), 'PYTHONUNBUFFERED': '1'}
        started.append(NodeProcess(name, line, env, directory))
        return started[-1]

    yield start
    for node in started:
        if node.alive:
            node.process.kill()
            node.process.wait()


@pytest.fixture(scope='session')
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """A tiny policy with random weights for the repository's contract."""
    from restac_ros.contract.load import load_contract
    from restac_ros.policy.init_checkpoint import init_checkpoint

    path = tmp_path_factory.mktemp('checkpoint') / 'tiny'
    init_checkpoint('tiny', load_contract(repository / 'config' / 'contract.yaml'), path, seed=1)
    return path


@pytest.fixture(scope='session')
def compile_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compiled programs shared by the policy nodes of this test run."""
    return tmp_path_factory.mktemp('compiled')


@pytest.fixture
def robot(ros_domain: int, repository: Path) -> Iterator['Robot']:
    """Publishes all streams from a thread, as drivers do, and keeps what the nodes publish."""
    pytest.importorskip('rclpy')
    pytest.importorskip('restac_ros.msg', reason='the messages are not built: `make build`')
    robot = Robot(repository / 'config' / 'contract.yaml', ros_domain)
    yield robot
    robot.close()


class Robot:
    """Small images, moving joints. Faults are attributes that may be changed at any time.

    silent: streams that are not published; zero_stamps: streams whose stamps stay unset; encodings: what the
    messages of an image stream claim; joint_names: of the arm; lag_s: how much too old a stream's stamps are.
    """

    def __init__(self, contract_file: Path, domain: int) -> None:
        import rclpy
        from rclpy.executors import SingleThreadedExecutor

        from restac_ros.contract.load import load_contract

        self.contract = load_contract(contract_file)
        self.silent: set[str] = set()
        self.zero_stamps: set[str] = set()
        self.encodings: dict[str, str] = {}
        self.joint_names = list(self.contract.streams['joints'].joints)
        self.lag_s: dict[str, float] = {}
        self.received: dict[str, list] = {}
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = rclpy.create_node('robot', context=self.context)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._publishers: dict[str, Any] = {}
        self._phase = 0.0
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def publish_streams(self) -> None:
        """Begin to publish: joints at 200 Hz, everything else at 20 Hz."""
        from sensor_msgs.msg import Image, JointState

        for name, spec in self.contract.streams.items():
            kind = JointState if 'JointState' in spec.type else Image
            self._publishers[name] = self.node.create_publisher(kind, spec.topic, 10)
        self.node.create_timer(0.005, lambda: self._publish('joints'))
        self.node.create_timer(
            0.05, lambda: [self._publish(name) for name in self._publishers if name != 'joints']
        )

    def listen(self, topic: str, kind: type, qos: Any = 10) -> list:
        """Keep what is published on a topic; returns the growing list."""
        kept = self.received.setdefault(topic, [])
        self.node.create_subscription(kind, topic, kept.append, qos)
        return kept

    def call(self, service: str, kind: type, request: Any = None) -> Any:
        """Call a service and wait for its answer."""
        client = self.node.create_client(kind, service)
        poll_until(client.service_is_ready, f'service {service} is there')
        future = client.call_async(request or kind.Request())
        return poll_until(lambda: future.done() and future.result(), f'{service} answered')

    def close(self) -> None:
        self._executor.shutdown()
        self._thread.join()
        self.node.destroy_node()
        self.context.try_shutdown()

    def _spin(self) -> None:
        from rclpy.executors import ExternalShutdownException, ShutdownException

        try:
            self._executor.spin()
        except (ExternalShutdownException, ShutdownException):
            return

    def _publish(self, name: str) -> None:
        if name in self.silent:
            return
        spec = self.contract.streams[name]
        match spec.role:
            case 'arm_joints':
                self._phase += 0.005
                swing = 0.1 * np.sin(self._phase + np.arange(7))
                positions = np.array([0, -0.785, 0, -2.356, 0, 1.571, 0.785]) + swing
                message = self._joint_state(self.joint_names, positions)
            case 'gripper':
                message = self._joint_state(list(spec.joints), np.full(2, 0.02))
            case _:
                message = self._image(self.encodings.get(name, spec.encoding))
        if name not in self.zero_stamps:
            stamp_ns = time.time_ns() - round(self.lag_s.get(name, 0.0) * 1e9)
            message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, 10**9)
        self._publishers[name].publish(message)

    def _joint_state(self, names: list[str], positions: np.ndarray) -> Any:
        from sensor_msgs.msg import JointState

        return JointState(name=names, position=positions.tolist())

    def _image(self, encoding: str) -> Any:
        from sensor_msgs.msg import Image

        channels = {'mono8': 1, 'rgba8': 4}.get(encoding, 3)
        message = Image(height=48, width=64, encoding=encoding, step=64 * channels)
        shade = int(127 + 120 * np.sin(self._phase))
        message.data = bytes([shade]) * (48 * 64 * channels)
        return message

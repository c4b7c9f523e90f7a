"""Nodes as processes on a ROS domain of this test run, and a robot that can be given faults."""

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from node_process import NodeProcess, poll_until

GRACE_S = 20.0


@pytest.fixture(scope='session')
def wait_until() -> Callable[..., Any]:
    """Polls a condition until it gives something true, which is returned; fails after a deadline."""
    return poll_until


@pytest.fixture
def start_node(ros_domain: int, repository: Path, tmp_path: Path) -> Iterator[Callable[..., NodeProcess]]:
    """Start a node: start_node('replay_node', bag=path, rate=2.0). What still runs at the end is ended.

    In order, if it can: what a killed node leaves in shared memory may make the next one deaf.
    """
    pytest.importorskip('rclpy')
    pytest.importorskip('restac_ros.msg', reason='the messages are not built: `make build`')
    from restac_ros.installation import PACKAGE, GraphError, package_prefix

    try:
        programs = package_prefix() / 'lib' / PACKAGE
    except GraphError as error:
        pytest.skip(str(error))
    started: list[NodeProcess] = []

    def start(
        name: str,
        *arguments: str,
        before: Sequence[str] = (),
        console: int | None = None,
        **parameters: object,
    ) -> NodeProcess:
        directory = tmp_path / 'processes' / str(len(started))
        directory.mkdir(parents=True)
        given = {
            'contract': repository / 'config' / 'contract.yaml',
            'summary_file': directory / f'{name}.json',
            **parameters,
        }
        program = [sys.executable, str(programs / name)]
        line = [*before, *program, '--ros-args', '-r', f'__node:={name}', *arguments]
        for key, value in given.items():
            line += [
                '-p',
                f'{key}:={json.dumps(value if isinstance(value, bool | int | float | list) else str(value))}',
            ]
        env = {**os.environ, 'ROS_DOMAIN_ID': str(ros_domain), 'PYTHONUNBUFFERED': '1'}
        started.append(NodeProcess(name, line, env, directory, console))
        return started[-1]

    yield start
    left = [node.process for node in started if node.alive]
    for process in left:
        process.terminate()
    for process in left:
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture
def blocked_console() -> Iterator[int]:
    """Descriptor of a full pipe that nothing reads, for start_node(..., console=...)."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, bytes(4096))
    os.set_blocking(writer, True)
    yield writer
    for end in (reader, writer):
        os.close(end)


@pytest.fixture(scope='session')
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """A tiny policy with random weights for the repository's contract."""
    from restac_ros.contract.load import load_contract
    from restac_ros.policy.init_checkpoint import init_checkpoint

    path = tmp_path_factory.mktemp('checkpoint') / 'tiny'
    init_checkpoint('tiny', load_contract(repository / 'config' / 'contract.yaml'), path, seed=1)
    return path


@pytest.fixture(scope='session')
def patient_contract_file(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """The shipped contract, older samples and slower cameras allowed: a busy machine makes no fault."""
    text = (repository / 'config' / 'contract.yaml').read_text().replace('rate_hz: 30\n', 'rate_hz: 15\n')
    path = tmp_path_factory.mktemp('patient') / 'contract.yaml'
    path.write_text(re.sub(r'max_age_ms: \d+', 'max_age_ms: 1500', text))
    return path


@pytest.fixture(scope='session')
def compile_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compiled programs shared by the policy nodes of this test run."""
    return tmp_path_factory.mktemp('compiled')


@pytest.fixture
def robot(ros_domain: int, repository: Path, start_node: Callable[..., NodeProcess]) -> Iterator[Any]:
    """Publishes all streams from a thread, as drivers do, and keeps what the nodes publish.

    It leaves before the nodes do: the middleware has crashed while it left just after one was killed.
    """
    pytest.importorskip('rclpy')
    pytest.importorskip('restac_ros.msg', reason='the messages are not built: `make build`')
    from robot import Robot

    robot = Robot(repository / 'config' / 'contract.yaml', ros_domain)
    yield robot
    robot.close()

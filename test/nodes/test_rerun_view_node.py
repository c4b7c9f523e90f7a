"""rerun_view_node as a process: what a browser would receive is what the node was fed."""

import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from node_process import NodeProcess, poll_until

pytest.importorskip('rclpy')
pytest.importorskip('rerun', reason='the extra view is not installed')
pytest.importorskip('restac_ros.msg', reason='the messages are not built: `make build`')

import socket

from policy_feeder import PolicyFeeder
from rerun_file import RerunFile
from restac_ros.view.rerun.viewer import LOCALHOST, ViewerPlace, server_command


def free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind((LOCALHOST, 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


@pytest.fixture
def place() -> ViewerPlace:
    return ViewerPlace(LOCALHOST, *free_ports(2))


@pytest.fixture
def start(start_node: Callable[..., NodeProcess], place: ViewerPlace) -> Callable[..., NodeProcess]:
    ports = {'web_port': place.web_port, 'data_port': place.data_port}
    return partial(start_node, 'rerun_view_node', reference_frames=3, **ports)


@pytest.fixture
def feeder(repository: Path, ros_domain: int) -> Iterator[PolicyFeeder]:
    feeder = PolicyFeeder(repository / 'config' / 'contract.yaml', ros_domain)
    yield feeder
    feeder.close()


@pytest.fixture
def browser(place: ViewerPlace, tmp_path: Path) -> Iterator[Path]:
    """Something that receives what a browser does, and writes it to this file."""
    file = tmp_path / 'received.rrd'
    program = server_command(place, '64MB')[0]
    receiver = None

    def listens() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((LOCALHOST, place.data_port)) == 0

    def receive() -> Path:
        nonlocal receiver
        poll_until(listens, 'the server does not listen')
        receiver = subprocess.Popen([program, place.data_url, '--save', str(file)])
        return file

    yield receive
    if receiver is not None:
        receiver.kill()
        receiver.wait()


def test_a_browser_receives_what_the_node_was_fed(
    start: Callable, feeder: PolicyFeeder, browser: Callable[[], Path], place: ViewerPlace
) -> None:
    view = start()
    view.wait_for(rf'open http://127.0.0.1:{place.web_port}/')
    file = browser()
    wanted = {'/plots/gate', '/plots/durations/act', '/touch/change', '/world/robot', '/world/chunk'}

    shown = None

    def received() -> bool:
        nonlocal shown
        if not file.is_file() or file.stat().st_size < 20_000:
            return False
        try:
            shown = RerunFile(file)
        except RuntimeError:  # its last message is still being written
            return False
        return wanted <= shown.entities

    feeder.until(received)
    assert set(shown.values('/plots/gate', 'Scalars:scalars')) == {0.75}
    assert set(shown.values('/plots/durations/touch', 'Scalars:scalars')) == {8.0}
    assert view.end() == 0
    assert view.summary['received']['gate'] > 0
    assert view.summary['latencies_ms']['draw']['count'] > 0


def test_a_port_that_is_taken_is_refused_by_name(start: Callable, place: ViewerPlace) -> None:
    with socket.socket() as other:
        other.bind((LOCALHOST, place.web_port))
        other.listen()
        view = start(exit_on_refusal=True)
        view.wait_for(rf'web_port {place.web_port} of 127.0.0.1: .*in use')
        assert view.wait() == 1

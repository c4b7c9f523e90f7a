"""The server of the page: for this machine only, ended with whoever started it."""

import importlib.util
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from node_process import poll_until
from restac_ros.commands.data import View
from restac_ros.commands.run import Up
from restac_ros.view.errors import ViewError
from restac_ros.view.rerun.viewer import LOCALHOST, ViewerPlace, ViewerServer, check_ports


@pytest.fixture
def place() -> ViewerPlace:
    with socket.socket() as first, socket.socket() as second:
        ports = []
        for probe in (first, second):
            probe.bind((LOCALHOST, 0))
            ports.append(probe.getsockname()[1])
    return ViewerPlace(LOCALHOST, *ports)


@pytest.fixture
def without_rerun(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, 'find_spec', lambda name, *rest: None if name == 'rerun' else found(name, *rest)
    )


def listening(process: psutil.Process) -> set[tuple[str, int]]:
    """Addresses and ports that a process listens at."""
    return {
        (found.laddr.ip, found.laddr.port)
        for found in process.net_connections('tcp')
        if found.status == psutil.CONN_LISTEN
    }


def test_the_page_names_its_data() -> None:
    place = ViewerPlace(LOCALHOST, 9090, 9876)
    assert place.data_url == 'rerun+http://127.0.0.1:9876/proxy'
    assert place.page == 'http://127.0.0.1:9090/?url=rerun%2Bhttp%3A%2F%2F127.0.0.1%3A9876%2Fproxy'
    assert ViewerPlace('0.0.0.0', 9090, 9876).page == place.page


def test_a_port_that_is_taken_is_named(place: ViewerPlace) -> None:
    with socket.socket() as other:
        other.bind((LOCALHOST, place.data_port))
        other.listen()
        with pytest.raises(ViewError, match=rf'data_port {place.data_port} of 127.0.0.1: .*in use'):
            check_ports(place)
    check_ports(place)


@pytest.mark.usefixtures('without_rerun')
@pytest.mark.parametrize(
    'start',
    [
        lambda folder: View((folder,), rerun=True).run(),
        lambda folder: View((folder,), rrd=folder / 'run.rrd').run(),
        lambda folder: Up(view='rerun', run_dir=folder).run(),
        lambda folder: ViewerServer(ViewerPlace(LOCALHOST, 9090, 9876)),
    ],
)
def test_without_rerun_the_extra_is_named(start: Callable[[Path], object], tmp_path: Path) -> None:
    with pytest.raises(ViewError, match=r"pip install 'restac_ros\[view\]'"):
        start(tmp_path)


def test_the_server_listens_to_this_machine_only_and_ends(place: ViewerPlace) -> None:
    pytest.importorskip('rerun_cli')
    with ViewerServer(place) as server:
        child = psutil.Process(server.pid)
        wanted = {(LOCALHOST, place.web_port), (LOCALHOST, place.data_port)}
        poll_until(lambda: listening(child) >= wanted, lambda: f'listens at {listening(child)}')
        assert listening(child) == wanted
        assert server.ended is None
    assert server.ended is not None
    assert not child.is_running()


def test_the_server_ends_with_a_process_that_is_killed(place: ViewerPlace) -> None:
    pytest.importorskip('rerun_cli')
    program = (
        'import sys; from restac_ros.view.rerun.viewer import *; '
        f'print(ViewerServer(ViewerPlace(*{tuple(place)!r})).pid, flush=True); sys.stdin.read()'
    )
    owner = subprocess.Popen(
        [sys.executable, '-c', program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    child = psutil.Process(int(owner.stdout.readline()))
    owner.kill()
    owner.communicate()
    poll_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, 'the server stays')

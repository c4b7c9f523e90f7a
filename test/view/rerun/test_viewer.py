"""The server of the page: for this machine only, ended with whoever started it."""

import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest

from node_process import poll_until
from restac_ros.commands.data import View
from restac_ros.commands.run import Up
from restac_ros.contract.schema import Contract
from restac_ros.view.errors import ViewError
from restac_ros.view.rerun.viewer import (
    BROWSER_BYTES,
    LOCALHOST,
    ViewerPlace,
    ViewerServer,
    browser_problem,
    check_ports,
    memory_of,
    server_command,
)
from restac_ros.view.scene import SceneOptions


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
    with pytest.raises(ViewError, match=r"pip install -e '\.\[view\]'"):
        start(tmp_path)


def test_the_server_of_a_file_may_keep_all_of_it(tmp_path: Path) -> None:
    file = tmp_path / 'run.rrd'
    file.write_bytes(b'')
    os.truncate(file, 3_000_000_000)  # without using the disk
    assert memory_of([file]) == '3814MB'
    assert memory_of([file, file]) == '7564MB'


def test_a_file_that_no_browser_holds_is_said_with_the_other_way(tmp_path: Path) -> None:
    file = tmp_path / 'run.rrd'
    file.write_bytes(b'')
    os.truncate(file, BROWSER_BYTES)
    assert browser_problem(file) == ''
    os.truncate(file, BROWSER_BYTES + 500_000_000)
    assert re.search(r'^2\.5 GB are more than the 2 GB .*--rrd', browser_problem(file))


def test_a_server_that_takes_nothing_delays_no_drawing_and_is_told_the_words_afterwards(
    place: ViewerPlace, contract: Contract, tmp_path: Path
) -> None:
    pytest.importorskip('rerun')
    from rerun_file import RerunFile
    from restac_ros.view.rerun.recordings import new_recording
    from restac_ros.view.rerun.sink import RerunSink

    image = np.random.default_rng(0).integers(0, 255, (480, 480, 3), np.uint8)
    with ViewerServer(place, '64MB') as server:
        recording = new_recording('test', contract)
        recording.connect_grpc(place.data_url)
        sink = RerunSink(recording, contract, 'gelsight_left', SceneOptions())
        now_ns = 0

        def draw() -> bool:
            nonlocal now_ns
            now_ns += 1_000_000
            sink.add_image('main', image, now_ns)
            sink.draw(now_ns)
            sink.check_taken(0.02)
            return sink.is_stalled

        sink.add_subtask('reach', 0)
        poll_until(lambda: not draw(), 'the server takes nothing')
        os.kill(server.pid, signal.SIGSTOP)
        try:
            poll_until(draw, 'a stopped server takes everything')
            sink.add_subtask('insert', now_ns)
            left_out, start_s = sink.left_out, time.monotonic()
            stalled = [draw() for _ in range(50)]
            took_s = time.monotonic() - start_s
        finally:
            os.kill(server.pid, signal.SIGCONT)
        assert all(stalled)
        assert sink.left_out == left_out + 50
        assert took_s < 10
        poll_until(lambda: not draw(), 'the server takes nothing afterwards')
        poll_until(lambda: not draw(), 'the server takes nothing afterwards')
        received = tmp_path / 'received.rrd'
        program = server_command(place, '64MB')[0]
        browser = subprocess.Popen([program, place.data_url, '--save', str(received)])
        try:
            poll_until(lambda: 'insert' in str(texts(received, RerunFile)), 'the subtask is not told')
        finally:
            browser.kill()
            browser.wait()
        recording.disconnect()


def texts(received: Path, reader: type) -> list[str]:
    """The subtasks of a file that is still being written."""
    try:
        return reader(received).values('/texts/subtask', 'TextLog:text')
    except (OSError, RuntimeError, ValueError):
        return []


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

"""The supervisor with small real processes in place of nodes."""

import fcntl
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from restac_ros.installation import PACKAGE
from restac_ros.process import Process
from restac_ros.supervise import Supervisor, command, environment

LISTENER = """
import pathlib, signal, sys
said = pathlib.Path(sys.argv[0]).with_suffix('.stopped')
signal.signal(signal.SIGTERM, lambda *_: (said.write_text('in order'), sys.exit(0)))
pathlib.Path(sys.argv[0]).with_suffix('.ready').touch()
signal.pause()
"""
SPEAKER = """
import pathlib, sys, threading
ready = pathlib.Path(sys.argv[0]).with_name('listener.ready')
while not ready.exists():
    threading.Event().wait(0.01)
"""


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """lib/restac_ros of an install prefix; tests put programs there."""
    prefix = tmp_path / 'prefix'
    (prefix / 'share' / PACKAGE).mkdir(parents=True)
    (prefix / 'share' / PACKAGE / 'package.xml').write_text('<package/>')
    monkeypatch.setenv('AMENT_PREFIX_PATH', str(prefix))
    folder = prefix / 'lib' / PACKAGE
    folder.mkdir(parents=True)
    return folder


def process(programs: Path, name: str, source: str, **options) -> Process:
    (programs / name).write_text(textwrap.dedent(source))
    return Process(name, {'summary_file': 'unused'}, **options)


def test_the_run_ends_when_the_source_has_played(programs: Path, tmp_path: Path) -> None:
    listed = [process(programs, 'listener', LISTENER), process(programs, 'speaker', SPEAKER, ends_run=True)]
    ending = Supervisor(listed, tmp_path / 'run').run()
    assert ending.code == 0
    assert (programs / 'listener.stopped').read_text() == 'in order'


LINGERING = """
import pathlib, sys, threading
here = pathlib.Path(sys.argv[0])
while not here.with_name('listener.ready').exists():
    threading.Event().wait(0.01)
here.with_suffix('.played').touch()
while not here.with_name('listener.stopped').exists():
    threading.Event().wait(0.01)
"""


def test_the_others_are_stopped_as_soon_as_the_source_has_played_and_it_ends_by_itself(
    programs: Path, tmp_path: Path
) -> None:
    source = process(programs, 'speaker', LINGERING, ends_run=True)
    source = replace(source, parameters={'summary_file': str(programs / 'speaker.json')})
    ending = Supervisor([process(programs, 'listener', LISTENER), source], tmp_path / 'run').run()
    assert (ending.code, ending.reason) == (0, 'speaker has played everything')


def test_a_process_that_dies_ends_the_run_and_is_named(programs: Path, tmp_path: Path) -> None:
    listed = [process(programs, 'listener', LISTENER), process(programs, 'broken', SPEAKER + 'sys.exit(3)')]
    ending = Supervisor(listed, tmp_path / 'run').run()
    assert ending.code == 1
    assert 'broken' in ending.reason
    assert 'exit status 3' in ending.reason
    assert (programs / 'listener.stopped').exists()


DYING = """
import os, pathlib, signal, sys
with pathlib.Path(sys.argv[0]).with_suffix('.starts').open('a') as file:
    file.write('x')
os.kill(os.getpid(), signal.SIGKILL)
"""
PATIENT = """
import pathlib, sys, threading
starts = pathlib.Path(sys.argv[0]).with_name('picture.starts')
while not starts.exists() or len(starts.read_text()) < 4:
    threading.Event().wait(0.01)
"""


def test_a_process_that_is_not_vital_is_started_again_and_the_run_goes_on(
    programs: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    listed = [
        process(programs, 'picture', DYING, vital=False),
        process(programs, 'speaker', PATIENT, ends_run=True),
    ]
    ending = Supervisor(listed, tmp_path / 'run').run()
    assert (ending.code, ending.reason) == (0, 'speaker has played everything')
    assert (programs / 'picture.starts').read_text() == 'xxxx', 'once, and three times again'
    said = capfd.readouterr().err
    assert 'picture ended by itself with signal SIGKILL: the run goes on' in said
    assert '(3 of 3)' in said


def test_one_that_is_not_vital_may_end_in_order(
    programs: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    done = """
    import pathlib, signal, sys
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    pathlib.Path(sys.argv[0]).with_name('listener.ready').touch()
    """
    listed = [
        process(programs, 'picture', done, vital=False),
        process(programs, 'speaker', SPEAKER, ends_run=True),
    ]
    assert Supervisor(listed, tmp_path / 'run').run().code == 0
    assert 'started again' not in capfd.readouterr().err


@pytest.fixture
def supervised(programs: Path, tmp_path: Path, wait_for_file) -> Iterator[Callable[..., subprocess.Popen]]:
    """Start a supervisor of one listener in a process of its own, as `restac-ros up` does."""
    process(programs, 'listener', LISTENER)
    program = f"""
import os, sys
from pathlib import Path
from restac_ros.process import Process
from restac_ros.supervise import Supervisor
Path({str(tmp_path / 'supervisor.pid')!r}).write_text(str(os.getpid()))
listener = Process('listener', {{'summary_file': 'x'}}, terminal=sys.argv[1])
ending = Supervisor([listener], Path({str(tmp_path / 'run')!r})).run()
print('ended:', ending.reason, flush=True)
sys.exit(ending.code)
"""
    (tmp_path / 'up.py').write_text(program)
    started: list[subprocess.Popen] = []

    def start(*before: str, terminal: str = '', **options) -> subprocess.Popen:
        line = [*before, sys.executable, str(tmp_path / 'up.py'), terminal]
        started.append(subprocess.Popen(line, env=dict(os.environ), **options))
        wait_for_file(programs / 'listener.ready')
        return started[-1]

    yield start
    for one in started:
        one.kill()
        one.wait()


@pytest.fixture(scope='session')
def wait_for_file() -> Callable[[Path], None]:
    """Polls until a file exists; fails after a generous deadline."""

    def wait(file: Path) -> None:
        deadline_s = time.monotonic() + 240
        while not file.exists():
            assert time.monotonic() < deadline_s, f'{file} has not been written'
            threading.Event().wait(0.01)

    return wait


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_a_request_to_end_and_a_closed_terminal_all_stop_in_order(
    programs: Path, supervised: Callable, number: signal.Signals
) -> None:
    child = supervised()
    child.send_signal(number)
    assert child.wait(timeout=240) == 130
    assert (programs / 'listener.stopped').exists()


def test_a_run_stops_in_order_when_the_shell_above_it_is_killed(
    programs: Path, supervised: Callable, wait_for_file
) -> None:
    shell = supervised('sh', '-c', '"$@" & wait', 'sh')
    shell.kill()
    wait_for_file(programs / 'listener.stopped')


def test_a_run_stops_in_order_when_its_terminal_is_closed(
    programs: Path, supervised: Callable, wait_for_file
) -> None:
    ours, theirs = pty.openpty()
    child = supervised(
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(theirs, termios.TIOCSCTTY, 0),
    )
    os.close(theirs)
    os.close(ours)
    wait_for_file(programs / 'listener.stopped')
    assert child.wait(timeout=240) == 130, 'what it prints then goes nowhere'


def test_keys_pressed_while_a_run_ends_do_not_reach_the_shell(programs: Path, supervised: Callable) -> None:
    ours, theirs = pty.openpty()
    child = supervised(
        terminal='keys',
        stdin=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(theirs, termios.TIOCSCTTY, 0),
    )
    os.write(ours, b'rm all\n')
    assert select.select([theirs], [], [], 60)[0] == [theirs]
    child.send_signal(signal.SIGINT)
    assert child.wait(timeout=240) == 130
    assert select.select([theirs], [], [], 0)[0] == []


def test_a_second_interrupt_is_passed_on(programs: Path, supervised: Callable, wait_for_file) -> None:
    patient = """
    import pathlib, signal, sys
    here = pathlib.Path(sys.argv[0])
    asked = []
    def ask(*_):
        asked.append(1)
        here.with_suffix(f'.asked{len(asked)}').touch()
        if len(asked) > 1:
            sys.exit(0)
    signal.signal(signal.SIGTERM, ask)
    here.with_suffix('.ready').touch()
    while True:
        signal.pause()
    """
    process(programs, 'listener', patient)
    child = supervised()
    child.send_signal(signal.SIGINT)
    wait_for_file(programs / 'listener.asked1')
    child.send_signal(signal.SIGINT)
    wait_for_file(programs / 'listener.asked2')
    assert child.wait(timeout=240) == 130


def test_what_an_earlier_run_left_is_not_taken_for_this_ones(programs: Path, tmp_path: Path) -> None:
    left = tmp_path / 'listener.json'
    left.write_text('{}')
    silent = process(programs, 'listener', 'raise SystemExit(0)')
    Supervisor([replace(silent, parameters={'summary_file': str(left)})], tmp_path / 'run').run()
    assert not left.exists()


@pytest.mark.parametrize(
    ('value', 'written'),
    [
        (True, 'true'),
        (3, '3'),
        (0.5, '0.5'),
        ('', "''"),
        ('yes', "'yes'"),
        ("the robot's plug", "'the robot''s plug'"),
    ],
)
def test_parameters_keep_their_type_on_the_command_line(programs: Path, value: object, written: str) -> None:
    listed = Process('node', {'x': value})
    assert command(listed)[-1] == f'x:={written}'


def test_a_played_bag_stays_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv('ROS_AUTOMATIC_DISCOVERY_RANGE', raising=False)
    assert environment(publishes_sensor_topics=True)['ROS_AUTOMATIC_DISCOVERY_RANGE'] == 'LOCALHOST'
    assert 'ROS_AUTOMATIC_DISCOVERY_RANGE' not in environment(publishes_sensor_topics=False)

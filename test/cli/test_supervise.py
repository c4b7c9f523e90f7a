"""The supervisor with small real processes in place of nodes."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from restac_ros import graph
from restac_ros.graph import Process
from restac_ros.supervise import Supervisor, command, environment

LISTENER = """
import pathlib, signal, sys
said = pathlib.Path(sys.argv[0]).with_suffix('.stopped')
signal.signal(signal.SIGINT, lambda *_: (said.write_text('in order'), sys.exit(0)))
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
    (prefix / 'share' / graph.PACKAGE).mkdir(parents=True)
    (prefix / 'share' / graph.PACKAGE / 'package.xml').write_text('<package/>')
    monkeypatch.setenv('AMENT_PREFIX_PATH', str(prefix))
    folder = prefix / 'lib' / graph.PACKAGE
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
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pathlib.Path(sys.argv[0]).with_name('listener.ready').touch()
    """
    listed = [
        process(programs, 'picture', done, vital=False),
        process(programs, 'speaker', SPEAKER, ends_run=True),
    ]
    assert Supervisor(listed, tmp_path / 'run').run().code == 0
    assert 'started again' not in capfd.readouterr().err


def test_an_interrupt_stops_everything_in_order(programs: Path, tmp_path: Path) -> None:
    process(programs, 'listener', LISTENER)
    program = f"""
import sys
from pathlib import Path
from restac_ros.graph import Process
from restac_ros.supervise import Supervisor
ending = Supervisor([Process('listener', {{'summary_file': 'x'}})], Path({str(tmp_path / 'run')!r})).run()
sys.exit(ending.code)
"""
    child = subprocess.Popen([sys.executable, '-c', program], env=dict(os.environ))
    try:
        while not (programs / 'listener.ready').exists():
            assert child.poll() is None, 'the supervisor ended before its process was up'
        child.send_signal(signal.SIGINT)
        assert child.wait(timeout=30) == 130
    finally:
        child.kill()
    assert (programs / 'listener.stopped').exists()


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

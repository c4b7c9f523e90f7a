"""Commands that are asked to stop: by Ctrl-C, by SIGTERM, or because their terminal is closed."""

import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from restac_ros.stopping import STOP_SIGNALS

LIMIT_S = 240
OWN_TERMINAL = 'import fcntl, termios\nfcntl.ioctl(0, termios.TIOCSCTTY, 0)\n'
INTERRUPTED = """
from pathlib import Path
import sys
from restac_ros.stopping import interrupt_when_asked
interrupt_when_asked()
try:
    Path(sys.argv[1]).touch()
    while True:
        print('at work', flush=True)
except KeyboardInterrupt:
    print('this goes nowhere', flush=True)
    Path(sys.argv[2]).write_text('interrupted')
"""
NOTED = """
from pathlib import Path
import sys
from restac_ros.stopping import noting_stops
with noting_stops() as caught:
    Path(sys.argv[1]).touch()
    while not caught:
        pass
    print('this goes nowhere', flush=True)
    Path(sys.argv[2]).write_text('saved')
"""


@pytest.fixture
def started(tmp_path: Path) -> Callable[..., subprocess.Popen]:
    """Starts a program and waits until it works."""

    def start(program: str, *before: str, **options: object) -> subprocess.Popen:
        ready = tmp_path / 'ready'
        child = subprocess.Popen(
            [*before, sys.executable, '-P', '-c', program, str(ready), str(tmp_path / 'end')],
            **{'stdout': subprocess.DEVNULL, **options},
        )
        deadline_s = time.monotonic() + LIMIT_S
        while not ready.exists():
            assert child.poll() is None
            assert time.monotonic() < deadline_s
            threading.Event().wait(0.01)
        return child

    return start


@pytest.mark.parametrize(('program', 'said'), [(INTERRUPTED, 'interrupted'), (NOTED, 'saved')])
@pytest.mark.parametrize('number', STOP_SIGNALS)
def test_every_stop_signal_ends_work_in_order(
    started: Callable, tmp_path: Path, number: signal.Signals, program: str, said: str
) -> None:
    child = started(program)
    child.send_signal(number)
    assert child.wait(LIMIT_S) == 0
    assert (tmp_path / 'end').read_text() == said


@pytest.mark.parametrize(('program', 'said'), [(INTERRUPTED, 'interrupted'), (NOTED, 'saved')])
def test_work_ends_in_order_when_its_terminal_is_closed(
    started: Callable, tmp_path: Path, program: str, said: str
) -> None:
    ours, theirs = pty.openpty()
    drain = threading.Thread(target=_drain, args=(ours,))
    drain.start()
    child = started(
        f'{OWN_TERMINAL}{program}', stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    child.send_signal(signal.SIGHUP)
    assert child.wait(LIMIT_S) == 0, 'what it prints then goes nowhere'
    drain.join(LIMIT_S)
    os.close(ours)
    assert (tmp_path / 'end').read_text() == said


def _drain(descriptor: int) -> None:
    """Read what a terminal shows, until nobody has it open."""
    try:
        while os.read(descriptor, 65536):
            pass
    except OSError:
        return


def test_a_second_signal_does_what_it_did_before(started: Callable) -> None:
    stubborn = NOTED.replace('while not caught:', 'while True:')
    child = started(stubborn)
    child.send_signal(signal.SIGTERM)
    deadline_s = time.monotonic() + LIMIT_S
    while child.poll() is None and time.monotonic() < deadline_s:
        child.send_signal(signal.SIGTERM)
        threading.Event().wait(0.01)
    assert child.wait(LIMIT_S) == -signal.SIGTERM


def test_nohup_outlives_its_terminal(started: Callable, tmp_path: Path) -> None:
    child = started(NOTED, 'nohup')
    child.send_signal(signal.SIGHUP)
    child.send_signal(signal.SIGTERM)
    assert child.wait(LIMIT_S) == 0
    assert (tmp_path / 'end').read_text() == 'saved'

"""Detects when a process must stop: on a signal, or when the process that started it is gone.

Imported first by every program, so that the parent is known from the beginning.
"""

import os
import select
import signal
import threading
from collections.abc import Callable

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_POLL_S = 0.1
_PARENT = os.getppid()


def end_at_once(status: int) -> None:
    """End without a traceback on a stop signal, while imports run."""
    for number in STOP_SIGNALS:
        if number != signal.SIGHUP or not survives_terminal():
            signal.signal(number, lambda *_: os._exit(status))


def is_orphan() -> bool:
    """Return whether the process that started this one is gone; False for a child of init."""
    return _PARENT > 1 and os.getppid() != _PARENT


def survives_terminal() -> bool:
    """Return whether this process was started with nohup, to outlive its terminal."""
    return signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def watch(asked: Callable[[str], None], poll: Callable[[], None]) -> None:
    """Call `asked` with the reason for every stop signal, and once when the parent is gone.

    Both are called in a thread, `poll` every `_POLL_S`, so that a busy main thread delays neither.
    """
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in STOP_SIGNALS:
        if number != signal.SIGHUP or not survives_terminal():
            signal.signal(number, lambda *_: None)

    def run() -> None:
        left_alone = False
        while True:
            if select.select([reader], [], [], _POLL_S)[0]:
                for number in os.read(reader, 64):
                    if number in STOP_SIGNALS:
                        asked(signal.Signals(number).name)
            if not left_alone and is_orphan():
                left_alone = True
                asked('the process that started this one is gone')
            poll()

    threading.Thread(target=run, name='stop', daemon=True).start()

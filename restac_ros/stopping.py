"""Detects when a process must stop: on a signal, or when the process that started it is gone.

Imported first by every program, so that the parent is known from the beginning.
"""

import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_POLL_S = 0.1
_PARENT = os.getppid()
_TERMINALS = [number for number in (0, 1, 2) if os.isatty(number)]


def end_at_once(status: int) -> None:
    """End without a traceback on a stop signal, while imports run."""
    for number in heeded():
        signal.signal(number, lambda *_: os._exit(status))


def is_orphan() -> bool:
    """Return whether the process that started this one is gone; False for a child of init."""
    return _PARENT > 1 and os.getppid() != _PARENT


def survives_terminal() -> bool:
    """Return whether this process was started with nohup, to outlive its terminal."""
    return signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def heeded() -> list[signal.Signals]:
    """Return the stop signals that this process ends on; without SIGHUP when it was started with nohup."""
    return [number for number in STOP_SIGNALS if number != signal.SIGHUP or not survives_terminal()]


def let_go_of_terminal() -> None:
    """Redirect descriptors of a closed terminal to nowhere, so that later output raises no error."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in _TERMINALS:
        os.dup2(nowhere, number)
    os.close(nowhere)


def interrupt_when_asked() -> None:
    """Raise KeyboardInterrupt on every stop signal, so that a closed terminal ends work as Ctrl-C does."""

    def interrupt(number: int, _: object) -> None:
        if number == signal.SIGHUP:
            let_go_of_terminal()
        raise KeyboardInterrupt

    for number in heeded():
        signal.signal(number, interrupt)


@contextmanager
def noting_stops() -> Iterator[list[int]]:
    """Collect stop signals while the block runs, for work that ends where its state is whole.

    A second signal of a kind does what it did before the block.
    """
    caught: list[int] = []

    def note(number: int, _: object) -> None:
        caught.append(number)
        signal.signal(number, before[signal.Signals(number)])
        if number == signal.SIGHUP:
            let_go_of_terminal()

    before = {number: signal.getsignal(number) for number in heeded()}
    for number in before:
        signal.signal(number, note)
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def watch(asked: Callable[[str], None], poll: Callable[[], None]) -> None:
    """Call `asked` with the reason for every stop signal, and once when the parent is gone.

    Both are called in a thread, `poll` every `_POLL_S`, so that a busy main thread delays neither.
    """
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in heeded():
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

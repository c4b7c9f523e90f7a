"""Reads keys one by one, and log lines of other processes."""

import codecs
import os
import re
import selectors
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

_READ_BYTES = 64 * 2**10
LOG_LINE = re.compile(r'\[(?P<level>[A-Z]+)\] \[[\d.]+\] \[[\w.]+\]: (?P<text>.*)')
_INTERRUPT_FLAG = 3  # index of the local modes in the list of termios


class Inputs:
    """Reads keys from stdin, and lines of other processes from a pipe."""

    def __init__(self, on_key: Callable[[str], None], on_lost: Callable[[], None]) -> None:
        self._selector = selectors.DefaultSelector()
        self._on_key, self._on_lost = on_key, on_lost
        self._decoder = codecs.getincrementaldecoder('utf-8')(errors='ignore')
        self._selector.register(sys.stdin.fileno(), selectors.EVENT_READ, self._read_keys)
        self.lines_ended = True

    def read_lines(self, descriptor: int, on_line: Callable[[str], None]) -> None:
        """Pass every line of a pipe to `on_line`, until all its writers have ended."""
        pending = bytearray()
        self.lines_ended = False

        def read() -> None:
            data = os.read(descriptor, _READ_BYTES)
            if not data:
                self._selector.unregister(descriptor)
                self.lines_ended = True
            pending.extend(data)
            *lines, rest = pending.split(b'\n')
            pending[:] = rest
            for line in lines:
                on_line(line.decode(errors='replace'))

        self._selector.register(descriptor, selectors.EVENT_READ, read)

    def poll(self, timeout_s: float) -> None:
        """Read what has arrived; wait at most `timeout_s`."""
        for key, _ in self._selector.select(timeout_s):
            key.data()

    def _read_keys(self) -> None:
        try:
            data = os.read(sys.stdin.fileno(), _READ_BYTES)
        except OSError:
            data = b''
        if not data:
            self._selector.unregister(sys.stdin.fileno())
            self._on_lost()
        for key in self._decoder.decode(data):
            self._on_key(key)


@contextmanager
def single_keys(with_interrupt: bool) -> Iterator[None]:
    """Read keys unbuffered and without echo; `with_interrupt` Ctrl-C is one of them."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    if with_interrupt:
        now = termios.tcgetattr(descriptor)
        now[_INTERRUPT_FLAG] &= ~termios.ISIG
        termios.tcsetattr(descriptor, termios.TCSANOW, now)
    try:
        yield
    finally:
        with suppress(termios.error):  # the terminal may be gone
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)

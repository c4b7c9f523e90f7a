"""Keeps a process that moves an arm running while its console is blocked by Ctrl-S or a full pipe.

rclpy writes log lines to stderr while it holds Python's interpreter lock: a blocked write stops every thread.
"""

import fcntl
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

STDERR = 2
CAPACITY_BYTES = 1 << 20  # of the pipe in between; output to a full pipe is lost
_READ_BYTES = 65_536
PATIENCE_S = 1.0  # for the last lines, at the end of the process


@contextmanager
def unblocked_stderr() -> Iterator[None]:
    """Redirect stderr to a non-blocking pipe, which a thread copies to the console."""
    sys.stderr.flush()
    console = os.dup(STDERR)
    if os.isatty(console):  # rcutils sees only the pipe
        os.environ.setdefault('RCUTILS_COLORIZED_OUTPUT', '1')
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, CAPACITY_BYTES)
    os.set_blocking(writer, False)
    os.dup2(writer, STDERR)
    os.close(writer)
    copier = threading.Thread(target=_copy, args=(reader, console), name='console', daemon=True)
    copier.start()
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(console, STDERR)  # closes the pipe's last writer: the thread ends once it is empty
        copier.join(PATIENCE_S)


def _copy(reader: int, console: int) -> None:
    with suppress(OSError):  # the terminal has been closed
        while content := os.read(reader, _READ_BYTES):
            while content:
                content = content[os.write(console, content) :]

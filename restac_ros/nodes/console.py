"""Keeps a node running while its console is blocked by Ctrl-S or a full pipe.

rclpy writes log lines to stderr while it holds Python's interpreter lock: a blocked write stops every thread.
"""

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress

STDERR = 2
CAPACITY_BYTES = 1 << 20  # of the pipe in between; output to a full pipe is lost
PATIENCE_S = 1.0  # for the last lines, at the end of the process


def unblock_stderr() -> Callable[[], None]:
    """Redirect stderr to a non-blocking pipe; return a function that undoes it.

    A process copies the pipe to the console. It outlives this one, so that the last lines of a crash appear.
    """
    sys.stderr.flush()
    console = os.dup(STDERR)
    if os.isatty(console):  # rcutils finds only the pipe
        os.environ.setdefault('RCUTILS_COLORIZED_OUTPUT', '1')
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, CAPACITY_BYTES)
    # A session of its own: Ctrl-C in the terminal must not end it.
    copier = subprocess.Popen(['cat'], stdin=reader, stdout=console, start_new_session=True)
    os.close(reader)
    os.set_blocking(writer, False)
    os.dup2(writer, STDERR)
    os.close(writer)

    def restore() -> None:
        sys.stderr.flush()
        os.dup2(console, STDERR)  # closes the pipe's last writer: the copier ends once it is empty
        with suppress(subprocess.TimeoutExpired):
            copier.wait(PATIENCE_S)

    return restore

"""A command of `restac-ros` in a pseudo-terminal of its own."""

import os
import pty
import subprocess
import sys
import threading

COMMAND = [sys.executable, '-P', '-m', 'restac_ros.cli']


class Terminal:
    """The command, its keyboard, and all that it has shown."""

    def __init__(self, line: list[str], env: dict[str, str]) -> None:
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(line, env=env, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        self.shown = ''
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def press(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def close(self) -> None:
        """As when its window is closed."""
        os.close(self._ours)

    def end(self) -> None:
        """End the command if it still runs."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._ours, 65536)
            except OSError:  # the command has ended, or the window was closed
                return
            self.shown += data.decode(errors='replace')

"""Rerun's own server as a child process: a page for a browser, and a port that receives what is logged.

The SDK can serve both, too, but only to every interface of the machine.
"""

import ctypes
import importlib.util
import json
import math
import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self
from urllib.parse import quote

from restac_ros.view.errors import ViewError

LOCALHOST = '127.0.0.1'
BROWSER_BYTES = 2_000_000_000  # a page has 4 GB at most, and holds more than the file's bytes
_SPARE = 1.25  # a server's own bookkeeping; 1.1 were enough for images and for numbers alone
_PR_SET_PDEATHSIG = 1
_GRACE_S = 5.0


class ViewerPlace(NamedTuple):
    """Where a server listens: an address of this machine, and the ports of the page and of the data."""

    bind: str
    web_port: int
    data_port: int

    @property
    def data_url(self) -> str:
        """URL that the SDK logs to and the page reads from."""
        return f'rerun+http://{self._host}:{self.data_port}/proxy'

    @property
    def page(self) -> str:
        """URL of the page for a browser."""
        return f'http://{self._host}:{self.web_port}/?url={quote(self.data_url, safe="")}'

    @property
    def _host(self) -> str:
        """Address of the server from this machine: localhost where it listens on all interfaces."""
        return LOCALHOST if self.bind in ('0.0.0.0', '::') else self.bind


def require_rerun() -> None:
    """Refuse to go on without the SDK.

    Raises:
        ViewError: it is not installed; the text names the extra.
    """
    if importlib.util.find_spec('rerun') is None or importlib.util.find_spec('rerun_cli') is None:
        raise ViewError(
            "Rerun is not installed: pip install -e '.[view]' in the clone of restac_ros "
            "(or 'rerun-sdk>=0.41', 170 MB)"
        )


def memory_of(files: Sequence[Path]) -> str:
    """Return what a server must be allowed to keep, so that it keeps `files` whole."""
    size = sum(file.stat().st_size for file in files)
    return f'{math.ceil(size * _SPARE / 1e6) + 64}MB'


def browser_problem(file: Path) -> str:
    """Return why a browser cannot hold `file`, and what can; '' where it can."""
    if (size := file.stat().st_size) <= BROWSER_BYTES:
        return ''
    return (
        f'{size / 1e9:.1f} GB are more than the {BROWSER_BYTES / 1e9:.0f} GB that a browser holds: it will '
        "drop the beginning. Write a file with --rrd and open it with Rerun's own window: rerun FILE"
    )


def server_command(place: ViewerPlace, memory: str, files: Sequence[Path] = ()) -> list[str]:
    """Return the command line of the server, which shows `files` (.rrd) and keeps at most `memory`."""
    spec = importlib.util.find_spec('rerun_cli')
    if spec is None or spec.origin is None:
        raise ViewError('rerun_cli, the server of the extra view, is not installed')
    program = Path(spec.origin).parent / 'rerun'
    line = [str(program), '--serve-web', '--bind', place.bind, '--port', str(place.data_port)]
    line += ['--web-viewer-port', str(place.web_port), '--server-memory-limit', memory]
    return [*line, '--hide-welcome-screen', *map(str, files)]


def check_ports(place: ViewerPlace) -> None:
    """Refuse ports that others hold.

    Raises:
        ViewError: one is in use, or the address is none of this machine.
    """
    for name, port in (('web_port', place.web_port), ('data_port', place.data_port)):
        with socket.socket(socket.AF_INET6 if ':' in place.bind else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((place.bind, port))
            except OSError as error:
                found = f'{name} {port} of {place.bind}: {error.strerror}'
                raise ViewError(f'{found}; choose another port, or end what holds it') from error


class ViewerServer:
    """The server while it runs; it ends with `close`, and with the process that started it."""

    def __init__(self, place: ViewerPlace, memory: str = '512MB', files: Sequence[Path] = ()) -> None:
        """Start the server.

        Raises:
            ViewError: Rerun is not installed, or a port is in use.
        """
        require_rerun()
        check_ports(place)
        self.place = place
        self._settings = tempfile.TemporaryDirectory(prefix='restac_ros_')
        _report_nothing(Path(self._settings.name))
        env = {'RUST_LOG': 'warn', **os.environ, 'XDG_CONFIG_HOME': self._settings.name}
        self._process = subprocess.Popen(
            server_command(place, memory, files),
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_end_with_parent(os.getpid()),
        )

    @property
    def ended(self) -> int | None:
        """Exit status of the server; None while it runs."""
        return self._process.poll()

    @property
    def pid(self) -> int:
        """Process id of the server."""
        return self._process.pid

    def close(self) -> None:
        """Stop the server."""
        self._process.terminate()
        try:
            self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._settings.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self.close()


def _report_nothing(settings: Path) -> None:
    """Turn off the server's usage statistics, which it sends to its makers by default."""
    file = settings / 'rerun' / 'analytics.json'
    file.parent.mkdir()
    choice = {'analytics_enabled': False, 'analytics_id': '', 'metadata': {}, 'config_file_path': str(file)}
    file.write_text(json.dumps(choice | {'data_dir_path': str(settings)}), encoding='utf-8')


def _end_with_parent(parent: int) -> Callable[[], None]:
    """Return what a child calls before it becomes another program: the kernel ends it with its parent."""
    libc = ctypes.CDLL(None, use_errno=True)

    def prepare() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)  # the parent ended meanwhile

    return prepare

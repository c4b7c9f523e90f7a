"""`restac-ros record`: the recorder and its link as processes, the terminal as their keyboard and display."""

import codecs
import json
import os
import re
import selectors
import signal
import subprocess
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from rich.live import Live
from rich.markup import escape

from restac_ros.commands.record_console import INTERRUPT, Call, RecordConsole, Request, SetTask
from restac_ros.commands.summary import print_summary, read_summaries
from restac_ros.graph import Process, Run, processes
from restac_ros.supervise import Ending, command

READ_BYTES = 64 * 2**10
REFRESH_S = 0.2
LOG_LINE = re.compile(r'\[(?P<level>[A-Z]+)\] \[[\d.]+\] \[\w+\]: (?P<text>.*)')
COLOURS = {'WARN': 'yellow', 'ERROR': 'red', 'FATAL': 'bold red'}


class TerminalError(RuntimeError):
    """There is no keyboard to record with."""


def record(run: Run) -> int:
    """Record episodes by keys until q; exit status 0 when all of it went well.

    Raises:
        TerminalError: stdin is not a terminal.
        GraphError: the run cannot be started as described.
    """
    if not sys.stdin.isatty():
        raise TerminalError(
            'stdin is not a terminal, and episodes are recorded by keys: run this in a terminal, or use '
            '`ros2 launch restac_ros record.launch.py` and the services of /recorder_node'
        )
    [listed] = processes(run)
    ours = {'exit_on_refusal': True, 'save_on_shutdown': True}
    recorder = replace(listed, parameters={**listed.parameters, **ours})
    run.directory.mkdir(parents=True, exist_ok=True)
    status = _Session(recorder, run.prompt).run()
    reason = 'in order' if status == 0 else f'the recorder stopped with status {status}, see above'
    print_summary(read_summaries([recorder]), Ending(status, reason))
    return status


class _Session:
    """Both processes and the terminal, from start to end."""

    def __init__(self, recorder: Process, task: str) -> None:
        self._console = RecordConsole(task)
        self._patience_s = recorder.patience_s
        self._recorder = _start(recorder, stdin=subprocess.DEVNULL)
        self._link = _start(
            Process('recorder_link_node', {}, namespace=recorder.namespace), stdin=subprocess.PIPE
        )
        self._decoder = codecs.getincrementaldecoder('utf-8')(errors='ignore')
        self._selector = selectors.DefaultSelector()
        self._requests: list[Request] = []
        self._interrupts, self._stopped = 0, False
        self._lost = self._told_to_end = False  # without a keyboard; by another process
        self._live = Live(self._console.render(), auto_refresh=False)

    def run(self) -> int:
        """The recorder's exit status. Whatever happens here, it is stopped in order."""
        stdin = sys.stdin.fileno()
        self._selector.register(stdin, selectors.EVENT_READ, self._read_keys)
        self._read_lines(self._link.stdout.fileno(), self._on_link)
        for pipe in (self._recorder.stdout, self._recorder.stderr, self._link.stderr):
            self._read_lines(pipe.fileno(), self._on_log)
        try:
            with _single_keys(stdin), _signals(self._on_signal), self._live:
                while self._recorder.poll() is None:
                    self._step()
                self._drain()
        except OSError:  # a terminal that is gone cannot be written to, either
            if not (self._lost or self._told_to_end):
                raise
        finally:
            self._end()
        return self._recorder.returncode

    def _step(self) -> None:
        for key, _ in self._selector.select(REFRESH_S):
            key.data()
        while self._interrupts:
            self._interrupts -= 1
            self._do(self._console.key(INTERRUPT))
        if self._lost or self._told_to_end or self._link.poll() is not None:
            self._do(self._console.lost())
        self._live.update(self._console.render(), refresh=True)

    def _drain(self) -> None:
        """Show what the recorder said last."""
        if not self._lost:
            self._selector.unregister(sys.stdin.fileno())
        while ready := self._selector.select(0):
            for key, _ in ready:
                key.data()

    def _end(self) -> None:
        if self._recorder.poll() is None:
            if not self._stopped:  # a second signal would give up the episode
                self._recorder.send_signal(signal.SIGINT)
            try:
                self._recorder.communicate(timeout=self._patience_s)
            except subprocess.TimeoutExpired:
                self._recorder.kill()
                self._recorder.wait()
        self._link.kill()  # it holds nothing
        self._link.wait()
        self._selector.close()

    def _read_keys(self) -> None:
        try:
            data = os.read(sys.stdin.fileno(), READ_BYTES)
        except OSError:
            data = b''
        if not data:  # the terminal is gone
            self._lost = True
            self._selector.unregister(sys.stdin.fileno())
        for key in self._decoder.decode(data):
            self._do(self._console.key(key))

    def _read_lines(self, descriptor: int, take: Callable[[str], None]) -> None:
        """Give every line that comes there to `take`."""
        pending = bytearray()

        def read() -> None:
            data = os.read(descriptor, READ_BYTES)
            if not data:
                self._selector.unregister(descriptor)
            pending.extend(data)
            *lines, rest = pending.split(b'\n')
            pending[:] = rest
            for line in lines:
                take(line.decode(errors='replace'))

        self._selector.register(descriptor, selectors.EVENT_READ, read)

    def _on_link(self, line: str) -> None:
        told = json.loads(line)
        if 'status' in told:
            self._console.told(told['status'])
        elif 'ready' in told:
            self._console.ready()
        else:
            self._do(self._console.answered(self._requests[told['id']], told['success']))

    def _on_log(self, line: str) -> None:
        found = LOG_LINE.fullmatch(line)
        text = escape(found['text'] if found else line)
        colour = COLOURS.get(found['level'], '') if found else ''
        self._print(f'[{colour}]{text}[/]' if colour else text)

    def _print(self, markup: str) -> None:
        self._live.console.print(markup, soft_wrap=True, highlight=False)

    def _do(self, requests: list[Request]) -> None:
        for request in requests:
            match request:
                case Call(name):
                    self._send(request, call=name)
                case SetTask(text):
                    self._send(request, task=text)
                case _:
                    self._stopped = True
                    self._recorder.send_signal(signal.SIGINT)

    def _send(self, request: Request, **content: str) -> None:
        self._link.stdin.write(json.dumps({'id': len(self._requests), **content}).encode() + b'\n')
        self._link.stdin.flush()
        self._requests.append(request)

    def _on_signal(self, number: int, _: object) -> None:
        if number == signal.SIGINT:
            self._interrupts += 1
        else:
            self._told_to_end = True


def _start(process: Process, stdin: int) -> subprocess.Popen:
    # A session of its own: a Ctrl-C in the terminal reaches us only, and we stop it in order.
    pipe = subprocess.PIPE
    return subprocess.Popen(command(process), stdin=stdin, stdout=pipe, stderr=pipe, start_new_session=True)


@contextmanager
def _single_keys(descriptor: int) -> Iterator[None]:
    """The terminal hands over keys at once and does not show them."""
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    try:
        yield
    finally:
        with suppress(termios.error):  # the terminal may be gone
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


@contextmanager
def _signals(handler: Callable[..., None]) -> Iterator[None]:
    """Ctrl-C, and a terminal that is closed, end the recording in order."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    previous = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)

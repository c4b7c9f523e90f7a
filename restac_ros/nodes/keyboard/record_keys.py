"""Keys and display of `restac-ros record`, without terminal and processes."""

import math
from enum import Enum, auto

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from restac_ros.msg import RecorderStatus
from restac_ros.nodes.keyboard.jog_keys import JogKeys
from restac_ros.nodes.keyboard.requests import ConsoleCall, ConsoleRequest, SetText, Stop
from restac_ros.nodes.keyboard.run_keys import TextEntry
from restac_ros.nodes.messages import RECORDER_STATES

RED = 'bold red'
_COLOURS = {'idle': 'green', 'recording': RED, 'paused': 'yellow', 'saving': 'cyan', 'error': RED}
KEYS = 'space: start/save   d: discard   p: pause/resume   n: next subtask   t: task   q: quit'
INTERRUPT = '\x03'
_STATES = {number: name for name, number in RECORDER_STATES.items()}


def is_open(status: RecorderStatus) -> bool:
    """Return whether a recorder has an episode open."""
    return _STATES[status.state] in ('recording', 'paused')


class _Mode(Enum):
    WAITING = auto()  # for the recorder
    OFFERING = auto()  # to recover recordings of a crashed run
    RUNNING = auto()
    TYPING = auto()  # the next task text
    ASKING = auto()  # whether to save the running episode
    DOUBTING = auto()  # whether to record although nothing is received
    ENDING = auto()


class RecordKeys:
    """Turns keys into requests, and statuses into a picture; with `jog` also keys that move the arm."""

    def __init__(self, task: str, jog: JogKeys | None = None) -> None:
        self._task = task  # of the next episode
        self._jog = jog
        self._entry = TextEntry()
        self._mode = _Mode.WAITING
        self._stop_when_done = False
        self._ready = False
        self._status: RecorderStatus | None = None

    def key(self, key: str) -> list[ConsoleRequest]:
        """Return the requests of a typed character, or of INTERRUPT for Ctrl-C."""
        if key == INTERRUPT:
            return self._interrupted()
        match self._mode:
            case _Mode.OFFERING if key in ('y', 'n'):
                self._mode = _Mode.RUNNING
                return [ConsoleCall('recover')] if key == 'y' else []
            case _Mode.RUNNING:
                return self._running_key(key)
            case _Mode.TYPING:
                return self._typing_key(key)
            case _Mode.ASKING:
                return self._asking_key(key)
            case _Mode.DOUBTING:
                self._mode = _Mode.RUNNING
                return [ConsoleCall('start')] if key == 'y' else []
            case _Mode.WAITING if key == 'q':
                return self._stop()
        return []

    def ready(self) -> None:
        """Note that the recorder can be called."""
        self._ready = True
        self._begin()

    def receive(self, status: RecorderStatus) -> None:
        """Show the recorder's newest status."""
        self._status = status
        if self._jog:
            self._jog.is_recorded = self._is_open
        self._begin()

    def lost(self) -> list[ConsoleRequest]:
        """Stop the recorder, once: the keyboard or the recorder is lost."""
        return [] if self._mode is _Mode.ENDING else self._stop()

    def answered(self, request: ConsoleRequest, success: bool) -> list[ConsoleRequest]:
        """Return the requests that follow a response of the recorder."""
        if not self._stop_when_done or request not in (ConsoleCall('save'), ConsoleCall('discard')):
            return []
        self._stop_when_done = False
        if success:
            return self._stop()
        self._mode = _Mode.RUNNING
        return []

    def render(self) -> RenderableType:
        """Return the live picture: state, streams, and the present keys."""
        if not self._status:
            return Text('waiting for the recorder; q: quit', style='dim')
        return Group(self._state_line(self._status), _streams(self._status), self._prompt())

    @property
    def _state(self) -> str:
        """The recorder's state; '' before its first status."""
        return _STATES[self._status.state] if self._status else ''

    @property
    def _is_open(self) -> bool:
        return self._status is not None and is_open(self._status)

    @property
    def _is_silent(self) -> bool:
        """Whether no stream is received; False before that has been measured."""
        rates_hz = self._status.rate_hz if self._status else ()
        return len(rates_hz) > 0 and all(rate_hz == 0 for rate_hz in rates_hz)

    def _begin(self) -> None:
        if self._mode is not _Mode.WAITING or not self._ready or not self._status:
            return
        self._mode = _Mode.OFFERING if self._status.unfinished else _Mode.RUNNING

    def _running_key(self, key: str) -> list[ConsoleRequest]:
        match key:
            case ' ' if not self._is_open and not self._task:
                self._mode = _Mode.TYPING
            case ' ' if not self._is_open and self._is_silent:
                self._mode = _Mode.DOUBTING
            case ' ':
                return [ConsoleCall('save' if self._is_open else 'start')]
            case 'd':
                return [ConsoleCall('discard')]
            case 'n' if self._is_open:
                return [ConsoleCall('next_subtask')]
            case 'p':
                return [ConsoleCall('resume' if self._state == 'paused' else 'pause')]
            case 't':
                self._mode = _Mode.TYPING
            case 'q' if self._is_open:
                self._mode = _Mode.ASKING
            case 'q':
                return self._stop()
            case _ if self._jog:
                return self._jog.key(key) or []
        return []

    def _typing_key(self, key: str) -> list[ConsoleRequest]:
        if (text := self._entry.key(key)) is None:
            return []
        self._entry, self._mode = TextEntry(), _Mode.RUNNING
        if not text:
            return []
        self._task = text
        return [SetText(text)]

    def _asking_key(self, key: str) -> list[ConsoleRequest]:
        if key not in ('s', 'd'):
            self._mode = _Mode.RUNNING
            return []
        self._stop_when_done = True
        return [ConsoleCall('save' if key == 's' else 'discard')]

    def _interrupted(self) -> list[ConsoleRequest]:
        """Ask as for q; stop at a second one."""
        if self._mode is _Mode.RUNNING and self._is_open:
            self._mode = _Mode.ASKING
            return []
        return self._stop()

    def _stop(self) -> list[ConsoleRequest]:
        self._mode = _Mode.ENDING
        return [Stop()]

    def _state_line(self, status: RecorderStatus) -> RenderableType:
        task = status.task if self._is_open else self._task
        facts = [
            f'[{_COLOURS[self._state]}]{self._state}[/]',
            escape(task) or '[dim]no task text[/]',
            f'{status.duration_ns / 1e9:.0f} s',
            f'{status.bytes / 1e6:.0f} MB',
            f'{status.episode} episodes',
            f'{status.disk_free / 1e9:.1f} GB of disk left',
        ]
        if self._is_open and status.subtask:
            facts.insert(2, f'[bold]{escape(status.subtask)}[/]')
        if self._is_open and self._task != task:
            facts.append(f'next: {escape(self._task)}')
        line = Text.from_markup('   '.join(facts))
        return Group(line, Text(status.message, style='yellow')) if status.message else line

    def _prompt(self) -> Text:
        match self._mode:
            case _Mode.OFFERING:
                unfinished = self._status.unfinished if self._status else ()
                names = ', '.join(path.rpartition('/')[2] for path in unfinished)
                return Text(f'left unfinished by a crash: {names}. Recover and convert? y/n', style='bold')
            case _Mode.TYPING:
                return Text(f'task: {self._entry.text}_   (Enter: take it, Esc: leave it)', style='bold')
            case _Mode.ASKING:
                return Text('an episode is open. s: save, d: discard, other keys: go on', style='bold')
            case _Mode.DOUBTING:
                return Text('nothing is received on any stream. Record all the same? y/n', style=RED)
            case _Mode.ENDING:
                return Text('finishing; Ctrl-C: keep the last journal without converting it', style='dim')
        if self._jog is None:
            return Text(KEYS, style='dim')
        notice = Text(f'\n{self._jog.notice}' if self._jog.notice else '', style=RED)
        return Text(f'{KEYS}\n{self._jog.line}', style='dim') + notice


def _streams(status: RecorderStatus) -> Table:
    table = Table('stream', box=None, padding=(0, 2, 0, 0))
    for heading in ('Hz', 'age, ms', 'received', 'dropped', 'lost'):
        table.add_column(heading, justify='right')
    for row, name in enumerate(status.streams):
        rate = '-' if math.isnan(status.rate_hz[row]) else f'{status.rate_hz[row]:.1f}'
        age = '-' if status.age_ns[row] < 0 else f'{status.age_ns[row] / 1e6:.0f}'
        losses = [f'[{RED}]{n}[/]' if n else '0' for n in (status.dropped[row], status.lost[row])]
        table.add_row(name, rate, age, str(status.received[row]), *losses)
    return table

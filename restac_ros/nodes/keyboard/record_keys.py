"""What the keys of `restac-ros record` do and what is shown. Knows neither terminal nor processes."""

from collections.abc import Mapping
from enum import Enum, auto
from typing import Any, get_args

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from restac_ros.msg import RecorderStatus
from restac_ros.nodes.keyboard.requests import ConsoleCall, ConsoleRequest, SetText, Stop
from restac_ros.nodes.keyboard.run_keys import TextEntry
from restac_ros.recording.recorder import State

RED = 'bold red'
_COLOURS = {'idle': 'green', 'recording': RED, 'paused': 'yellow', 'saving': 'cyan', 'error': RED}
KEYS = 'space: start/save   d: discard   p: pause/resume   t: task   q: quit'
INTERRUPT = '\x03'
RATE_PERIOD_NS = 900_000_000  # rates are measured over at least so long


_STATES = {getattr(RecorderStatus, f'STATE_{name.upper()}'): name for name in get_args(State)}


def status_values(message: RecorderStatus) -> dict[str, Any]:
    """Return the numbers of a status by name, its streams by their names."""
    names = ('received', 'written', 'dropped', 'lost', 'high_water')
    columns = zip(*(getattr(message, name) for name in names), strict=True)
    streams = {
        stream: dict(zip(names, map(int, counts), strict=True))
        for stream, counts in zip(message.streams, columns, strict=True)
    }
    return {
        'stamp_ns': message.header.stamp.sec * 10**9 + message.header.stamp.nanosec,
        'state': _STATES[message.state],
        'episodes': message.episode,
        'unfinished': list(message.unfinished),
        'streams': streams,
        **{name: getattr(message, name) for name in ('message', 'task', 'frames', 'duration_ns')},
        **{name: getattr(message, name) for name in ('bytes', 'disk_free')},
    }


class _Mode(Enum):
    WAITING = auto()  # for the recorder
    OFFERING = auto()  # to recover what a crash left
    RUNNING = auto()
    TYPING = auto()  # the next task text
    ASKING = auto()  # what shall become of the running episode
    ENDING = auto()


class RecordKeys:
    """Keys become requests, statuses become a picture."""

    def __init__(self, task: str) -> None:
        self._task = task  # of the next episode
        self._entry = TextEntry()
        self._mode = _Mode.WAITING
        self._stop_when_done = False
        self._ready = False
        self._status: Mapping[str, Any] = {}
        self._before: Mapping[str, Any] = {}
        self._rates_hz: dict[str, float] = {}

    def key(self, key: str) -> list[ConsoleRequest]:
        """One character that was typed, or INTERRUPT for Ctrl-C."""
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
            case _Mode.WAITING if key == 'q':
                return self._stop()
        return []

    def ready(self) -> None:
        """The recorder can be called."""
        self._ready = True
        self._begin()

    def receive(self, status: Mapping[str, Any]) -> None:
        """Show how the recorder stands, as `status_values` gives it."""
        self._measure_rates(status)
        self._status = status
        self._begin()

    def lost(self) -> list[ConsoleRequest]:
        """Nobody can type any more, or the recorder cannot be reached: it is stopped, once."""
        return [] if self._mode is _Mode.ENDING else self._stop()

    def answered(self, request: ConsoleRequest, success: bool) -> list[ConsoleRequest]:
        """The recorder has answered a request."""
        if not self._stop_when_done or request not in (ConsoleCall('save'), ConsoleCall('discard')):
            return []
        self._stop_when_done = False
        if success:
            return self._stop()
        self._mode = _Mode.RUNNING
        return []

    def render(self) -> RenderableType:
        """The live picture: state, streams, and what can be typed."""
        if not self._status:
            return Text('waiting for the recorder; q: quit', style='dim')
        return Group(self._state_line(), self._streams(), self._prompt())

    @property
    def _is_open(self) -> bool:
        return self._status.get('state') in ('recording', 'paused')

    def _begin(self) -> None:
        if self._mode is not _Mode.WAITING or not self._ready or not self._status:
            return
        self._mode = _Mode.OFFERING if self._status['unfinished'] else _Mode.RUNNING

    def _running_key(self, key: str) -> list[ConsoleRequest]:
        match key:
            case ' ' if not self._is_open and not self._task:
                self._mode = _Mode.TYPING
            case ' ':
                return [ConsoleCall('save' if self._is_open else 'start')]
            case 'd':
                return [ConsoleCall('discard')]
            case 'p':
                return [ConsoleCall('resume' if self._status['state'] == 'paused' else 'pause')]
            case 't':
                self._mode = _Mode.TYPING
            case 'q' if self._is_open:
                self._mode = _Mode.ASKING
            case 'q':
                return self._stop()
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
        """First as q; a second one stops without asking."""
        if self._mode is _Mode.RUNNING and self._is_open:
            self._mode = _Mode.ASKING
            return []
        return self._stop()

    def _stop(self) -> list[ConsoleRequest]:
        self._mode = _Mode.ENDING
        return [Stop()]

    def _measure_rates(self, status: Mapping[str, Any]) -> None:
        """Messages a second since the status before, while one recording goes on."""
        if status['state'] != 'recording' or self._before.get('state') != 'recording':
            self._before, self._rates_hz = status, {}
            return
        passed_ns = status['stamp_ns'] - self._before['stamp_ns']
        if passed_ns < RATE_PERIOD_NS:
            return
        before = self._before['streams']
        self._rates_hz = {
            name: (counts['received'] - before[name]['received']) * 1e9 / passed_ns
            for name, counts in status['streams'].items()
        }
        self._before = status

    def _state_line(self) -> RenderableType:
        status = self._status
        state = f'[{_COLOURS[status["state"]]}]{status["state"]}[/]'
        task = status['task'] if self._is_open else self._task
        facts = [
            state,
            escape(task) or '[dim]no task text[/]',
            f'{status["duration_ns"] / 1e9:.0f} s',
            f'{status["bytes"] / 1e6:.0f} MB',
            f'{status["episodes"]} episodes',
            f'{status["disk_free"] / 1e9:.1f} GB of disk left',
        ]
        if self._is_open and self._task != task:
            facts.append(f'next: {escape(self._task)}')
        line = Text.from_markup('   '.join(facts))
        return Group(line, Text(status['message'], style='yellow')) if status['message'] else line

    def _streams(self) -> Table:
        table = Table('stream', box=None, padding=(0, 2, 0, 0))
        for heading in ('Hz', 'received', 'dropped', 'lost', 'most waiting'):
            table.add_column(heading, justify='right')
        for name, counts in self._status['streams'].items():
            rate = f'{self._rates_hz[name]:.1f}' if name in self._rates_hz else '-'
            losses = [f'[{RED}]{n}[/]' if n else '0' for n in (counts['dropped'], counts['lost'])]
            table.add_row(name, rate, str(counts['received']), *losses, str(counts['high_water']))
        return table

    def _prompt(self) -> Text:
        match self._mode:
            case _Mode.OFFERING:
                names = ', '.join(path.rpartition('/')[2] for path in self._status['unfinished'])
                return Text(f'left unfinished by a crash: {names}. Recover and convert? y/n', style='bold')
            case _Mode.TYPING:
                return Text(f'task: {self._entry.text}_   (Enter: take it, Esc: leave it)', style='bold')
            case _Mode.ASKING:
                return Text('an episode is open. s: save, d: discard, other keys: go on', style='bold')
            case _Mode.ENDING:
                return Text('finishing; Ctrl-C: keep the last journal without converting it', style='dim')
        return Text(KEYS, style='dim')

"""Keys of `restac-ros up`, without terminal and processes."""

from collections.abc import Collection

from restac_ros.nodes.keyboard.jog_keys import JogKeys
from restac_ros.nodes.keyboard.requests import ConsoleCall, ConsoleRequest, SetText, Stop

ENTER, ESCAPE, ERASE = ('\r', '\n'), '\x1b', ('\x7f', '\b')
# key -> its request, and its help
_CALLS = {
    ' ': (ConsoleCall('halt', 'streamer_node'), 'space: halt'),
    'r': (ConsoleCall('resume', 'streamer_node'), 'r: resume'),
    's': (ConsoleCall('save'), 's: save'),
    'd': (ConsoleCall('discard'), 'd: discard'),
    'n': (ConsoleCall('next_subtask'), 'n: next subtask'),
}
_PROMPT = SetText('', 'prompt', 'policy_node')


class TextEntry:
    """A line of text, typed key by key."""

    def __init__(self) -> None:
        self.text = ''

    @property
    def wants_space(self) -> bool:
        """Whether a space belongs to the text: between two words, once."""
        return bool(self.text) and not self.text.endswith(' ')

    def key(self, key: str) -> str | None:
        """Return the line when it is complete, '' when it was cancelled, None while it is typed."""
        if key in ENTER or key == ESCAPE:
            return self.text.strip() if key != ESCAPE else ''
        if key in ERASE:
            self.text = self.text[:-1]
        elif key.isprintable():
            self.text += key
        return None


class RunKeys:
    """Turns keys into requests to the nodes of a run.

    Attributes:
        notice: why the last key had no effect; '' where it had one.
    """

    def __init__(self, nodes: Collection[str]) -> None:
        self._calls = {key: (call, text) for key, (call, text) in _CALLS.items() if call.node in nodes}
        self._has_prompt = _PROMPT.node in nodes
        self._jog = JogKeys() if 'teleop_node' in nodes else None
        self._entry: TextEntry | None = None
        self.notice = ''

    @property
    def requests(self) -> list[ConsoleCall | SetText]:
        """All possible requests."""
        jog = self._jog.requests if self._jog else []
        return [*(call for call, _ in self._calls.values()), *([_PROMPT] if self._has_prompt else []), *jog]

    @property
    def line(self) -> str:
        """The present keys, or the text being typed."""
        if self._entry is not None:
            halts = ', space first or twice: halt' if ' ' in self._calls else ''
            return f'prompt: {self._entry.text}_   (Enter: set it, Esc: leave it{halts})'
        words = [*([self._jog.line] if self._jog else []), *(text for _, text in self._calls.values())]
        return '   '.join([*words, *(['p: prompt'] if self._has_prompt else []), 'q: quit'])

    def note_recording(self, is_open: bool) -> None:
        """Note whether a recorder, of this run or another, has an episode open."""
        if self._jog:
            self._jog.is_recorded = is_open

    def key(self, key: str) -> list[ConsoleRequest]:
        """Return the requests of a typed character."""
        self.notice = ''
        if self._entry is not None and self._halts(key, self._entry):
            self._entry = None  # a hand that strikes the space bar means the arm, whatever is being typed
        if self._entry is not None:
            if (text := self._entry.key(key)) is None:
                return []
            self._entry = None
            return [_PROMPT._replace(text=text)] if text else []
        if self._jog and (moved := self._jog.key(key)) is not None:
            self.notice = self._jog.notice
            return moved
        if key in self._calls:
            return [self._calls[key][0]]
        if key == 'p' and self._has_prompt:
            self._entry = TextEntry()
            return []
        if key == 'q':
            return [Stop()]
        if key in _CALLS:
            call, text = _CALLS[key]
            self.notice = f'{text}: there is no {call.node} in this run. Keys: {self.line}'
        elif key.isprintable():
            self.notice = f'no such key: {key}. Keys: {self.line}'
        return []

    def _halts(self, key: str, entry: TextEntry) -> bool:
        return key == ' ' and ' ' in self._calls and not entry.wants_space

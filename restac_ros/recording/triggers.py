"""Pedals and joystick buttons as triggers: their actions, and debouncing."""

import re
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, get_args

from restac_ros.contract.errors import did_you_mean

TriggerAction = Literal['start', 'save', 'discard', 'pause_resume', 'toggle', 'next_subtask']
ACTIONS: tuple[TriggerAction, ...] = get_args(TriggerAction)
_NAME = r'[A-Za-z_]\w*'
_TRIGGER = re.compile(rf'(?P<topic>(?:~/|/)?{_NAME}(?:/{_NAME})*)(?:\[(?P<button>\d+)\])?\s+(?P<action>\S+)')
EXAMPLES = "'/pedal toggle' (std_msgs/Bool) or '/joy[3] discard' (button 3 of a sensor_msgs/Joy)"


class Trigger(NamedTuple):
    """The action of a press of the pedal on `topic`, or of a joystick's button."""

    topic: str
    button: int | None
    action: TriggerAction

    @property
    def source(self) -> str:
        """Topic and button, as in the configuration."""
        return self.topic if self.button is None else f'{self.topic}[{self.button}]'


def parse_triggers(lines: Iterable[str]) -> tuple[Trigger, ...]:
    """Triggers from lines such as '/pedal toggle' and '/joy[3] discard'; blank lines count as none.

    Raises:
        ValueError: a line is no trigger, or two contradict each other.
    """
    triggers = tuple(_parse(line) for line in lines if line.strip())
    sources: set[str] = set()
    pedals = {trigger.topic for trigger in triggers if trigger.button is None}
    for trigger in triggers:
        if trigger.source in sources:
            raise ValueError(f'{trigger.source} has two actions; leave one')
        if trigger.button is not None and trigger.topic in pedals:
            raise ValueError(f'{trigger.topic} is both a pedal and a joystick; write {trigger.topic}[BUTTON]')
        sources.add(trigger.source)
    return triggers


def _parse(line: str) -> Trigger:
    found = _TRIGGER.fullmatch(line.strip())
    if not found:
        raise ValueError(f'{line!r} is no trigger; expected {EXAMPLES}')
    action, button = found['action'], found['button']
    if action not in ACTIONS:
        raise ValueError(f'{line!r}: unknown action {action!r}; {did_you_mean(action, ACTIONS)}')
    return Trigger(found['topic'], None if button is None else int(button), action)


class Debounced:
    """Presses of one contact: it closes after having been open for at least `debounce_ns`.

    So neither the chatter of a closing contact nor that of an opening one is a second press. Before its first
    message a contact counts as open: many pedals publish changes only.
    """

    def __init__(self, debounce_ns: int) -> None:
        self._debounce_ns = debounce_ns
        self._closed = False
        self._opened_ns: int | None = None

    def is_press(self, closed: bool, now_ns: int) -> bool:
        """Return whether the contact, in this state at `now_ns` of a steady clock, has just been pressed."""
        was_closed, self._closed = self._closed, closed
        if closed:
            long_open = self._opened_ns is None or now_ns - self._opened_ns >= self._debounce_ns
            return not was_closed and long_open
        if was_closed:
            self._opened_ns = now_ns
        return False


class Buttons:
    """Presses of the buttons of one topic. A pedal is a topic with one button."""

    def __init__(self, triggers: Sequence[Trigger], debounce_ns: int) -> None:
        """`triggers` are all of one topic."""
        self._contacts = [(trigger, Debounced(debounce_ns)) for trigger in triggers]

    def pressed(self, states: Sequence[object], now_ns: int) -> tuple[list[Trigger], list[Trigger]]:
        """Return the pressed triggers, and those whose button is missing from `states`, by button."""
        pressed, missing = [], []
        for trigger, contact in self._contacts:
            index = trigger.button or 0
            if index >= len(states):
                missing.append(trigger)
            elif contact.is_press(bool(states[index]), now_ns):
                pressed.append(trigger)
        return pressed, missing

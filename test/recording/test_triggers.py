"""Pedals and joystick buttons: what is a press, what it means, and which configurations are refused."""

import random
from itertools import pairwise

import pytest

from restac_ros.recording.triggers import Buttons, Debounced, Trigger, parse_triggers

MS = 10**6


def presses(states: list[tuple[int, bool]], debounce_ms: int = 50) -> list[int]:
    """Times (ms) at which a contact with these (time in ms, closed) states counts as pressed."""
    contact = Debounced(debounce_ms * MS)
    return [time for time, closed in states if contact.is_press(closed, time * MS)]


@pytest.mark.parametrize(
    ('states', 'expected'),
    [
        ([(0, False), (10, True), (500, False), (900, True)], [10, 900]),
        ([(0, True), (20, True), (40, True), (60, False)], [0]),  # held, and repeated
        ([(0, True), (3, False), (5, True), (8, False), (11, True), (400, False)], [0]),  # chatter, closing
        ([(0, True), (900, False), (903, True), (905, False), (930, True), (940, False)], [0]),  # opening
        ([(0, True), (900, False), (949, True), (1500, False), (1550, True)], [0, 1550]),
        ([(0, False), (20, False)], []),
    ],
)
def test_a_press_is_a_contact_that_closes_after_having_been_open(
    states: list[tuple[int, bool]], expected: list[int]
) -> None:
    assert presses(states) == expected


def test_without_debounce_every_rise_is_a_press() -> None:
    assert presses([(0, True), (1, False), (2, True), (2, False), (2, True)], 0) == [0, 2, 2]


def test_presses_are_those_of_an_obvious_twin() -> None:
    rng = random.Random(5)
    for _ in range(200):
        time, states = 0, []
        for _ in range(30):
            time += rng.choice([1, 5, 49, 50, 51, 300])
            states.append((time, rng.random() < 0.5))
        obvious = []
        for index, (now, closed) in enumerate(states):
            before = states[:index]
            rises = closed and not (before and before[-1][1])
            falls = [t for (_, was), (t, is_now) in pairwise(before) if was and not is_now]
            if rises and (not falls or now - falls[-1] >= 50):
                obvious.append(now)
        assert presses(states) == obvious


def test_buttons_that_are_no_triggers_are_ignored_and_missing_ones_named() -> None:
    save, discard = Trigger('/joy', 1, 'save'), Trigger('/joy', 9, 'discard')
    buttons = Buttons([save, discard], 50 * MS)
    assert buttons.pressed([0, 0, 0], 0) == ([], [discard])
    assert buttons.pressed([1, 1, 1], MS) == ([save], [discard])
    assert buttons.pressed([1, 1, 1], 2 * MS) == ([], [discard])
    assert buttons.pressed([0] * 9 + [1], 3 * MS) == ([discard], [])
    assert buttons.pressed([], 4 * MS) == ([], [save, discard])


def test_triggers_are_read() -> None:
    lines = ['', ' /pedal toggle ', 'joy[0] start', '~/joy[11]  pause_resume', '/a/b_1 save']
    assert parse_triggers(lines) == (
        Trigger('/pedal', None, 'toggle'),
        Trigger('joy', 0, 'start'),
        Trigger('~/joy', 11, 'pause_resume'),
        Trigger('/a/b_1', None, 'save'),
    )
    assert parse_triggers(['']) == ()


@pytest.mark.parametrize(
    ('lines', 'words'),
    [
        (['/pedal'], r"expected '/pedal toggle' \(std_msgs/Bool\) or '/joy\[3\] discard'"),
        (['/joy[x] save'], 'is no trigger; expected'),
        (['/joy[-1] save'], 'is no trigger; expected'),
        (['/pedal: toggle'], 'is no trigger; expected'),
        (['//pedal toggle'], 'is no trigger; expected'),
        (['/pedal togle'], "unknown action 'togle'; did you mean 'toggle'"),
        (['/pedal save', '/pedal start'], '/pedal has two actions; leave one'),
        (['/joy[1] save', '/joy[1] start'], r'/joy\[1\] has two actions'),
        (['/joy[1] save', '/joy start'], r'both a pedal and a joystick; write /joy\[BUTTON\]'),
    ],
)
def test_what_is_no_trigger_is_refused_with_a_remedy(lines: list[str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_triggers(lines)

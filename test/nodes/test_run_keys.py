"""The keys of `restac-ros up`: what each asks for, by the nodes that the run has."""

import pytest

pytest.importorskip('rclpy')

from restac_ros.nodes.keyboard.jog_keys import JogKeys
from restac_ros.nodes.keyboard.record_keys import KEYS
from restac_ros.nodes.keyboard.requests import ConsoleCall, JogStep, SetText, Stop
from restac_ros.nodes.keyboard.run_keys import RunKeys

ALL = ('policy_node', 'recorder_node', 'streamer_node')


def typed(keys: RunKeys, text: str) -> list:
    return [request for key in text for request in keys.key(key)]


@pytest.mark.parametrize(
    ('key', 'asked'),
    [
        (' ', ConsoleCall('halt', 'streamer_node')),
        ('r', ConsoleCall('resume', 'streamer_node')),
        ('s', ConsoleCall('save')),
        ('d', ConsoleCall('discard')),
        ('n', ConsoleCall('next_subtask')),
        ('q', Stop()),
    ],
)
def test_each_key_asks_the_node_it_is_about(key: str, asked: object) -> None:
    assert RunKeys(ALL).key(key) == [asked]


def test_a_prompt_is_typed_and_set_by_enter() -> None:
    assert typed(RunKeys(ALL), 'ppush it\x7f\x7fhard\r') == [SetText('push hard', 'prompt', 'policy_node')]


def test_escape_and_an_empty_line_leave_the_prompt_as_it_is() -> None:
    keys = RunKeys(ALL)
    assert typed(keys, 'pdqs\x1b') == []
    assert typed(keys, 'p\r') == []
    assert keys.key('q') == [Stop()]


@pytest.mark.parametrize('keys', ['p ', 'ppush  ', 'ppush it  '])
def test_the_space_bar_halts_also_while_a_prompt_is_typed(keys: str) -> None:
    console = RunKeys(ALL)
    assert typed(console, keys) == [ConsoleCall('halt', 'streamer_node')]
    assert console.key('q') == [Stop()], 'the text is left'


def test_only_keys_of_nodes_that_the_run_has_are_offered() -> None:
    keys = RunKeys(['recorder_node'])
    assert keys.line == 's: save   d: discard   n: next subtask   q: quit'
    assert keys.requests == [ConsoleCall('save'), ConsoleCall('discard'), ConsoleCall('next_subtask')]
    assert typed(keys, ' rp') == []


def test_a_key_without_effect_is_answered_with_the_keys_that_there_are() -> None:
    keys = RunKeys(['recorder_node'])
    keys.key('r')
    assert keys.notice == (
        'r: resume: there is no streamer_node in this run. '
        'Keys: s: save   d: discard   n: next subtask   q: quit'
    )
    keys.key('x')
    assert keys.notice.startswith('no such key: x. Keys: s: save')
    keys.key('s')
    assert keys.notice == ''


def test_a_teleoperated_arm_is_moved_by_keys_that_nothing_else_has() -> None:
    keys = RunKeys(['teleop_node', 'sim_node', 'recorder_node'])
    assert keys.key('i') == [JogStep((0.002, 0.0, 0.0), 0.0)]
    assert keys.key('1') == []
    assert '[1] 2 3: steps of 0.5 mm' in keys.line
    assert keys.key('o') == [JogStep((0.0, 0.0, -0.0005), 0.0)]
    assert keys.key('.') == [JogStep((0.0, 0.0, 0.0), -0.01)]
    assert typed(keys, 'gbx') == [
        ConsoleCall('close', 'teleop_node'),
        ConsoleCall('open', 'teleop_node'),
        ConsoleCall('reset', 'sim_node'),
    ]
    assert typed(keys, 's') == [ConsoleCall('save')]
    assert ConsoleCall('reset', 'sim_node') in keys.requests
    keys.note_recording(True)
    assert keys.key('x') == []
    assert 'an episode is being recorded' in keys.notice
    assert keys.key('g') == [ConsoleCall('close', 'teleop_node')]
    assert keys.notice == ''
    keys.note_recording(False)
    assert keys.key('x') == [ConsoleCall('reset', 'sim_node')]
    jog = JogKeys()
    assert [key for key in KEYS.replace('space', ' ') if key in 'dptq ' and jog.key(key) is not None] == []
    assert RunKeys(['recorder_node']).key('i') == []

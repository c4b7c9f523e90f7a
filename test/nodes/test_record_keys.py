"""The keys of `restac-ros record`: what each asks for in which state, and what is shown."""

import math
from typing import Any

import pytest

pytest.importorskip('rclpy')
pytest.importorskip('restac_ros.msg', reason='the messages are not built: `make build`')

from restac_ros.msg import RecorderStatus
from rich.console import Console

from restac_ros.nodes.keyboard.jog_keys import JogKeys
from restac_ros.nodes.keyboard.record_keys import INTERRUPT, RecordKeys
from restac_ros.nodes.keyboard.requests import ConsoleCall, JogStep, SetText, Stop
from restac_ros.nodes.messages import RECORDER_STATES


def status(state: str, **changes: Any) -> RecorderStatus:
    given: dict[str, Any] = {
        'state': RECORDER_STATES[state],
        'task': 'push',
        'episode': 3,
        'duration_ns': 12_400_000_000,
        'bytes': 5_000_000,
        'disk_free': 90_500_000_000,
        'streams': ['main', 'joints'],
        'received': [160, 160],
        'dropped': [0, 2],
        'lost': [0, 0],
        'rate_hz': [30.0, math.nan],
        'age_ns': [12_300_000, -1],
    }
    return RecorderStatus(**given | changes)


def console(state: str, task: str = 'push', **changes: Any) -> RecordKeys:
    made = RecordKeys(task)
    made.ready()
    made.receive(status(state, **changes))
    return made


def shown(made: RecordKeys) -> str:
    terminal = Console(width=120, record=True, file=open('/dev/null', 'w'))  # noqa: SIM115
    terminal.print(made.render())
    return terminal.export_text()


def typed(made: RecordKeys, keys: str) -> list:
    return [request for key in keys for request in made.key(key)]


@pytest.mark.parametrize(
    ('state', 'key', 'asked'),
    [
        ('idle', ' ', ConsoleCall('start')),
        ('saving', ' ', ConsoleCall('start')),
        ('error', ' ', ConsoleCall('start')),
        ('recording', ' ', ConsoleCall('save')),
        ('recording', 'n', ConsoleCall('next_subtask')),
        ('paused', ' ', ConsoleCall('save')),
        ('recording', 'd', ConsoleCall('discard')),
        ('recording', 'p', ConsoleCall('pause')),
        ('paused', 'p', ConsoleCall('resume')),
        ('idle', 'q', Stop()),
        ('saving', 'q', Stop()),
        ('idle', INTERRUPT, Stop()),
    ],
)
def test_keys_ask_for_what_the_state_allows(state: str, key: str, asked: object) -> None:
    assert console(state).key(key) == [asked]


def test_keys_without_a_meaning_do_nothing() -> None:
    assert typed(console('recording'), 'xD\x1b[A\n7') == []


def test_nothing_is_asked_before_the_recorder_can_be_called() -> None:
    made = RecordKeys('push')
    assert typed(made, ' dpt') == []
    assert 'waiting for the recorder' in shown(made)
    made.receive(status('idle'))
    assert typed(made, ' ') == []
    made.ready()
    assert typed(made, ' ') == [ConsoleCall('start')]


def test_an_open_episode_is_asked_for_before_quitting() -> None:
    made = console('recording')
    assert made.key('q') == []
    assert 's: save, d: discard' in shown(made)
    assert made.key('x') == []
    assert made.key('p') == [ConsoleCall('pause')]
    assert typed(made, 'q') == []
    assert made.key('s') == [ConsoleCall('save')]
    assert made.answered(SetText('an earlier request'), success=True) == []
    assert made.answered(ConsoleCall('save'), success=True) == [Stop()]
    assert made.key(' ') == []
    assert made.key(INTERRUPT) == [Stop()]  # a second one: without waiting
    assert made.lost() == []


def test_a_save_that_fails_does_not_quit() -> None:
    made = console('paused')
    assert typed(made, 'qs') == [ConsoleCall('save')]
    assert made.answered(ConsoleCall('save'), success=False) == []
    assert made.key('d') == [ConsoleCall('discard')]
    assert made.answered(ConsoleCall('discard'), success=True) == []


def test_two_interrupts_stop_an_open_episode_without_asking() -> None:
    made = console('recording')
    assert made.key(INTERRUPT) == []
    assert made.key(INTERRUPT) == [Stop()]


def test_a_lost_keyboard_stops_the_recorder_once() -> None:
    made = console('recording')
    assert made.lost() == [Stop()]
    assert made.lost() == []


def test_the_task_text_is_typed() -> None:
    made = console('idle')
    assert typed(made, 'tpull q\x7fthe lévér') == []
    assert 'task: pull the lévér_' in shown(made)
    assert made.key('\n') == [SetText('pull the lévér')]
    assert 'pull the lévér' in shown(made)
    assert typed(made, 'tnothing\x1b') == []
    assert typed(made, 't  \n ') == [ConsoleCall('start')]
    assert 'pull the lévér' in shown(made)


def test_a_start_without_any_message_is_asked_for() -> None:
    made = console('idle', rate_hz=[0.0, 0.0])
    assert made.key(' ') == []
    assert 'nothing is received on any stream' in shown(made)
    assert made.key('n') == []
    assert typed(made, ' y') == [ConsoleCall('start')]
    made.receive(status('recording', rate_hz=[0.0, 0.0]))
    assert made.key(' ') == [ConsoleCall('save')]


def test_without_a_task_text_it_is_asked_for_first() -> None:
    made = console('idle', task='')
    assert typed(made, ' push\n') == [SetText('push')]
    assert made.key(' ') == [ConsoleCall('start')]


@pytest.mark.parametrize(('key', 'asked'), [('y', [ConsoleCall('recover')]), ('n', [])])
def test_what_a_crash_left_is_offered_at_the_start(key: str, asked: list) -> None:
    made = console('idle', unfinished=['/data/a.partial', '/data/b'])
    assert 'a.partial, b. Recover and convert? y/n' in shown(made)
    assert typed(made, ' dq') == []
    assert made.key(key) == asked
    made.receive(status('idle', unfinished=['/data/c.partial']))
    assert made.key(' ') == [ConsoleCall('start')]  # offered once


def test_everything_that_matters_is_shown() -> None:
    made = console('recording', message='saving: 5 of 90 frames')
    text = shown(made)
    for words in ('recording', 'push', '12 s', '5 MB', '3 episodes', '90.5 GB of disk left', 'space: start'):
        assert words in text
    assert 'saving: 5 of 90 frames' in text
    [main] = [line.split() for line in text.splitlines() if line.startswith('main')]
    [joints] = [line.split() for line in text.splitlines() if line.startswith('joints')]
    assert main == ['main', '30.0', '12', '160', '0', '0']
    assert joints == ['joints', '-', '-', '160', '2', '0']  # its rate and age are not known


def test_the_next_task_is_shown_beside_that_of_the_open_episode() -> None:
    made = console('recording')
    typed(made, 'tpull [b]\n')
    assert 'push' in shown(made)
    assert 'next: pull [b]' in shown(made)


def test_the_subtask_under_way_is_shown_beside_the_task() -> None:
    assert 'push   reach it   12 s' in shown(console('recording', subtask='reach it'))
    assert 'reach it' not in shown(console('idle', subtask='reach it'))
    assert typed(console('idle'), 'n') == []


def test_keys_that_move_an_arm_act_beside_the_recorders_and_only_while_nothing_is_asked() -> None:
    made = RecordKeys('push', JogKeys())
    assert typed(made, 'i') == [], 'before the recorder is there'
    made.ready()
    made.receive(status('recording'))
    assert typed(made, 'u') == [JogStep((0.0, 0.0, 0.002), 0.0)]
    assert typed(made, ' ') == [ConsoleCall('save')]
    assert 'i k j l: forward back left right' in shown(made)
    assert typed(made, 'tjill\r') == [SetText('jill')]


@pytest.mark.parametrize('state', ['recording', 'paused'])
def test_the_scene_stays_while_an_episode_is_open(state: str) -> None:
    made = RecordKeys('push', JogKeys())
    made.ready()
    made.receive(status('idle'))
    assert typed(made, 'x') == [ConsoleCall('reset', 'sim_node')]
    made.receive(status(state))
    assert typed(made, 'x') == []
    assert 'an episode is being recorded, and the arm would leap in it: save or discard' in shown(made)
    assert typed(made, 'u') != []
    assert 'the arm would leap' not in shown(made)
    made.receive(status('saving'))
    assert typed(made, 'x') == [ConsoleCall('reset', 'sim_node')]

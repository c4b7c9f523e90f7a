"""`restac-ros info`, `quality`, `doctor`: every kind of thing is recognised, anything else refused."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from restac_ros.commands.assessment import assess_path
from restac_ros.commands.doctor import print_checks
from restac_ros.commands.info import InfoError, print_info
from restac_ros.contract.load import load_contract
from restac_ros.dataset.journal import Journal
from restac_ros.framing.decode import load_types
from restac_ros.policy.init_checkpoint import init_checkpoint

START_NS = 1_760_000_000_000_000_000


@pytest.fixture
def page() -> Callable[[Path], str]:
    """The page of a path as plain text."""

    def show(path: Path) -> str:
        console = Console(file=io.StringIO(), width=200)
        print_info(path, console)
        return console.file.getvalue()

    return show


@pytest.fixture
def journal(tmp_path: Path, repository: Path) -> Journal:
    """Two seconds of joint states, not closed yet."""
    store = load_types()
    journal = Journal(
        tmp_path / 'take',
        load_contract(repository / 'config' / 'contract.yaml'),
        start_ns=START_NS,
        task='plug [it] in',
    )
    for index in range(20):
        stamp_ns = START_NS + index * 10**8
        time = store.types['builtin_interfaces/msg/Time'](stamp_ns // 10**9, stamp_ns % 10**9)
        message = store.types['sensor_msgs/msg/JointState'](
            header=store.types['std_msgs/msg/Header'](time, ''),
            name=[f'fr3_joint{i}' for i in range(1, 8)],
            position=np.zeros(7),
            velocity=np.zeros(0),
            effort=np.zeros(0),
        )
        journal.write('joints', bytes(store.serialize_cdr(message, 'sensor_msgs/msg/JointState')), stamp_ns)
    return journal


def test_a_journal(journal: Journal, page: Callable[[Path], str]) -> None:
    text = page(journal.close(START_NS + 2 * 10**9))
    assert 'take: journal\n' in text
    assert 'task: plug [it] in' in text
    assert 'fr3_three_realsense_gelsight, 15 fps' in text
    row = next(line for line in text.splitlines() if '/franka/joint_states' in line)
    assert all(word in row for word in ('20', '10.0 Hz', '1000 Hz', 'joints'))
    assert 'not assessed' in text


def test_a_journal_with_a_pause(journal: Journal, page: Callable[[Path], str]) -> None:
    journal.pause(START_NS + 2 * 10**9)
    journal.resume(START_NS + 5 * 10**9)
    text = page(journal.close(START_NS + 6 * 10**9))
    assert 'paused: 2 stretches, an episode each: 2.00 s, 1.00 s' in text


def test_an_unfinished_journal(journal: Journal, page: Callable[[Path], str]) -> None:
    journal.abandon()
    text = page(journal.partial)
    assert 'unfinished' in text
    assert 'restac-ros recover' in text
    assert '/franka/joint_states' in text


def test_a_verdict_stands_on_the_page(journal: Journal, page, capsys: pytest.CaptureFixture) -> None:
    path = journal.close(START_NS + 2 * 10**9)
    assert assess_path(path) == 1
    said = capsys.readouterr().out
    assert 'verdict: bad' in said
    assert 'main: no message on /cameras/main/color/image_raw' in said
    text = page(path)
    assert 'quality: bad' in text
    assert 'main: no message' in text
    assert json.loads((path / 'quality.json').read_text())['format_version'] == 1


def test_a_checkpoint(tmp_path: Path, repository: Path, page: Callable[[Path], str]) -> None:
    init_checkpoint('tiny', load_contract(repository / 'config' / 'contract.yaml'), tmp_path / 'tiny', seed=0)
    text = page(tmp_path / 'tiny')
    assert 'tiny: checkpoint' in text
    assert 'fusion token_in_ae' in text
    assert 'random, untrained' in text


def test_a_foreign_data_set(tmp_path: Path, page: Callable[[Path], str]) -> None:
    (tmp_path / 'meta').mkdir()
    about = {'codebase_version': 'v3.0', 'total_episodes': 0, 'total_frames': 0, 'fps': 10, 'features': {}}
    (tmp_path / 'meta' / 'info.json').write_text(json.dumps(about))
    text = page(tmp_path)
    assert 'LeRobot data set v3.0' in text
    assert 'not made by this package' in text


def test_what_is_none_of_these(tmp_path: Path, page: Callable[[Path], str]) -> None:
    with pytest.raises(InfoError, match='does not exist'):
        page(tmp_path / 'absent')
    with pytest.raises(InfoError, match=r'meta/info\.json'):
        page(tmp_path)
    (tmp_path / 'notes.txt').write_text('hello')
    with pytest.raises(InfoError, match='a file that is none of'):
        page(tmp_path / 'notes.txt')


def test_the_doctors_table() -> None:
    console = Console(file=io.StringIO(), width=120)
    checks = [
        {
            'subject': 'main',
            'level': 'error',
            'kind': 'rate',
            'found': '20 Hz [slow]',
            'remedy': 'look at USB',
        },
        {'subject': 'side', 'level': 'ok', 'kind': 'ok', 'found': '30 Hz', 'remedy': ''},
    ]
    print_checks({'contract': 'c', 'seconds': 5.0, 'checks': checks}, console)
    text = console.file.getvalue()
    assert '20 Hz [slow]' in text
    assert 'look at USB' in text
    assert '1 error, 0 warnings' in text

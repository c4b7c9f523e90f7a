"""Subtasks of recorded episodes: stated in a file, marked on a topic, or noted while they were recorded."""

import shutil
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from restac_ros.commands.editing import Annotate
from restac_ros.contract.schema import Contract
from restac_ros.dataset import annotation
from restac_ros.dataset.annotation import annotate
from restac_ros.dataset.bag.bag_reader import open_bag
from restac_ros.dataset.bag.storage import BagMessage
from restac_ros.dataset.convert import convert_episode
from restac_ros.dataset.errors import BagError, DatasetError
from restac_ros.dataset.journal import Journal, read_notes
from restac_ros.dataset.language import NO_WORDS, EpisodeWords, subtasks_in, words_said
from restac_ros.dataset.lerobot_access import open_dataset
from restac_ros.dataset.repair.deletion import delete_episodes
from restac_ros.dataset.repair.examination import examine_dataset
from worded import active, texts, write_episode

pytestmark = pytest.mark.usefixtures('no_copies_in_the_users_cache')

START_NS = 1_760_000_000_000_000_000
TOPIC = '/subtask'


@pytest.fixture(scope='module')
def plain(tmp_path_factory: pytest.TempPathFactory, contract: Contract) -> Path:
    """Two episodes of a second without words."""
    root = tmp_path_factory.mktemp('plain') / 'data'
    for _ in range(2):
        write_episode(root, contract, None)
    return root


@pytest.fixture
def data(plain: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(plain, tmp_path / 'data'))


def said(text: str, at_s: float) -> BagMessage:
    encoded = text.encode() + b'\0'
    cdr = b'\0\1\0\0' + struct.pack('<I', len(encoded)) + encoded
    return BagMessage(TOPIC, 'std_msgs/msg/String', cdr, START_NS + round(at_s * 1e9))


def written(folder: Path, content: object) -> Path:
    path = folder / 'subtasks.yaml'
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


def subtasks_of(root: Path, episode: int) -> list[tuple[float, str]]:
    dataset = open_dataset(root, [episode])
    return [(round(time_s, 6), text) for time_s, text in subtasks_in(dataset[0]['language_persistent'])]


def test_a_file_states_what_is_done_when(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = """
        episodes:
          1:
            subtasks:
              - {from_s: 0, to_s: 0.4, text: reach}
              - {from_s: 0.4, text: insert}
            remarks: [{at_s: 0.7, text: gently}]
    """
    assert Annotate(data, written(tmp_path, content)).run() == 0
    assert "episode 1: 0.00 s 'reach', 0.40 s 'insert'" in capsys.readouterr().out
    dataset = open_dataset(data)
    held = [active(dataset[10 + frame]['language_persistent'], frame / 10) for frame in range(10)]
    assert held == ['reach'] * 4 + ['insert'] * 6
    assert [event['content'] for event in dataset[17]['language_events']] == ['gently']
    assert dataset[0]['language_persistent'] == []
    assert examine_dataset(data).is_fine
    annotate(data, written(tmp_path, {'episodes': {0: {'subtasks': [{'from_s': 0, 'text': 'lift'}]}}}))
    assert subtasks_of(data, 0) == [(0.0, 'lift')]
    assert subtasks_of(data, 1) == [(0.0, 'reach'), (0.4, 'insert')], 'words of other episodes stay'


def test_words_are_checked_against_the_episodes_that_are_there_when_they_are_written(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, {'episodes': {1: {'subtasks': [{'from_s': 0, 'text': 'lift'}]}}})

    def read_and_delete(path: Path) -> Mapping[str, Any]:
        delete_episodes(data, [0])
        return read(path)

    read = annotation._read
    monkeypatch.setattr(annotation, '_read', read_and_delete)
    with pytest.raises(DatasetError, match=r'episodes\.1: found no such episode, expected some of 0 to 0'):
        annotate(data, path)
    assert examine_dataset(data).is_fine


def one(*subtasks: dict) -> dict:
    return {'episodes': {0: {'subtasks': list(subtasks)}}}


@pytest.mark.parametrize(
    ('content', 'fault'),
    [
        ('a: [', 'not readable YAML'),
        ('', 'found None, expected marker_topic, episodes'),
        ('{}', 'found neither episodes nor a marker_topic'),
        ({'episode': {}}, "unknown 'episode'; did you mean 'episodes'"),
        ({'episodes': []}, r'episodes: found \[\], expected numbers of episodes'),
        ({'episodes': {7: {}}}, r'episodes\.7: found no such episode, expected some of 0 to 1'),
        ({'episodes': {0: {'subtasks': {}}}}, r'episodes\.0\.subtasks: found \{\}, expected a list'),
        (one({'from_s': 0}), r'subtasks\[0\]\.text: found None, expected a text'),
        (one({'from_s': 0, 'text': ' '}), r'subtasks\[0\]\.text: found an empty text'),
        (one({'from': 0, 'text': 'a'}), r"subtasks\[0\]: unknown 'from'; did you mean 'from_s'"),
        (one({'from_s': -1, 'text': 'a'}), r'from_s: found -1, expected s after the first frame'),
        (one({'from_s': 60, 'text': 'a'}), r"'a': found 60 s, expected a time from 0 to 0\.900 s"),
        (
            one({'from_s': 0.5, 'text': 'a'}, {'from_s': 0.1, 'text': 'b'}),
            r'found 0\.1 s, expected more than 0\.5',
        ),
        (
            one({'from_s': 0, 'to_s': 0.2, 'text': 'a'}, {'from_s': 0.6, 'text': 'b'}),
            r"to_s: found 0\.2 s, expected 0\.6 s, where 'b' begins: a subtask holds until the next",
        ),
        (one({'from_s': 0, 'to_s': 0.5, 'text': 'a'}), r'expected 1\.000 s, where the episode ends'),
        (
            {'marker_topic': TOPIC},
            r'episode 0: found no recording that it was made of, expected one with /subtask',
        ),
    ],
)
def test_what_a_file_states_wrongly_is_refused_and_nothing_changes(
    content: object, fault: str, data: Path, tmp_path: Path
) -> None:
    before = {path: path.read_bytes() for path in data.rglob('*') if path.is_file()}
    with pytest.raises(DatasetError, match=fault):
        annotate(data, written(tmp_path, content))
    assert {path: path.read_bytes() for path in data.rglob('*') if path.is_file()} == before


def test_a_topic_of_the_recording_marks_the_subtasks(
    tmp_path: Path, write_bag: Callable[..., Path], recording: list[BagMessage], contract: Contract
) -> None:
    marks = [said('reach', 0.01), said('insert', 1.05), said('', 1.5)]
    messages = sorted([*recording, *marks], key=lambda message: message.log_time_ns)
    bag, root = write_bag(tmp_path / 'bag', messages), tmp_path / 'data'
    report = convert_episode(bag, contract, root, 'plug it in')
    words = annotate(root, written(tmp_path, {'marker_topic': TOPIC}))
    begun_s = (START_NS + 1.05e9 - report.start_ns) / 1e9
    assert [text for _, text in words[0].subtasks] == ['reach', 'insert']
    assert 0 <= words[0].subtasks[1].time_s - begun_s < 1 / contract.fps + 1e-6
    assert [text for _, text in subtasks_of(root, 0)] == ['reach', 'insert']
    with pytest.raises(DatasetError, match=r"found no text on /subtasks; .*did you mean '/subtask'"):
        annotate(root, written(tmp_path, {'marker_topic': '/subtasks'}))
    shutil.rmtree(bag)
    with pytest.raises(DatasetError, match='no such recording, expected /subtask of episode 0 in it'):
        annotate(root, written(tmp_path, {'marker_topic': TOPIC}))


def test_subtasks_noted_while_recording_are_stored_with_the_episode(
    journal_of: Callable[..., Path], recording: list[BagMessage], contract: Contract, tmp_path: Path
) -> None:
    assert read_notes(open_bag(journal_of(recording))).subtasks == ()
    journal = Journal(tmp_path / 'noted', contract, start_ns=START_NS, task='plug it in')
    streams = {stream.topic: name for name, stream in contract.streams.items()}
    journal.begin_subtask('reach', START_NS)
    middle = len(recording) // 2
    for number, message in enumerate(recording):
        if number == middle:
            journal.begin_subtask('insert', message.log_time_ns)
        journal.write(streams[message.topic], message.cdr, message.log_time_ns)
    bag = journal.close(recording[-1].log_time_ns + 1)
    convert_episode(bag, None, tmp_path / 'data')
    (first_s, first), (second_s, second) = subtasks_of(tmp_path / 'data', 0)
    assert (first_s, first, second) == (0.0, 'reach', 'insert')
    assert 0.7 < second_s < 1.1
    assert open_dataset(tmp_path / 'data')[0]['task'] == 'plug it in'


@pytest.mark.parametrize('text', ['[[', '7', '[[1]]', '[["1", "a"]]', '[[1, 2]]', '[[2, "a"], [1, "b"]]'])
def test_notes_of_subtasks_that_cannot_be_true_are_refused(
    text: str, tmp_path: Path, contract: Contract, recording: list[BagMessage]
) -> None:
    journal = Journal(tmp_path / 'take', contract, start_ns=START_NS, task='push')
    journal.note(subtasks=text)
    with pytest.raises(BagError, match='note of subtasks'):
        read_notes(open_bag(journal.close(START_NS + 1)))


@pytest.mark.parametrize(
    ('times', 'expected'),
    [
        ([(-5.0, 'a'), (-1.0, 'b')], texts((0.0, 'b'))),
        ([(0.0, 'a'), (0.31, 'b')], texts((0.0, 'a'), (0.4, 'b'))),
        ([(0.0, 'a'), (0.31, 'b'), (0.35, 'c')], texts((0.0, 'a'), (0.4, 'c'))),
        ([(0.0, 'a'), (0.3, 'a')], texts((0.0, 'a'))),
        ([(0.3, 'a'), (0.5, ' '), (0.95, 'z')], texts((0.3, 'a'))),
        ([], ()),
    ],
)
def test_a_text_holds_from_the_first_frame_after_it_was_said(
    times: list[tuple[float, str]], expected: tuple
) -> None:
    given = [(START_NS + round(time_s * 1e9), text) for time_s, text in times]
    words = words_said(given, START_NS, 10, 10)
    assert words == (EpisodeWords(expected) if expected else NO_WORDS)
    times_s = np.arange(10, dtype=np.float32) / 10
    assert len(words.persistent(times_s)) == 2 * len(expected)

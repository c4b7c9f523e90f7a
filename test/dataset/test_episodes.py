"""Which stretches of a recording become episodes: ranges, markers, pauses; and that each becomes one."""

import dataclasses
import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from restac_ros.commands.data import Convert
from restac_ros.contract.load import dump_contract
from restac_ros.contract.schema import Contract
from restac_ros.dataset.bag.bag_reader import Bag, open_bag
from restac_ros.dataset.bag.storage import BagMessage
from restac_ros.dataset.convert import main
from restac_ros.dataset.episodes import WHOLE, EpisodeSpan, TimeRange, episodes_of
from restac_ros.dataset.errors import ConversionError
from restac_ros.dataset.journal import Journal
from restac_ros.dataset.lerobot_access import open_dataset

pytestmark = pytest.mark.usefixtures('no_copies_in_the_users_cache')

START_NS = 1_760_000_000_000_000_000
LAST_WORDS = ('done', 'failed', 'already', 'end')
BOOL, STRING, TOPIC = 'std_msgs/msg/Bool', 'std_msgs/msg/String', '/episode_marker'


@pytest.fixture(scope='module')
def bag(
    tmp_path_factory: pytest.TempPathFactory, write_bag: Callable[..., Path], recording: list[BagMessage]
) -> Bag:
    return open_bag(write_bag(tmp_path_factory.mktemp('bag') / 'bag', recording))


def marker(said: bool | str, at_s: float) -> BagMessage:
    """CDR by hand: encapsulation, then a byte, or length, text and a final zero."""
    head, time_ns = b'\0\1\0\0', START_NS + round(at_s * 1e9)
    if isinstance(said, bool):
        return BagMessage(TOPIC, BOOL, head + bytes([said]), time_ns)
    text = said.encode() + b'\0'
    return BagMessage(TOPIC, STRING, head + struct.pack('<I', len(text)) + text, time_ns)


@pytest.fixture
def marked(tmp_path: Path, write_bag: Callable[..., Path], recording: list[BagMessage]) -> Callable[..., Bag]:
    """marked((said, at_s), ...) -> the recording with these markers in it."""

    def make(*markers: tuple[bool | str, float]) -> Bag:
        messages = [*recording, *(marker(said, at_s) for said, at_s in markers)]
        path = tmp_path / f'marked{len(list(tmp_path.iterdir()))}'
        return open_bag(write_bag(path, sorted(messages, key=lambda message: message.log_time_ns)))

    return make


def seconds(spans: list[EpisodeSpan]) -> list[tuple[float, float]]:
    """Begin and end on the recording's own scale, which begins at START_NS."""
    return [((span.start_ns - START_NS) / 1e9, (span.end_ns - START_NS) / 1e9) for span in spans]


def test_a_recording_is_one_episode(bag: Bag) -> None:
    assert episodes_of(bag) == [WHOLE]


@pytest.mark.parametrize(
    ('text', 'made'),
    [
        ('1:2', (1, 2)),
        ('0.5:1.25', (0.5, 1.25)),
        (':3', (0, 3)),
        ('1.5:', (1.5, None)),
        ('1e1:2e1', (10, 20)),
    ],
)
def test_a_range_is_read(text: str, made: tuple[float, float | None]) -> None:
    assert TimeRange.parse(text) == made
    assert TimeRange.parse(str(TimeRange.parse(text))) == made


@pytest.mark.parametrize('text', ['', '5', 'a:b', '1:2:3', 'nan:1', '1:inf', '1-2'])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(ConversionError, match=r'expected START:END in seconds after the first message'):
        TimeRange.parse(text)


def test_ranges_count_from_the_first_message(bag: Bag) -> None:
    first_ns, last_ns = bag.bounds_ns
    one, other = episodes_of(bag, ranges=[TimeRange(1.2, None), TimeRange(0.25, 1.2)])
    assert (one.start_ns, one.end_ns) == (first_ns + 250_000_000, first_ns + 1_200_000_000)
    assert (other.start_ns, other.end_ns) == (one.end_ns, last_ns + 1)
    assert one.label == '0.25 to 1.20 s'
    assert one.share == pytest.approx(0.95e9 / (last_ns - first_ns))


@pytest.mark.parametrize(
    ('ranges', 'named'),
    [
        ([(1, 1)], '1:1 must begin before it ends'),
        ([(1.5, 1)], '1.5:1 must begin'),
        ([(-1, 1)], 'lie within 0:'),
        ([(0, 9)], r'0:9 .*lie within 0:[12]\.\d{3}\. Leave END out'),
        ([(5, None)], '5: must begin before'),
        ([(0.5, 1), (0, 0.6)], '0:0.6 and 0.5:1 overlap'),
        ([(0.5, 1), (0.5, 1)], '0.5:1 and 0.5:1 overlap'),
    ],
)
def test_ranges_that_make_no_sense_are_refused(bag: Bag, ranges: list[tuple], named: str) -> None:
    with pytest.raises(ConversionError, match=named):
        episodes_of(bag, ranges=[TimeRange(*each) for each in ranges])


def test_true_begins_and_false_ends(marked: Callable[..., Bag]) -> None:
    spans = episodes_of(
        marked((False, 0.1), (True, 0.3), (True, 0.5), (False, 0.9), (False, 1.0), (True, 1.2), (False, 1.9)),
        TOPIC,
    )
    assert seconds(spans) == [(0.3, 0.9), (1.2, 1.9)]
    assert [(span.task, span.notes) for span in spans] == [(None, ()), (None, ())]


def test_a_text_is_the_task_until_another_or_none(marked: Callable[..., Bag]) -> None:
    spans = episodes_of(
        marked(('open', 0.2), ('open', 0.4), (' close ', 0.7), ('', 1.1), ('', 1.2), ('open', 1.5)), TOPIC
    )
    assert seconds(spans)[:2] == [(0.2, 0.7), (0.7, 1.1)]
    assert [span.task for span in spans] == ['open', 'close', 'open']
    assert 'still running when the recording ended' in spans[2].notes[0]


def test_an_episode_that_is_running_at_the_end_ends_there(marked: Callable[..., Bag]) -> None:
    bag = marked((True, 1.4))
    [span] = episodes_of(bag, TOPIC)
    assert span.end_ns == bag.bounds_ns[1] + 1
    assert span.notes == (f'{TOPIC}: the episode was still running when the recording ended',)


def test_markers_that_are_none_are_refused(bag: Bag, marked: Callable[..., Bag]) -> None:
    with pytest.raises(ConversionError, match=r"no marker on /episodes; .*did you mean '/episode_marker'"):
        episodes_of(marked((True, 0.1)), '/episodes')
    with pytest.raises(ConversionError, match=r'no marker on /episode_marker; .*known: none'):
        episodes_of(bag, TOPIC)
    with pytest.raises(ConversionError, match=r'is sensor_msgs/msg/JointState; markers are std_msgs/msg/B'):
        episodes_of(bag, '/franka/joint_states')
    with pytest.raises(ConversionError, match='no episode begins on'):
        episodes_of(marked((False, 0.1)), TOPIC)
    with pytest.raises(ConversionError, match='give one of them'):
        episodes_of(bag, TOPIC, [TimeRange(0, 1)])


def test_a_marker_that_cannot_be_read_is_refused(
    tmp_path: Path, write_bag: Callable[..., Path], recording: list[BagMessage]
) -> None:
    torn = marker('open', 0.0)._replace(cdr=b'\0\1\0\0\xff\0\0\0open', log_time_ns=recording[0].log_time_ns)
    with pytest.raises(ConversionError, match='a marker is no std_msgs/msg/String'):
        episodes_of(open_bag(write_bag(tmp_path / 'bag', [torn, *recording])), TOPIC)


def converted(root: Path) -> list[dict]:
    """What the data set says of its episodes."""
    return [json.loads(path.read_text()) for path in sorted(root.glob('meta/restac_ros/episodes/*.json'))]


def as_file(contract: Contract, path: Path) -> Path:
    path.write_text(dump_contract(contract))
    return path


def test_marked_episodes_are_converted_each_with_its_task(
    tmp_path: Path, marked: Callable[..., Bag], contract: Contract, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the command, which skips what is in, and names what cannot be an episode without stopping."""
    bag = marked(('open', 0.2), ('close', 0.9), ('', 1.05), ('wipe', 1.2))
    asked = Convert(
        (bag.path,),
        tmp_path / 'demos',
        marker_topic=TOPIC,
        workers=1,
        contract=as_file(contract, tmp_path / 'contract.yaml'),
    )
    assert dataclasses.replace(asked, dry_run=True).run() == 1
    planned = capsys.readouterr()
    assert planned.out.count('can be an episode') == 2
    assert not (tmp_path / 'demos').exists()
    assert asked.run() == 1  # the second lasts 0.15 s: a frame or two
    told = capsys.readouterr()
    assert f'refused: {bag.path} (0.90 to 1.05 s): only' in told.err
    assert '(0.20 to 0.90 s) -> episode 0: ' in told.out
    assert 'task: open' in told.out
    assert 'episode was still running' in told.out
    first, last = converted(tmp_path / 'demos')
    assert (first['task'], last['task']) == ('open', 'wipe')
    assert START_NS + 200_000_000 <= first['start_ns'] < first['end_ns'] <= START_NS + 900_000_000
    assert last['start_ns'] >= START_NS + 1_200_000_000
    assert 'still running' in last['notes'][0]
    dataset = open_dataset(tmp_path / 'demos')
    assert [dataset[0]['task'], dataset[len(dataset) - 1]['task']] == ['open', 'wipe']
    assert asked.run() == 1
    assert 'is episode 0 already' in capsys.readouterr().out
    assert len(converted(tmp_path / 'demos')) == 2


def test_ranges_are_of_one_recording_and_each_is_an_episode(
    tmp_path: Path, bag: Bag, contract: Contract, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = Convert(
        (bag.path,),
        tmp_path / 'demos',
        'press',
        range=('0.3:0.9', '1.2:'),
        workers=1,
        contract=as_file(contract, tmp_path / 'contract.yaml'),
    )
    assert asked.run() == 0
    assert [about['task'] for about in converted(tmp_path / 'demos')] == ['press', 'press']
    first, second = (about['start_ns'] for about in converted(tmp_path / 'demos'))
    assert second - first == pytest.approx(0.9e9, abs=1)
    with pytest.raises(ConversionError, match='time ranges are those of one recording'):
        dataclasses.replace(asked, bags=(bag.path, bag.path)).run()
    with pytest.raises(ConversionError, match='name a recording'):
        dataclasses.replace(asked, bags=()).run()
    assert dataclasses.replace(asked, range=('1:9',)).run() == 1
    assert 'must begin before it ends, and lie within' in capsys.readouterr().err


def test_a_paused_journal_is_an_episode_per_stretch(
    tmp_path: Path, contract: Contract, recording: list[BagMessage], capsys: pytest.CaptureFixture[str]
) -> None:
    """Frames reach over no pause; a stretch too short is told; a second call adds nothing."""
    journal = Journal(tmp_path / 'take', contract, start_ns=START_NS, task='press the button')
    streams = {stream.topic: name for name, stream in contract.streams.items()}
    stretches = [(0.0, 0.8), (0.9, 1.0), (1.2, 2.0)]
    for begin_s, end_s in stretches:
        begin_ns, end_ns = (START_NS + round(time_s * 1e9) for time_s in (begin_s, end_s))
        if begin_s:
            journal.resume(begin_ns)
        for message in recording:
            if begin_ns <= message.log_time_ns < end_ns:
                journal.write(streams[message.topic], message.cdr, message.log_time_ns)
        journal.pause(end_ns)
    path = journal.close(START_NS + 3 * 10**9)
    assert [span.label for span in episodes_of(open_bag(path))][1:] == ['0.90 to 1.00 s', '1.20 to 2.00 s']
    assert main([str(path), '--to', str(tmp_path / 'demos')]) == 1
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    last_words = [event for event in events if event['event'] in LAST_WORDS]
    assert [event['event'] for event in last_words] == ['done', 'failed', 'done', 'end']
    assert '0.90 to 1.00 s: ' in last_words[1]['error']
    one, other = converted(tmp_path / 'demos')
    assert one['end_ns'] <= START_NS + 800_000_000 < START_NS + 1_200_000_000 <= other['start_ns']
    assert [one['task'], other['task']] == ['press the button'] * 2
    assert main([str(path), '--to', str(tmp_path / 'demos')]) == 1
    again = [json.loads(line)['event'] for line in capsys.readouterr().out.splitlines()]
    assert again == ['already', 'failed', 'already', 'end']
    assert len(converted(tmp_path / 'demos')) == 2

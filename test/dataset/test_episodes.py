"""Which stretches of a recording become episodes: ranges, markers, pauses; and that each becomes one."""

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from restac_ros.dataset.bag_reader import Bag, open_bag
from restac_ros.dataset.episodes import WHOLE, EpisodeSpan, TimeRange, episodes_of
from restac_ros.dataset.errors import ConversionError
from restac_ros.dataset.lerobot_access import private_cache
from restac_ros.dataset.storage import BagMessage

START_NS = 1_760_000_000_000_000_000
BOOL, STRING, TOPIC = 'std_msgs/msg/Bool', 'std_msgs/msg/String', '/episode_marker'


@pytest.fixture(scope='module', autouse=True)
def no_copies_in_the_users_cache() -> Iterator[None]:
    with private_cache():
        yield


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
def marked(
    tmp_path: Path, write_bag: Callable[..., Path], recording: list[BagMessage]
) -> Callable[..., Bag]:
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


@pytest.mark.parametrize(('text', 'made'), [
    ('1:2', (1, 2)), ('0.5:1.25', (0.5, 1.25)), (':3', (0, 3)), ('1.5:', (1.5, None)), ('1e1:2e1', (10, 20))])
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


@pytest.mark.parametrize(('ranges', 'named'), [
    ([(1, 1)], '1:1 must begin before it ends'),
    ([(1.5, 1)], '1.5:1 must begin'),
    ([(-1, 1)], 'lie within 0:'),
    ([(0, 9)], r'0:9 .*lie within 0:[12]\.\d{3}\. Leave END out'),
    ([(5, None)], '5: must begin before'),
    ([(0.5, 1), (0, 0.6)], '0:0.6 and 0.5:1 overlap'),
    ([(0.5, 1), (0.5, 1)], '0.5:1 and 0.5:1 overlap'),
])
def test_ranges_that_make_no_sense_are_refused(bag: Bag, ranges: list[tuple], named: str) -> None:
    with pytest.raises(ConversionError, match=named):
        episodes_of(bag, ranges=[TimeRange(*each) for each in ranges])


def test_true_begins_and_false_ends(marked: Callable[..., Bag]) -> None:
    spans = episodes_of(marked((False, 0.1), (True, 0.3), (True, 0.5), (False, 0.9), (False, 1.0),
                               (True, 1.2), (False, 1.9)), TOPIC)
    assert seconds(spans) == [(0.3, 0.9), (1.2, 1.9)]
    assert [(span.task, span.notes) for span in spans] == [(None, ()), (None, ())]


def test_a_text_is_the_task_until_another_or_none(marked: Callable[..., Bag]) -> None:
    spans = episodes_of(marked(('open', 0.2), ('open', 0.4), (' close ', 0.7), ('', 1.1), ('', 1.2),
                               ('open', 1.5)), TOPIC)
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

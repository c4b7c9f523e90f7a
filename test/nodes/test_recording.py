"""The recorder without ROS: queue, journal, disk, conversion, and what is kept when something goes wrong."""

import dataclasses
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from restac_ros.contract.load import load_contract
from restac_ros.contract.schema import Contract
from restac_ros.dataset.bag_reader import open_bag
from restac_ros.dataset.errors import JournalError
from restac_ros.framing.sample import Sample
from restac_ros.nodes import recorder as recorder_module
from restac_ros.nodes.conversion import Conversions, Converted
from restac_ros.nodes.recorder import TRASH, Recorder, RecorderError, RecorderSettings
from restac_ros.nodes.recording import HOLD_BACK_NS, Recording

START_NS = 1_760_000_000 * 10**9
JOINT_STATE = b'\0\1\0\0' + bytes(64)
DEADLINE_S = 60


@pytest.fixture
def contract(repository: Path) -> Contract:
    return load_contract(repository / 'config' / 'contract.yaml')


class Clock:
    """Nanoseconds that rise with every look."""

    def __init__(self) -> None:
        self.now_ns = START_NS

    def __call__(self) -> int:
        self.now_ns += 1000
        return self.now_ns


@pytest.fixture
def make_recorder(contract: Contract, tmp_path: Path) -> Callable[..., tuple[Recorder, dict[str, list[str]]]]:
    def make(**settings: object) -> tuple[Recorder, dict[str, list[str]]]:
        told: dict[str, list[str]] = {'inform': [], 'warn': [], 'fail': []}
        chosen = RecorderSettings(tmp_path / 'journals', None, queue_bytes=10**6, min_free_bytes=0)
        chosen = dataclasses.replace(chosen, **settings)
        return Recorder(contract, chosen, Clock(), **{key: told[key].append for key in told}), told

    return make


def settle(recorder: Recorder) -> None:
    """Poll until nothing is under way; the recorder's own threads bring that about."""
    pause = threading.Event()
    for _ in range(DEADLINE_S * 50):
        recorder.poll()
        if not recorder.busy:
            return
        pause.wait(0.02)
    pytest.fail('the recorder never came to rest')


def offer(recorder: Recorder, count: int, stream: str = 'joints') -> None:
    for i in range(count):
        recorder.offer(Sample(stream, START_NS + i, START_NS + i * 10**6, JOINT_STATE))


def test_a_saved_recording_is_a_bag_of_what_was_offered(make_recorder, contract: Contract) -> None:
    recorder, told = make_recorder()
    offer(recorder, 5)  # nothing is being recorded yet
    recorder.start('push')
    offer(recorder, 20)
    offer(recorder, 3, 'gripper')
    recorder.save()
    offer(recorder, 7)  # nor any more
    settle(recorder)
    report = recorder.report()
    bag = open_bag(report.journal)
    counts = {topic: found.count for topic, found in bag.topics.items()}
    assert counts[contract.streams['joints'].topic] == 20
    assert counts[contract.streams['gripper'].topic] == 3
    assert (report.state, report.received['joints'], report.written['joints']) == ('idle', 20, 20)
    assert 'saved' in told['inform'][-1]
    assert told['fail'] == []


def test_what_finds_no_room_is_dropped_and_counted(contract: Contract, tmp_path: Path) -> None:
    recording = Recording(tmp_path / 'journal', contract, 'push', Clock(), queue_bytes=len(JOINT_STATE))
    with recording._changed:  # the writer can't take anything meanwhile
        for i in range(3):
            recording._held_bytes = len(JOINT_STATE)
            recording.offer('joints', JOINT_STATE, START_NS + i)
        recording._held_bytes = 0
    assert (recording.received['joints'], recording.dropped['joints']) == (3, 3)
    recording.finish()
    recording.join()
    assert recording.done
    assert recording.written['joints'] == 0


def test_what_comes_a_little_out_of_order_is_sorted(contract: Contract, tmp_path: Path) -> None:
    recording = Recording(tmp_path / 'journal', contract, 'push', Clock(), queue_bytes=10**6)
    for i in (3, 1, 2, 0, 5, 4):
        recording.offer('joints' if i % 2 else 'gripper', JOINT_STATE + bytes([i]), START_NS + i * 10**6)
    recording.finish()
    recording._thread.join(DEADLINE_S)
    messages = list(open_bag(recording.path).messages())
    assert [message.cdr[-1] for message in messages] == [0, 1, 2, 3, 4, 5]
    assert [message.log_time_ns for message in messages] == [START_NS + i * 10**6 for i in range(6)]


def test_what_comes_too_late_to_be_sorted_is_dated_by_when_it_came(
    contract: Contract, tmp_path: Path
) -> None:
    clock = Clock()
    recording = Recording(tmp_path / 'journal', contract, 'push', clock, queue_bytes=10**6)
    recording.offer('joints', JOINT_STATE, START_NS + 5)
    clock.now_ns += 10 * HOLD_BACK_NS
    pause = threading.Event()
    for _ in range(DEADLINE_S * 50):
        if recording.written['joints']:
            break
        pause.wait(0.02)
    recording.offer('gripper', JOINT_STATE, START_NS + 1)
    recording.finish()
    recording._thread.join(DEADLINE_S)
    assert [message.log_time_ns for message in open_bag(recording.path).messages()] == [START_NS + 5] * 2


def test_discarding_moves_to_the_trash_and_deletes_nothing(make_recorder, tmp_path: Path) -> None:
    recorder, _ = make_recorder()
    recorder.start('push')
    offer(recorder, 4)
    recorder.discard()
    [kept] = (tmp_path / 'journals' / TRASH).iterdir()
    assert [file.suffix for file in kept.iterdir()] == ['.mcap']
    assert [path.name for path in (tmp_path / 'journals').iterdir()] == [TRASH]
    assert recorder.report().state == 'idle'


@pytest.mark.parametrize(
    ('actions', 'message'),
    [
        (['save'], 'nothing is being recorded'),
        (['discard'], 'nothing is being recorded'),
        (['start', 'start'], 'save or discard it first'),
    ],
)
def test_requests_out_of_order_are_refused(make_recorder, actions: list[str], message: str) -> None:
    recorder, _ = make_recorder()
    calls = {'start': lambda: recorder.start('push'), 'save': recorder.save, 'discard': recorder.discard}
    for action in actions[:-1]:
        calls[action]()
    with pytest.raises(RecorderError, match=message):
        calls[actions[-1]]()


def test_an_episode_needs_a_task(make_recorder) -> None:
    recorder, _ = make_recorder()
    with pytest.raises(RecorderError, match='no task text'):
        recorder.start('  ')


def test_too_little_disk_is_said_before_anything_is_recorded(make_recorder) -> None:
    with pytest.raises(JournalError, match='GB free'):
        make_recorder(min_free_bytes=10**18)


def test_a_recording_ends_and_is_saved_when_the_disk_fills(make_recorder, monkeypatch) -> None:
    recorder, told = make_recorder(min_free_bytes=1)
    recorder.start('push')
    offer(recorder, 4)
    monkeypatch.setattr(recorder_module, '_free_bytes', lambda path: 0)
    recorder.poll()
    settle(recorder)
    assert not recorder.is_recording
    assert 'the recording was ended' in told['fail'][0]
    assert sum(found.count for found in open_bag(recorder.report().journal).topics.values()) == 4


def test_a_failed_disk_is_told_and_the_rest_counted_as_dropped(make_recorder, monkeypatch) -> None:
    from restac_ros.dataset.journal import Journal

    def refuse(*_: object) -> None:
        raise JournalError('the disk refuses')

    recorder, told = make_recorder()
    recorder.start('push')
    recording = recorder._recording
    monkeypatch.setattr(Journal, 'write', refuse)
    offer(recorder, 1)
    recorder._now_ns.now_ns += 10 * HOLD_BACK_NS
    recording._thread.join(DEADLINE_S)
    offer(recorder, 5)
    assert recording.dropped['joints'] == 5
    recorder.poll()
    assert told['fail'] == ['the disk refuses']
    assert recorder.report().state == 'error'
    assert recording._journal.partial.is_dir()


def test_journals_left_by_a_crash_are_named(make_recorder, tmp_path: Path, contract: Contract) -> None:
    crashed = Recording(tmp_path / 'journals' / 'lost', contract, 'push', Clock(), 10**6)
    crashed._end(saving=False)
    crashed._thread.join(DEADLINE_S)
    _, told = make_recorder()
    assert 'lost.partial' in told['warn'][0]


def test_a_bag_that_is_no_episode_is_kept_and_the_reason_told(make_recorder, tmp_path: Path) -> None:
    recorder, told = make_recorder(dataset=tmp_path / 'dataset')
    recorder.start('push')
    offer(recorder, 3)  # no camera at all
    recorder.save()
    settle(recorder)
    report = recorder.report()
    assert report.state == 'error'
    assert 'no episode was made of' in told['fail'][0]
    assert Path(report.journal).is_dir()
    assert not (tmp_path / 'dataset').exists()
    assert recorder.saved[0].failure


def test_a_conversion_that_is_stopped_says_how_to_do_it_by_hand(tmp_path: Path) -> None:
    conversions = Conversions(tmp_path / 'dataset', 'refuse')
    conversions.add(tmp_path / 'one')
    conversions.add(tmp_path / 'two')
    assert conversions.poll() is None
    assert conversions.pending == [tmp_path / 'one', tmp_path / 'two']
    assert conversions.stop() == [tmp_path / 'one', tmp_path / 'two']
    assert conversions.pending == []
    assert f'restac_ros.dataset.convert {tmp_path / "one"}' in conversions.by_hand(tmp_path / 'one')


def test_a_converter_that_dies_is_a_failure(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr('restac_ros.nodes.conversion.command', lambda *_: ['false'])
    conversions = Conversions(tmp_path / 'dataset', 'refuse')
    conversions.add(tmp_path / 'one')
    conversions.poll()
    conversions._process.wait(DEADLINE_S)
    ended = conversions.poll()
    assert isinstance(ended, Converted)
    assert 'status 1' in ended.failure

"""The recorder without ROS: queue, journal, disk, conversion, and what is kept when something goes wrong."""

import dataclasses
import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from restac_ros.contract.load import load_contract
from restac_ros.contract.schema import Contract
from restac_ros.dataset.bag.bag_reader import open_bag
from restac_ros.dataset.bag.bag_writer import PARTIAL
from restac_ros.dataset.errors import JournalError
from restac_ros.dataset.journal import Journal, read_notes
from restac_ros.dataset.recording_kind import LOG_SUFFIX
from restac_ros.framing.sample import Sample
from restac_ros.recording.conversion import Conversions, Converted, find_unconverted
from restac_ros.recording.guards import Guards, available_memory_bytes
from restac_ros.recording.recorder import TRASH, Recorder, RecorderError, RecorderSettings
from restac_ros.recording.recording import HOLD_BACK_NS, Recording, RecordingClocks
from restac_ros.recording.saving import Announcer

START_NS = 1_760_000_000 * 10**9
JOINT_STATE = b'\0\1\0\0' + bytes(64)
DEADLINE_S = 240


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

    @property
    def clocks(self) -> RecordingClocks:
        return RecordingClocks(self, self, self)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def begin(contract: Contract, tmp_path: Path, clock: Clock) -> Callable[..., Recording]:
    """begin(path='journal', queue_bytes=10**6) -> a recording under way."""

    def begin(path: str = 'journal', queue_bytes: int = 10**6) -> Recording:
        return Recording(tmp_path / path, contract, 'push', clock.clocks, queue_bytes)

    return begin


def sample(stream: str, receive_ns: int, cdr: bytes = JOINT_STATE) -> Sample:
    return Sample(stream, receive_ns, receive_ns, cdr)


def crash(recording: Recording) -> Path:
    """End a recording as the death of its process does; what is left on the disk."""
    recording.discard(recording.path.parent)  # where it is
    return recording.path


@pytest.fixture
def make_recorder(
    contract: Contract, tmp_path: Path, clock: Clock
) -> Callable[..., tuple[Recorder, dict[str, list[str]]]]:
    def make(guards: Guards | None = None, **settings: object) -> tuple[Recorder, dict[str, list[str]]]:
        told: dict[str, list[str]] = {'inform': [], 'warn': [], 'fail': []}
        chosen = RecorderSettings(tmp_path / 'journals', None, queue_bytes=10**6, min_free_bytes=0)
        chosen = dataclasses.replace(chosen, **settings)
        announce = Announcer(**{key: told[key].append for key in told})
        return Recorder(contract, chosen, clock.clocks, announce, guards), told

    return make


def settle_until(recorder: Recorder, condition: Callable[[], bool]) -> None:
    """Poll until a condition holds; the recorder's own threads bring that about."""
    pause = threading.Event()
    for _ in range(DEADLINE_S * 50):
        recorder.poll()
        if condition():
            return
        pause.wait(0.02)
    pytest.fail('the recorder never came to rest')


def settle(recorder: Recorder) -> None:
    """Poll until nothing is under way."""
    settle_until(recorder, lambda: not recorder.busy)


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


def test_what_finds_no_room_is_dropped_and_counted(begin) -> None:
    recording = begin(queue_bytes=2 * len(JOINT_STATE))
    for i in range(5):  # all so new that the writer holds them back to sort them
        recording.offer(sample('joints', START_NS + i))
    assert (recording.received['joints'], recording.dropped['joints']) == (5, 3)
    recording.finish()
    recording.join()
    assert recording.closed
    assert recording.written['joints'] == 2


def test_what_comes_a_little_out_of_order_is_sorted(begin) -> None:
    recording = begin()
    for i in (3, 1, 2, 0, 5, 4):
        stream = 'joints' if i % 2 else 'gripper'
        recording.offer(sample(stream, START_NS + i * 10**6, JOINT_STATE + bytes([i])))
    recording.finish()
    recording.join()
    messages = list(open_bag(recording.path).messages())
    assert [message.cdr[-1] for message in messages] == [0, 1, 2, 3, 4, 5]
    assert [message.log_time_ns for message in messages] == [START_NS + i * 10**6 for i in range(6)]


def test_what_comes_too_late_to_be_sorted_is_dated_by_when_it_came(begin, clock: Clock) -> None:
    recording = begin()
    recording.offer(sample('joints', START_NS + 5))
    clock.now_ns += 10 * HOLD_BACK_NS
    pause = threading.Event()
    for _ in range(DEADLINE_S * 50):
        if recording.written['joints']:
            break
        pause.wait(0.02)
    recording.offer(sample('gripper', START_NS + 1))
    recording.finish()
    recording.join()
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
    assert recorder.report().journal == str(kept)


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
    with pytest.raises(RecorderError, match='GB free'):
        make_recorder(min_free_bytes=10**18)


class Machine:
    """Disk and memory as the guards see them, in bytes."""

    def __init__(self) -> None:
        self.disk = self.memory = 10**10

    def free_disk(self, path: Path, needed_bytes: int) -> int:
        if self.disk < needed_bytes:
            raise JournalError(f'{path} has {self.disk} bytes of {needed_bytes}')
        return self.disk

    def guards(self, directory: Path) -> Guards:
        return Guards(directory, 10**9, 10**9, self.free_disk, lambda: self.memory)


@pytest.mark.parametrize(
    ('short', 'words'), [('disk', 'bytes of'), ('memory', 'GB of memory left of 1.00 GB')]
)
def test_a_recording_is_ended_and_saved_before_disk_or_memory_run_out(
    make_recorder, tmp_path: Path, short: str, words: str
) -> None:
    machine = Machine()
    recorder, told = make_recorder(machine.guards(tmp_path))
    recorder.start('push')
    offer(recorder, 4)
    recorder.poll()
    assert recorder.is_recording
    setattr(machine, short, 10**8)
    recorder.poll()
    settle(recorder)
    assert not recorder.is_recording
    [failure] = told['fail']
    assert failure.startswith('the recording was ended and saved')
    assert words in failure
    report = recorder.report()
    assert (report.state, report.message) == ('error', failure)
    assert sum(found.count for found in open_bag(report.journal).topics.values()) == 4
    with pytest.raises(RecorderError, match=words):
        recorder.start('push')


def test_no_conversion_begins_while_memory_is_short(make_recorder, tmp_path: Path) -> None:
    machine = Machine()
    recorder, told = make_recorder(machine.guards(tmp_path), dataset=tmp_path / 'dataset')
    recorder.start('push')
    machine.memory = 0
    recorder.poll()
    while not recorder.report().message.startswith('saving waits: 0.00 GB of memory'):
        recorder.poll()
    assert len(told['fail']) == 1
    machine.memory = 10**10
    settle(recorder)
    assert 'no episode was made of' in told['fail'][1]


def test_the_memory_guard_reads_what_the_kernel_says_and_zero_switches_it_off(tmp_path: Path) -> None:
    found = re.search(r'^MemAvailable:\s+(\d+) kB$', Path('/proc/meminfo').read_text(), re.MULTILINE)
    assert found
    assert available_memory_bytes() == pytest.approx(int(found[1]) * 1024, rel=0.2)
    assert 'GB of memory left' in Guards(tmp_path, 0, 10**15).check().shortage
    assert Guards(tmp_path, 0, 0).check().shortage == ''


def test_nothing_is_taken_in_a_pause(make_recorder, clock: Clock) -> None:
    recorder, told = make_recorder()
    recorder.start('push')
    clock.now_ns = START_NS + 10**9
    offer(recorder, 10)  # received until START_NS + 9 ms
    recorder.pause()
    assert recorder.report().state == 'paused'
    with pytest.raises(RecorderError, match='paused already'):
        recorder.pause()
    offer(recorder, 30)
    paused = recorder.report().duration_ns
    clock.now_ns = START_NS + 2 * 10**9
    assert recorder.report().duration_ns == paused
    recorder.resume()
    with pytest.raises(RecorderError, match='not paused'):
        recorder.resume()
    offer(recorder, 5)  # received in the pause, or before
    for i in range(3):
        recorder.offer(Sample('joints', START_NS, START_NS + 2 * 10**9 + (i + 1) * 10**8, JOINT_STATE))
    clock.now_ns = START_NS + 3 * 10**9
    recorder.save()
    settle(recorder)
    report = recorder.report()
    assert (report.received['joints'], report.written['joints'], told['fail']) == (13, 13, [])
    bag = open_bag(report.journal)
    times = [message.log_time_ns for message in bag.messages()]
    first, second = read_notes(bag).segments
    assert len(times) == 13
    assert all(first[0] <= time < first[1] for time in times[1:10])
    assert all(second[0] <= time < second[1] for time in times[10:])
    assert second[0] - first[1] == pytest.approx(10**9, abs=10**7)
    assert report.duration_ns == pytest.approx(first[1] - first[0] + second[1] - second[0], abs=10**6)


def test_pauses_are_in_order_while_the_clock_stands_still(contract: Contract, tmp_path: Path) -> None:
    recording = Recording(
        tmp_path / 'journal', contract, 'push', RecordingClocks(*[lambda: START_NS] * 3), queue_bytes=10**6
    )
    for _ in range(3):
        recording.pause()
        recording.resume()
    recording.pause()
    recording.finish()
    recording.join()
    assert recording.failure == ''
    assert len(read_notes(open_bag(recording.path)).segments) == 4


def test_the_most_that_waited_at_once_is_told_by_stream(begin, clock: Clock) -> None:
    recording = begin()
    for i in range(7):
        recording.offer(sample('joints', START_NS + 10**9 + i))
    recording.offer(sample('gripper', START_NS + 10**9))
    clock.now_ns += 20 * HOLD_BACK_NS
    pause = threading.Event()
    for _ in range(DEADLINE_S * 50):
        if recording.written['joints'] == 7:
            break
        pause.wait(0.02)
    recording.offer(sample('joints', START_NS + 10**10))
    recording.finish()
    recording.join()
    assert (recording.high_water['joints'], recording.high_water['gripper']) == (7, 1)
    assert recording.high_water['main'] == 0


def test_a_failed_disk_is_told_and_the_rest_counted_as_dropped(
    make_recorder, clock: Clock, monkeypatch
) -> None:
    def refuse(*_: object) -> None:
        raise JournalError('the disk refuses')

    recorder, told = make_recorder()
    before = set(threading.enumerate())
    recorder.start('push')
    writers = set(threading.enumerate()) - before
    monkeypatch.setattr(Journal, 'write', refuse)
    offer(recorder, 1)
    clock.now_ns += 10 * HOLD_BACK_NS
    for thread in writers:
        thread.join(DEADLINE_S)
    offer(recorder, 5)
    report = recorder.report()
    assert report.dropped['joints'] == 5
    recorder.poll()
    assert told['fail'] == ['the disk refuses']
    assert recorder.report().state == 'error'
    assert Path(f'{report.journal}{PARTIAL}').is_dir()


def test_journals_left_by_a_crash_are_named(make_recorder, tmp_path: Path, begin) -> None:
    crash(begin('journals/lost'))
    recorder, told = make_recorder()
    assert 'lost.partial' in told['warn'][0]
    assert f'restac-ros recover {tmp_path / "journals"}' in told['warn'][0]
    assert recorder.report().unfinished == [tmp_path / 'journals' / 'lost.partial']


def test_journals_left_by_a_crash_are_completed_and_converted_when_asked(
    make_recorder, tmp_path: Path, begin, clock: Clock
) -> None:
    crashed = begin('journals/lost')
    crashed.offer(sample('joints', START_NS))
    crashed.pause()
    while not crashed.written['joints']:
        clock.now_ns += HOLD_BACK_NS
    crash(crashed)
    recorder, told = make_recorder(dataset=tmp_path / 'dataset')
    assert recorder.recover() == 'recovering lost.partial'
    assert recorder.report().unfinished == []
    assert recorder.report().state == 'saving'
    settle(recorder)
    assert f'recovered {tmp_path / "journals" / "lost"}: 1 messages' in told['inform'][0]
    assert len(read_notes(open_bag(tmp_path / 'journals' / 'lost')).segments) == 1
    assert 'no episode was made of' in told['fail'][0]  # one joint state is none, but it was tried
    with pytest.raises(RecorderError, match='holds no unfinished'):
        recorder.recover()


def test_a_conversion_cut_off_is_offered_and_made_again(make_recorder, tmp_path: Path) -> None:
    recorder, told = make_recorder(dataset=tmp_path / 'dataset')
    recorder.start('push')
    offer(recorder, 3)
    recorder.save()
    journal = Path(recorder.report().journal)
    recorder.give_up('it was stopped')
    assert f'{journal} is not converted, as it was stopped; to do it: restac-ros convert' in told['fail'][0]
    again, told = make_recorder(dataset=tmp_path / 'dataset')
    assert again.report().unfinished == [journal]
    assert again.recover() == f'recovering {journal.name}'
    settle(again)
    assert 'no episode was made of' in told['fail'][0]
    last, told = make_recorder(dataset=tmp_path / 'dataset')
    assert (last.report().unfinished, told['warn']) == ([], [])


def test_what_cannot_be_recovered_is_told_and_listed_again(make_recorder, tmp_path: Path) -> None:
    partial = tmp_path / 'journals' / 'odd.partial'
    partial.mkdir(parents=True)
    (partial / 'odd_0.mcap').write_bytes(b'no mcap')
    recorder, told = make_recorder()
    recorder.recover()
    settle(recorder)
    assert 'is not an MCAP file' in told['fail'][0]
    assert recorder.report().unfinished == [partial]
    assert (partial / 'odd_0.mcap').read_bytes() == b'no mcap'


def test_a_conversion_cut_off_by_a_crash_is_found(tmp_path: Path) -> None:
    conversions = Conversions(tmp_path / 'dataset', 'refuse')
    for name in ('cut_off', 'announced', 'refused', 'never_closed'):
        if name != 'never_closed':
            (tmp_path / name).mkdir()
        conversions.announce(tmp_path / name)
    conversions.add(tmp_path / 'cut_off')
    assert find_unconverted(tmp_path) == []  # somebody lives who sees to them
    conversions.stop()
    told = '{"event": "failed", "error": "a gap"}\n'  # of one episode of several
    (tmp_path / f'announced{LOG_SUFFIX}').write_text(told)
    (tmp_path / f'refused{LOG_SUFFIX}').write_text(told + '{"event": "end"}\n')
    for name in ('announced', 'refused', 'never_closed'):
        conversions.withdraw(tmp_path / name)
    assert find_unconverted(tmp_path) == [tmp_path / 'announced', tmp_path / 'cut_off']


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
    assert conversions.poll() == []
    assert conversions.pending == [tmp_path / 'one', tmp_path / 'two']
    assert conversions.stop() == [tmp_path / 'one', tmp_path / 'two']
    assert conversions.pending == []
    assert conversions.by_hand(tmp_path / 'one').startswith(f'restac-ros convert {tmp_path / "one"} --to ')


def test_a_converter_that_dies_is_a_failure(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr('restac_ros.recording.conversion.conversion_command', lambda *_: ['false'])
    conversions = Conversions(tmp_path / 'dataset', 'refuse')
    conversions.add(tmp_path / 'one')
    conversions.poll()
    pause = threading.Event()
    for _ in range(DEADLINE_S * 50):
        if ended := conversions.poll():
            break
        pause.wait(0.02)
    [ended] = ended
    assert isinstance(ended, Converted)
    assert 'status 1' in ended.failure


@pytest.mark.filterwarnings('ignore::pytest.PytestUnhandledThreadExceptionWarning')
@pytest.mark.parametrize('death', [MemoryError('no memory'), SystemExit(3)])
def test_a_writer_that_dies_is_a_failure_and_nothing_is_called_saved(
    make_recorder, tmp_path: Path, monkeypatch, death: BaseException
) -> None:
    recorder, told = make_recorder()
    recorder.start('push')
    offer(recorder, 4)

    def die(*_: object) -> None:
        raise death

    monkeypatch.setattr(Journal, 'close', die)
    recorder.save()
    settle(recorder)
    [failure] = told['fail']
    assert re.search(r'was not finished: .*(MemoryError: no memory|without closing it)', failure)
    assert not any('saved' in text for text in told['inform'])
    [partial] = (tmp_path / 'journals').glob('*.partial')
    assert str(partial) in failure
    assert recorder.state == 'error'


def test_a_writer_that_dies_while_recording_is_reported_at_the_next_poll(
    make_recorder, clock: Clock, monkeypatch
) -> None:
    def die(*_: object) -> None:
        raise MemoryError('no memory')

    recorder, told = make_recorder()
    recorder.start('push')
    monkeypatch.setattr(Journal, 'write', die)
    offer(recorder, 1)
    clock.now_ns += 10 * HOLD_BACK_NS
    settle_until(recorder, lambda: bool(told['fail']))
    assert 'MemoryError' in told['fail'][0]
    assert not recorder.is_recording
    assert [path.suffix for path in recorder.report().unfinished] == ['.partial']


@pytest.mark.parametrize(
    ('disk_ns', 'compression', 'words'),
    [
        (9 * 10**9, 'none', 'the disk is too slow; record to a faster one'),
        (10**8, 'zstd', r'too busy \(.*only 1% of the time\); .* without zstd \(compression: none\)'),
        (10**8, 'none', r'too busy \(.*only 1% of the time\); end other programs$'),
    ],
)
def test_what_is_dropped_is_laid_to_the_disk_only_when_the_writer_waited_for_it(
    make_recorder, clock: Clock, monkeypatch, disk_ns: int, compression: str, words: str
) -> None:
    recorder, told = make_recorder(queue_bytes=len(JOINT_STATE), compression=compression)
    recorder.start('push')
    offer(recorder, 3)
    monkeypatch.setattr(Recording, 'disk_share', property(lambda _: disk_ns / 10**10))
    recorder.poll()
    [warning] = told['warn']
    assert re.search(f'^2 messages dropped: .*{words}', warning)
    recorder.poll()
    assert len(told['warn']) == 1


def test_the_share_of_time_that_the_disk_takes_is_measured(begin, clock: Clock, monkeypatch) -> None:
    recording = begin(queue_bytes=2 * len(JOINT_STATE))
    assert recording.disk_share < 0.5

    def slow(_: int) -> None:
        clock.now_ns += 10**9

    monkeypatch.setattr('os.fdatasync', slow)
    for i in range(3):  # half of the queue and more waits from now on
        recording.offer(sample('joints', clock.now_ns + 10**12 + i))
    for _ in range(DEADLINE_S * 50):
        if recording.disk_share > 0.8:
            break
        clock.now_ns += 10**6
        threading.Event().wait(0.02)
    assert recording.disk_share > 0.8
    crash(recording)


def test_subtasks_are_gone_through_and_stored_with_their_times(make_recorder, clock: Clock) -> None:
    recorder, _ = make_recorder(subtasks=('reach', 'insert'))
    with pytest.raises(RecorderError, match='nothing is being recorded'):
        recorder.next_subtask()
    recorder.start('plug it in')
    assert recorder.report().subtask == 'reach'
    offer(recorder, 20)
    clock.now_ns = START_NS + 10**9
    assert recorder.next_subtask() == 'subtask: insert'
    with pytest.raises(RecorderError, match="'insert' is the last of 2 subtasks: save or discard"):
        recorder.next_subtask()
    clock.now_ns = START_NS + 2 * 10**9
    recorder.begin_subtask(' wipe the board ')
    with pytest.raises(RecorderError, match='no subtask text'):
        recorder.begin_subtask(' ')
    assert recorder.report().subtask == 'wipe the board'
    recorder.save()
    settle(recorder)
    noted = read_notes(open_bag(Path(recorder.report().journal))).subtasks
    assert [text for _, text in noted] == ['reach', 'insert', 'wipe the board']
    begun_s = [(time_ns - START_NS) / 1e9 for time_ns, _ in noted]
    assert begun_s == pytest.approx([0, 1, 2], abs=1e-3)
    recorder.start('plug it in')
    assert recorder.report().subtask == 'reach'


def test_what_a_policy_acts_by_is_the_subtask_also_of_a_later_episode(make_recorder, clock: Clock) -> None:
    recorder, _ = make_recorder(subtasks=('reach', 'insert'))
    assert recorder.follow('pull') == 'next subtask: pull'
    recorder.start('unplug it')
    assert recorder.report().subtask == 'pull'  # not the first of the list: that is not what is done
    assert recorder.follow('let go') == 'subtask: let go'
    offer(recorder, 20)
    recorder.save()
    settle(recorder)
    noted = read_notes(open_bag(Path(recorder.report().journal))).subtasks
    assert [text for _, text in noted] == ['pull', 'let go']
    clock.now_ns += 10**9
    recorder.start('unplug it')
    assert recorder.report().subtask == 'let go'
    recorder.stop_following()
    assert recorder.report().subtask == 'let go'
    recorder.discard()
    clock.now_ns += 10**9
    recorder.start('unplug it')
    assert recorder.report().subtask == 'reach'


def test_without_a_list_the_next_subtask_is_refused_with_what_to_do(make_recorder) -> None:
    recorder, _ = make_recorder()
    recorder.start('push')
    with pytest.raises(RecorderError, match='no subtasks are listed: set the parameter subtasks, or publish'):
        recorder.next_subtask()

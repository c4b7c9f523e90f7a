"""Journals: a standard bag when closed; recovered but for its last moment when not."""

import errno
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from mcap.reader import make_reader
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_typestore

from restac_ros.contract.load import parse_contract
from restac_ros.contract.schema import Contract
from restac_ros.dataset.bag import bag_writer
from restac_ros.dataset.bag.bag_reader import open_bag
from restac_ros.dataset.bag.mcap_scan import scan
from restac_ros.dataset.bag.storage import BagMessage
from restac_ros.dataset.errors import BagError, JournalError
from restac_ros.dataset.journal import Journal, check_free_disk, read_notes
from restac_ros.dataset.recovery import find_unfinished, recover

START_NS = 1_760_000_000_000_000_000
CUTS = 25
IMAGE_TOPIC, IMAGE_TYPE = '/cameras/main/color/image_raw', 'sensor_msgs/msg/Image'


def begin(path: Path, contract: Contract, **options: object) -> Journal:
    return Journal(path, contract, start_ns=START_NS, task='press the button', **options)


def fill(journal: Journal, contract: Contract, messages: list[BagMessage]) -> None:
    streams = {stream.topic: name for name, stream in contract.streams.items()}
    for message in messages:
        journal.write(streams[message.topic], message.cdr, message.log_time_ns)


@pytest.mark.parametrize('compression', ['none', 'lz4', 'zstd'])
def test_a_closed_journal_is_a_standard_bag(
    compression: str, journal_of: Callable[..., Path], recording: list[BagMessage], contract: Contract
) -> None:
    path = journal_of(recording, compression=compression)
    bag = open_bag(path)
    assert list(bag.messages()) == recording
    assert bag.notes == []
    notes = read_notes(bag)
    assert parse_contract(notes.contract_text) == contract
    assert notes[1:] == ('press the button', START_NS, recording[-1].log_time_ns + 1, (), ())
    with Reader(path) as reader:  # another reader, by metadata.yaml and the file's own index
        assert [(c.topic, time, data) for c, time, data in reader.messages()] == [
            (m.topic, m.log_time_ns, m.cdr) for m in recording
        ]
        store = get_typestore(Stores.ROS2_JAZZY)
        image = next(c for c in reader.connections if c.msgtype == IMAGE_TYPE)
        assert image.msgdef.data == store.generate_msgdef(IMAGE_TYPE, ros_version=2)[0]
        assert image.digest == store.hash_rihs01(IMAGE_TYPE)
    with next(path.glob('*.mcap')).open('rb') as file:
        assert make_reader(file).get_summary().statistics.message_count == len(recording)
    description = yaml.safe_load((path / 'metadata.yaml').read_text())['rosbag2_bagfile_information']
    assert (description['version'], description['storage_identifier']) == (9, 'mcap')
    assert description['message_count'] == len(recording)


def test_the_name_is_partial_until_closed(
    tmp_path: Path, contract: Contract, recording: list[BagMessage]
) -> None:
    journal = begin(tmp_path / 'take', contract)
    assert [p.name for p in tmp_path.iterdir()] == ['take.partial']
    fill(journal, contract, recording[:50])
    assert journal.counts['joints'] == sum(m.topic == '/franka/joint_states' for m in recording[:50])
    assert journal.bytes_written == sum(len(m.cdr) for m in recording[:50])
    assert journal.close(START_NS + 10**9, task='another task') == tmp_path / 'take'
    assert [p.name for p in tmp_path.iterdir()] == ['take']
    assert read_notes(open_bag(tmp_path / 'take')).task == 'another task'
    with pytest.raises(JournalError, match='exists already'):
        begin(tmp_path / 'take', contract)
    with pytest.raises(JournalError, match='it is closed'):
        journal.write('joints', b'0000', START_NS)


def test_stretches_between_pauses_are_noted(
    tmp_path: Path, contract: Contract, recording: list[BagMessage]
) -> None:
    journal = begin(tmp_path / 'take', contract)
    times = [START_NS + second * 10**9 for second in range(5)]
    fill(journal, contract, recording[:50])
    with pytest.raises(JournalError, match='not paused'):
        journal.resume(times[1])
    journal.pause(times[1])
    assert read_notes(open_bag(journal.file_path)).segments == ((times[0], times[1]),)
    with pytest.raises(JournalError, match='paused already'):
        journal.pause(times[1])
    journal.resume(times[2])
    assert read_notes(open_bag(journal.file_path)).segments[1] == (times[2], times[2])
    late = [message._replace(log_time_ns=times[3]) for message in recording[50:60]]
    fill(journal, contract, late)
    journal.flush(times[3])
    crashed = read_notes(open_bag(journal.file_path))
    assert crashed.segments == ((times[0], times[1]), (times[2], times[3] + 1))
    notes = read_notes(open_bag(journal.close(times[4])))
    assert (notes.end_ns, notes.segments) == (times[4], ((times[0], times[1]), (times[2], times[4])))


def test_a_journal_closed_in_a_pause_ends_where_the_pause_began(
    tmp_path: Path, contract: Contract, recording: list[BagMessage]
) -> None:
    journal = begin(tmp_path / 'take', contract)
    fill(journal, contract, recording[:50])
    journal.pause(START_NS + 10**9)
    notes = read_notes(open_bag(journal.close(START_NS + 9 * 10**9)))
    assert (notes.end_ns, notes.segments) == (START_NS + 10**9, ((START_NS, START_NS + 10**9),))


def test_a_crash_in_or_after_a_pause_keeps_the_stretches(
    tmp_path: Path, contract: Contract, recording: list[BagMessage]
) -> None:
    journal = begin(tmp_path / 'take', contract)
    pause_ns = recording[100].log_time_ns
    fill(journal, contract, recording[:100])
    journal.pause(pause_ns)
    in_pause = journal.file_path.read_bytes()
    journal.resume(pause_ns + 10**9)
    fill(journal, contract, [m._replace(log_time_ns=m.log_time_ns + 10**9) for m in recording[100:200]])
    journal.flush(START_NS + 10**10)
    after = journal.file_path.read_bytes()
    journal.abandon()
    for name, content in (('in_pause', in_pause), ('after', after), ('torn', after[:-300])):
        partial = tmp_path / f'{name}.partial'
        partial.mkdir()
        (partial / f'{name}_0.mcap').write_bytes(content)
        bag = open_bag(recover(partial).path)
        first, *others = read_notes(bag).segments
        assert first == (START_NS, pause_ns)
        assert others == ([] if name == 'in_pause' else [(pause_ns + 10**9, bag.bounds_ns[1] + 1)])


@pytest.mark.parametrize('text', ['[[', '[]', '[[1]]', '[[2, 1]]', '[["1", 2]]', '7', '[[1, 3], [2, 4]]'])
def test_pauses_that_cannot_be_true_are_refused(
    tmp_path: Path, contract: Contract, recording: list[BagMessage], text: str
) -> None:
    journal = begin(tmp_path / 'take', contract)
    fill(journal, contract, recording[:5])
    journal.note(segments=text)
    with pytest.raises(BagError, match='note of pauses'):
        read_notes(open_bag(journal.close(recording[5].log_time_ns)))


def test_half_a_second_is_on_disk_at_most_late(
    tmp_path: Path, contract: Contract, recording: list[BagMessage]
) -> None:
    journal = begin(tmp_path / 'take', contract)
    for count in range(1, len(recording) + 1, 37):
        newest = recording[count - 1].log_time_ns
        fill(journal, contract, recording[sum(journal.counts.values()) : count])
        on_disk = list(open_bag(journal.file_path).messages())
        missing = recording[len(on_disk) : count]
        assert on_disk == recording[: len(on_disk)]
        assert not missing or newest - missing[0].log_time_ns <= bag_writer.FLUSH_PERIOD_NS
    journal.flush_if_due(recording[-1].log_time_ns + bag_writer.FLUSH_PERIOD_NS)
    assert len(list(open_bag(journal.file_path).messages())) == sum(journal.counts.values())
    journal.abandon()


def test_recovery_keeps_all_but_the_torn_end(
    tmp_path: Path, journal_of: Callable[..., Path], recording: list[BagMessage]
) -> None:
    source = next(journal_of(recording).glob('*.mcap')).read_bytes()
    rng = random.Random(2)
    # Anywhere, and in the last kilobytes, where indexes and the footer are.
    sizes = [rng.randrange(20_000, len(source)) for _ in range(CUTS)]
    sizes += [len(source) - rng.randrange(9_000) for _ in range(CUTS)]
    for number, size in enumerate(sizes):
        partial = tmp_path / f'crash_{number}.partial'
        partial.mkdir()
        (partial / f'crash_{number}_0.mcap').write_bytes(source[:size])
        assert find_unfinished(tmp_path) == [partial]
        readable = list(open_bag(partial).messages())
        assert readable == recording[: len(readable)]
        recovered = recover(partial)
        bag = open_bag(recovered.path)
        assert list(bag.messages()) == readable
        assert bag.notes == []
        assert recovered.messages == len(readable)
        assert (recovered.damage is None) == (size == len(source))
        assert read_notes(bag).task == 'press the button'
        with Reader(recovered.path) as reader:
            assert sum(1 for _ in reader.messages()) == len(readable)
        # At most one image of those that were written is torn, and the overhead of the others.
        kept = sum(len(message.cdr) for message in readable)
        assert size - kept < 80_000 + 500 * len(readable) + 20_000
    assert find_unfinished(tmp_path) == []


@pytest.mark.parametrize('compression', ['lz4', 'zstd'])
def test_recovery_of_a_compressed_journal_keeps_whole_chunks(
    compression: str, tmp_path: Path, contract: Contract, recording: list[BagMessage]
) -> None:
    journal = begin(tmp_path / 'take', contract, compression=compression)
    fill(journal, contract, recording)
    journal.flush(recording[-1].log_time_ns)
    source = journal.file_path.read_bytes()
    whole_chunks = [0]  # messages up to the end of each
    for span in scan(journal.file_path).spans:
        assert span.compression == compression
        whole_chunks.append(whole_chunks[-1] + span.counts.total())
    journal.abandon()
    rng = random.Random(3)
    for number, size in enumerate([len(source), *(rng.randrange(40_000, len(source)) for _ in range(8))]):
        partial = tmp_path / f'crash_{number}.partial'
        partial.mkdir()
        (partial / f'crash_{number}_0.mcap').write_bytes(source[:size])
        readable = list(open_bag(partial).messages())
        assert len(readable) in whole_chunks
        assert readable == recording[: len(readable)]
        if not readable:
            continue
        bag = open_bag(recover(partial).path)
        assert list(bag.messages()) == readable
        assert bag.notes == []
        with Reader(bag.path) as reader:
            assert sum(1 for _ in reader.messages()) == len(readable)


def test_recovery_can_be_interrupted(
    tmp_path: Path,
    journal_of: Callable[..., Path],
    recording: list[BagMessage],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = next(journal_of(recording).glob('*.mcap')).read_bytes()
    partial = tmp_path / 'crash.partial'
    partial.mkdir()
    file = partial / 'crash_0.mcap'
    file.write_bytes(source[: len(source) // 2])
    readable = list(open_bag(partial).messages())
    for step in ('_append_end', 'finish_bag', '_chunk_head'):
        with monkeypatch.context() as patch:
            patch.setattr(f'restac_ros.dataset.recovery.{step}', lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                recover(partial)
        assert list(open_bag(partial).messages()) == readable
        if step == 'finish_bag':  # the file is complete by now: tear it again
            file.write_bytes(file.read_bytes()[:-100])
            assert list(open_bag(partial).messages()) == readable
            file.write_bytes(source[: len(source) // 2])
    assert recover(partial).messages == len(readable)


def test_recovery_refuses_what_no_crash_explains(
    tmp_path: Path,
    journal_of: Callable[..., Path],
    recording: list[BagMessage],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = bytearray(next(journal_of(recording).glob('*.mcap')).read_bytes())
    place = len(source) // 3
    source[place : place + 900_000] = bytes(900_000)  # more than a chunk
    monkeypatch.setattr('restac_ros.dataset.recovery.MAX_TAIL_BYTES', 100_000)
    partial = tmp_path / 'crash.partial'
    partial.mkdir()
    (partial / 'crash_0.mcap').write_bytes(source)
    with pytest.raises(JournalError, match='too many for a crash'):
        recover(partial)
    assert (partial / 'crash_0.mcap').read_bytes() == source
    with pytest.raises(JournalError, match='no unfinished journal'):
        recover(tmp_path / 'take')


def test_a_recording_in_progress_is_left_alone(tmp_path: Path, contract: Contract) -> None:
    journal = begin(tmp_path / 'take', contract)
    assert find_unfinished(tmp_path) == []
    with pytest.raises(JournalError, match='running process'):
        recover(journal.partial)
    journal.abandon()
    assert find_unfinished(tmp_path) == [journal.partial]
    with pytest.raises(JournalError, match='holds no message'):
        recover(journal.partial)


def test_a_killed_recorder_loses_its_last_half_second(
    tmp_path: Path, repository: Path, contract_values: dict
) -> None:
    (tmp_path / 'contract.yaml').write_text(yaml.safe_dump(contract_values))
    program = """
import sys
from pathlib import Path
from restac_ros.contract.load import load_contract
from restac_ros.dataset.journal import Journal
folder = Path(sys.argv[1])
journal = Journal(folder / 'take', load_contract(folder / 'contract.yaml'), start_ns=10**18)
for index in range(10**9):
    now = 10**18 + index * 10**6
    journal.write('joints', index.to_bytes(8, 'little') + bytes(400), now)
    if index == 3_210:
        print('now', flush=True)
        sys.stdin.read()
"""
    environment = {**os.environ, 'PYTHONPATH': str(repository)}
    child = subprocess.Popen(
        [sys.executable, '-c', program, str(tmp_path)],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert child.stdout.readline() == 'now\n'
    child.send_signal(signal.SIGKILL)
    child.communicate()
    [partial] = find_unfinished(tmp_path)
    bag = open_bag(recover(partial).path)
    numbers = [int.from_bytes(message.cdr[:8], 'little') for message in bag.messages()]
    assert numbers == list(range(len(numbers)))
    assert 3_210 - len(numbers) <= 500  # 1 kHz: half a second


class _FullDisk:
    """A file on a disk that has room for so many bytes more."""

    def __init__(self, file: object, room: int, error: int) -> None:
        self._file = file
        self._room = room
        self._error = error

    def write(self, data: bytes) -> int:
        written = self._file.write(data[: max(0, self._room)])
        self._room -= len(data)
        if self._room < 0:
            raise OSError(self._error, os.strerror(self._error))
        return written

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)


@pytest.mark.parametrize('error', [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_full_or_failing_disk_stops_the_recording_and_keeps_what_was_written(
    error: int,
    tmp_path: Path,
    contract: Contract,
    recording: list[BagMessage],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    usual = bag_writer.Writer
    monkeypatch.setattr(
        bag_writer, 'Writer', lambda file, **given: usual(_FullDisk(file, 900_000, error), **given)
    )
    journal = begin(tmp_path / 'take', contract)
    with pytest.raises(JournalError, match=rf'{os.strerror(error)}.*kept in .*take\.partial'):
        fill(journal, contract, recording)
    with pytest.raises(JournalError, match='nothing can be recorded any more'):
        journal.write('joints', b'', START_NS)
    with pytest.raises(JournalError, match='nothing can be recorded any more'):
        journal.close(START_NS)
    journal.abandon()
    kept = list(open_bag(recover(journal.partial).path).messages())
    assert kept
    assert kept == recording[: len(kept)]


def test_faults_are_said(tmp_path: Path, contract: Contract) -> None:
    journal = begin(tmp_path / 'take', contract)
    with pytest.raises(JournalError, match=r"'mian' is not recorded; known: .*main"):
        journal.write('mian', b'', START_NS)
    with pytest.raises(JournalError, match='no time'):
        journal.write('main', b'', -1)
    journal.abandon()
    assert check_free_disk(tmp_path / 'not' / 'there', 1) > 0
    with pytest.raises(JournalError, match=r'GB free of 1000000\.00 GB needed'):
        check_free_disk(tmp_path, 10**15)

"""Bags: every make read alike, in log order, whole or cut off; never a crash, never a changed message."""

import random
import shutil
import sqlite3
from collections.abc import Callable
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import pytest
from mcap.writer import CompressionType, Writer
from rosbags.rosbag2 import CompressionFormat, CompressionMode
from rosbags.rosbag2 import Writer as RosbagsWriter
from rosbags.typesys import Stores, get_typestore

from restac_ros.dataset.bag.bag_reader import open_bag
from restac_ros.dataset.bag.bag_writer import BagWriter
from restac_ros.dataset.bag.storage import BagMessage
from restac_ros.dataset.errors import BagError

CUTS = 40


def mcap_bytes(messages: list[BagMessage], **options: object) -> bytes:
    """An MCAP file by the mcap library."""
    out = BytesIO()
    writer = Writer(out, **options)
    writer.start('ros2')
    channels: dict[str, int] = {}
    for message in messages:
        if message.topic not in channels:
            schema = writer.register_schema(message.type, 'ros2msg', b'')
            channels[message.topic] = writer.register_channel(message.topic, 'cdr', schema)
        writer.add_message(channels[message.topic], message.log_time_ns, message.cdr, message.log_time_ns)
    writer.finish()
    return out.getvalue()


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_both_storages_give_every_message_in_order(
    storage: str, tmp_path: Path, write_bag: Callable[..., Path], recording: list[BagMessage]
) -> None:
    bag = open_bag(write_bag(tmp_path / 'bag', recording, storage))
    assert list(bag.messages()) == recording
    assert list(bag.messages(head_bytes=16)) == [m._replace(cdr=m.cdr[:16]) for m in recording]
    assert bag.notes == []
    assert bag.bounds_ns == (recording[0].log_time_ns, recording[-1].log_time_ns)
    assert bag.topics['/franka/joint_states'] == ('sensor_msgs/msg/JointState', 400)
    assert bag.clock_set_back_ns == 0


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_topics_and_times_can_be_chosen(
    storage: str, tmp_path: Path, write_bag: Callable[..., Path], recording: list[BagMessage]
) -> None:
    bag = open_bag(write_bag(tmp_path / 'bag', recording, storage))
    topics, start, stop = ['/franka/joint_states'], recording[300].log_time_ns, recording[500].log_time_ns
    wanted = [m for m in recording if m.topic in topics and start <= m.log_time_ns < stop]
    assert list(bag.messages(topics, start, stop)) == wanted
    assert list(bag.messages(['/absent'])) == []


@pytest.mark.parametrize(
    'options',
    [
        {'use_chunking': False},
        {'compression': CompressionType.LZ4, 'chunk_size': 100_000},
        {'compression': CompressionType.ZSTD, 'chunk_size': 1_000},
        {'compression': CompressionType.NONE, 'use_statistics': False, 'repeat_channels': False},
    ],
)
def test_every_mcap_layout_is_read(options: dict, tmp_path: Path, recording: list[BagMessage]) -> None:
    path = tmp_path / 'a.mcap'
    path.write_bytes(mcap_bytes(recording, **options))
    assert list(open_bag(path).messages()) == recording
    assert sum(topic.count for topic in open_bag(path).topics.values()) == len(recording)


def test_messages_written_late_come_in_log_order(tmp_path: Path, recording: list[BagMessage]) -> None:
    shuffled = list(recording)
    rng = random.Random(3)
    for start in range(0, len(shuffled), 20):
        block = shuffled[start : start + 20]
        rng.shuffle(block)
        shuffled[start : start + 20] = block
    path = tmp_path / 'a.mcap'
    path.write_bytes(mcap_bytes(shuffled, chunk_size=50_000, compression=CompressionType.NONE))
    times = [message.log_time_ns for message in open_bag(path).messages()]
    assert times == sorted(times)
    assert len(times) == len(recording)


def test_a_clock_that_was_set_back_is_noticed(
    tmp_path: Path, write_bag: Callable[..., Path], recording: list[BagMessage]
) -> None:
    half = len(recording) // 2
    jumped = recording[:half] + [m._replace(log_time_ns=m.log_time_ns - 10**9) for m in recording[half:]]
    path = tmp_path / 'a.mcap'
    path.write_bytes(mcap_bytes(jumped, chunk_size=50_000))
    assert open_bag(path).clock_set_back_ns == pytest.approx(10**9, rel=0.05)
    database = write_bag(tmp_path / 'bag', jumped, 'sqlite3')
    assert open_bag(database).clock_set_back_ns == pytest.approx(10**9, rel=0.05)


def test_split_bags_are_one(tmp_path: Path, recording: list[BagMessage]) -> None:
    bag = tmp_path / 'split'
    bag.mkdir()
    bounds = [0, 100, 400, len(recording)]
    for part, (low, high) in enumerate(pairwise(bounds)):
        name = ['split_2.mcap', 'split_9.mcap', 'split_10.mcap'][part]
        (bag / name).write_bytes(mcap_bytes(recording[low:high]))
    assert list(open_bag(bag).messages()) == recording
    assert any('metadata.yaml is missing' in note for note in open_bag(bag).notes)


def test_a_superscript_in_names_of_split_files_is_no_number(
    tmp_path: Path, recording: list[BagMessage]
) -> None:
    bag = tmp_path / 'split'
    bag.mkdir()
    for name, part in (('m²_2.mcap', recording[:100]), ('m²_10.mcap', recording[100:]), ('1²3.mcap', [])):
        (bag / name).write_bytes(mcap_bytes(part))
    assert [file.path.name for file in open_bag(bag).files] == ['1²3.mcap', 'm²_2.mcap', 'm²_10.mcap']


@pytest.mark.parametrize('mode', [CompressionMode.FILE, CompressionMode.MESSAGE])
def test_bags_compressed_by_rosbag2(
    mode: CompressionMode, tmp_path: Path, recording: list[BagMessage]
) -> None:
    store = get_typestore(Stores.ROS2_JAZZY)
    writer = RosbagsWriter(tmp_path / 'bag', version=9)
    writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        connections = {
            topic: writer.add_connection(topic, kind, typestore=store)
            for topic, kind in {m.topic: m.type for m in recording}.items()
        }
        for message in recording:
            writer.write(connections[message.topic], message.log_time_ns, message.cdr)
    bag = open_bag(tmp_path / 'bag')
    assert list(bag.messages()) == recording
    assert {m.topic for m in bag.messages(['/franka/joint_states'])} == {'/franka/joint_states'}
    assert {len(m.cdr) for m in bag.messages(head_bytes=16)} == {16}
    next((tmp_path / 'bag').glob('bag.db3*')).write_bytes(b'nothing')
    with pytest.raises(BagError, match=r'cannot be read|is no zstd file'):
        list(open_bag(tmp_path / 'bag').messages())


def test_cut_off_anywhere_gives_what_came_before(tmp_path: Path, recording: list[BagMessage]) -> None:
    """Outside chunks; of chunks and of damages inside, see test/bench."""
    whole = mcap_bytes(recording, use_chunking=False)
    rng = random.Random(11)
    path = tmp_path / 'a.mcap'
    for size in [8, *(rng.randrange(9, len(whole)) for _ in range(CUTS))]:
        path.write_bytes(whole[:size])
        bag = open_bag(path)
        found = list(bag.messages())
        assert found == recording[: len(found)]
        assert bag.notes, 'a cut file is reported as whole'
        kept = sum(len(message.cdr) for message in found)
        # At most one image, the overhead of all messages and the summary are lost.
        assert size - kept < 80_000 + 400 * len(found) + 2_000


def test_what_metadata_announces_is_missed(
    tmp_path: Path, write_bag: Callable[..., Path], recording: list[BagMessage]
) -> None:
    path = write_bag(tmp_path / 'bag', recording, 'sqlite3')
    database = sqlite3.connect(path / 'bag.db3')
    database.execute('DELETE FROM messages WHERE id = 7')
    database.commit()
    database.close()
    expected = f'metadata.yaml announces {len(recording)} messages, {len(recording) - 1} can be found'
    assert open_bag(path).notes == [expected]


def test_a_database_of_other_types_or_without_order_is_refused(
    tmp_path: Path, write_bag: Callable[..., Path], recording: list[BagMessage]
) -> None:
    file = write_bag(tmp_path / 'bag', recording, 'sqlite3') / 'bag.db3'
    for change in (
        "UPDATE messages SET data = 'text' WHERE id = 7",
        'UPDATE messages SET timestamp = 1.5',
        "UPDATE topics SET name = x'00'",
    ):
        changed = tmp_path / 'changed.db3'
        shutil.copy(file, changed)
        database = sqlite3.connect(changed)
        database.execute(change)
        database.commit()
        database.close()
        with pytest.raises(BagError, match='cannot be read'):
            list(open_bag(changed).messages())


def test_changed_notes_are_told_and_not_believed(tmp_path: Path) -> None:
    writer = BagWriter(tmp_path / 'bag', start_ns=0, sync=False)
    writer.note(task='press the button')
    writer.append(writer.declare('/words', 'std_msgs/msg/String'), b'cdr', 1)
    file = next(writer.finish(end_ns='2').glob('*.mcap'))
    assert open_bag(file).metadata['restac_ros']['task'] == 'press the button'
    assert open_bag(file).notes == []
    file.write_bytes(file.read_bytes().replace(b'press the', b'dress the', 1))
    bag = open_bag(file)
    assert 'not as they were written' in bag.notes[0]
    assert 'task' not in bag.metadata['restac_ros']
    assert [message.cdr for message in bag.messages()] == [b'cdr']
    file.write_bytes(file.read_bytes().replace(b'crc32', b'crc31', 1))
    assert 'not as they were written' in open_bag(file).notes[0]


def test_a_bag_without_metadata_is_read(
    tmp_path: Path, write_bag: Callable[..., Path], recording: list[BagMessage]
) -> None:
    path = write_bag(tmp_path / 'bag', recording, 'sqlite3')
    (path / 'metadata.yaml').write_text('{not yaml')
    assert 'unreadable' in open_bag(path).notes[0]
    (path / 'metadata.yaml').unlink()
    assert list(open_bag(path).messages()) == recording


def test_a_write_ahead_log_left_by_a_crash_is_applied(
    tmp_path: Path, write_bag: Callable[..., Path], recording: list[BagMessage]
) -> None:
    path = write_bag(tmp_path / 'bag', recording, 'sqlite3')
    database = sqlite3.connect(path / 'bag.db3')
    database.execute('PRAGMA journal_mode=WAL')
    database.execute(
        'INSERT INTO messages (topic_id, timestamp, data) VALUES (1, ?, ?)',
        (recording[-1].log_time_ns + 1, b'late'),
    )
    database.commit()
    copy = tmp_path / 'crashed'
    shutil.copytree(path, copy)  # while the log has not been merged into the file
    database.close()
    assert (copy / 'bag.db3-wal').stat().st_size
    assert list(open_bag(copy).messages())[-1].cdr == b'late'


POINTER = b'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n'


def test_errors_name_file_and_remedy(
    tmp_path: Path, write_bag: Callable[..., Path], recording: list[BagMessage]
) -> None:
    with pytest.raises(BagError, match='does not exist'):
        open_bag(tmp_path / 'absent')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(BagError, match='holds no bag'):
        open_bag(tmp_path / 'empty')
    for name, content, text in (
        ('a.mcap', b'', 'is empty'),
        ('b.mcap', b'x' * 100, 'is not an MCAP file'),
        ('c.bag', b'x', r'a bag of ROS 1. Convert it with `rosbags-convert --src .*c.bag --dst .*/c`'),
        ('c.txt', b'x', 'ends in'),
        ('e.mcap', POINTER, 'Git LFS pointer, not the file itself: bring it with `git lfs pull`'),
        ('f.db3', POINTER, 'Git LFS pointer, not the file itself: bring it with `git lfs pull`'),
        ('d.db3', b'x' * 100, 'sqlite3 d.db3 .recover'),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BagError, match=text) as caught:
            open_bag(tmp_path / name)
        assert name in str(caught.value)
    path = write_bag(tmp_path / 'bag', recording)
    (path / 'bag.mcap').unlink()
    with pytest.raises(BagError, match=r'names bag\.mcap'):
        open_bag(path)


def test_a_truncated_database_is_refused_with_the_remedy(
    tmp_path: Path, write_bag: Callable[..., Path], recording: list[BagMessage]
) -> None:
    file = write_bag(tmp_path / 'bag', recording, 'sqlite3') / 'bag.db3'
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(BagError, match=r'\.recover'):
        list(open_bag(file).messages())


def test_a_chunk_that_claims_gigabytes_is_not_believed(tmp_path: Path, recording: list[BagMessage]) -> None:
    data = bytearray(mcap_bytes(recording[:50], compression=CompressionType.ZSTD))
    start = data.index(b'zstd') - 4 - 4 - 8  # uncompressed size, before CRC and the name's length
    data[start : start + 8] = (2**50).to_bytes(8, 'little')
    path = tmp_path / 'a.mcap'
    path.write_bytes(data)
    bag = open_bag(path)
    assert 'more than' in bag.notes[0]
    assert list(bag.messages()) == []

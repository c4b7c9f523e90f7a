"""Compressed bags with and without their metadata, and decompression that never takes more than announced."""

import io
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import lz4.frame
import pytest
import zstandard
from mcap.writer import CompressionType, Writer
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin
from rosbags.rosbag2 import Writer as RosbagsWriter
from rosbags.typesys import Stores, get_typestore

from restac_ros.contract.schema import Contract
from restac_ros.dataset.bag import unpacking
from restac_ros.dataset.bag.bag_reader import open_bag
from restac_ros.dataset.bag.storage import BagMessage
from restac_ros.dataset.bag.unpacking import UnpackError, unpack, unpack_message
from restac_ros.dataset.errors import BagError, ConversionError
from restac_ros.dataset.survey import survey

START_NS = 1_760_000_000_000_000_000
END_NS = START_NS + 2 * 10**9
GIB = 2**30


def packed_bag(path: Path, messages: list[BagMessage], mode: CompressionMode, storage: str) -> Path:
    """A bag that rosbag2 compressed."""
    store = get_typestore(Stores.ROS2_JAZZY)
    writer = RosbagsWriter(path, version=9, storage_plugin=StoragePlugin[storage.upper()])
    writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        kinds = {message.topic: message.type for message in messages}
        connections = {t: writer.add_connection(t, kind, typestore=store) for t, kind in kinds.items()}
        for message in messages:
            writer.write(connections[message.topic], message.log_time_ns, message.cdr)
    return path


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_messages_compressed_one_by_one_are_read_without_metadata(
    storage: str, tmp_path: Path, recording: list[BagMessage]
) -> None:
    path = packed_bag(tmp_path / 'bag', recording, CompressionMode.MESSAGE, storage)
    (path / 'metadata.yaml').unlink()
    bag = open_bag(path)
    assert list(bag.messages()) == recording
    assert list(bag.messages(head_bytes=16)) == [m._replace(cdr=m.cdr[:16]) for m in recording]


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_compressed_files_are_read_alone_without_metadata_and_unpacked_by_hand(
    storage: str, tmp_path: Path, recording: list[BagMessage]
) -> None:
    path = packed_bag(tmp_path / 'bag', recording, CompressionMode.FILE, storage)
    [file] = path.glob('*.zstd')
    assert list(open_bag(file).messages()) == recording

    by_hand = Path(shutil.copytree(path, tmp_path / 'by_hand'))
    data = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(file.read_bytes())).read()
    (by_hand / file.stem).write_bytes(data)
    (by_hand / file.name).unlink()
    bag = open_bag(by_hand)
    assert list(bag.messages()) == recording
    assert any(file.stem in note for note in bag.notes)

    (path / 'metadata.yaml').unlink()
    assert list(open_bag(path).messages()) == recording
    (path / file.stem).write_bytes(data)  # both: the messages are not read twice
    assert list(open_bag(path).messages()) == recording


def test_unpacked_copies_are_removed_with_the_bag(
    tmp_path: Path, recording: list[BagMessage], monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / 'temporary'
    temporary.mkdir()
    monkeypatch.setattr(unpacking.tempfile, 'tempdir', str(temporary))
    bag = open_bag(packed_bag(tmp_path / 'bag', recording, CompressionMode.FILE, 'mcap'))
    assert len(list(temporary.iterdir())) == 1
    assert list(bag.messages()) == recording
    del bag
    assert list(temporary.iterdir()) == []


def test_a_packed_file_is_never_unpacked_beyond_the_room_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, compressor in (
        ('announced.mcap.zstd', zstandard.ZstdCompressor()),
        ('silent.mcap.zstd', zstandard.ZstdCompressor(write_content_size=False)),
    ):
        (tmp_path / name).write_bytes(compressor.compress(bytes(64 * 2**20)))
        usage = shutil.disk_usage(tmp_path)._replace(total=0, free=10 * 2**20)
        monkeypatch.setattr(unpacking.shutil, 'disk_usage', lambda _, usage=usage: usage)
        with pytest.raises(BagError, match=r'unpacks to .* GB or more, .* has 0.01 GB free'):
            open_bag(tmp_path / name)


def bomb(compression: str) -> bytes:
    """A GiB of zeros in a few kB."""
    piece = bytes(2**20)
    if compression == 'lz4':
        packer = lz4.frame.LZ4FrameCompressor()
        return b''.join([packer.begin(), *(packer.compress(piece) for _ in range(1024)), packer.flush()])
    out = io.BytesIO()
    with zstandard.ZstdCompressor().stream_writer(out, closefd=False) as writer:
        for _ in range(1024):
            writer.write(piece)
    return out.getvalue()


@pytest.mark.parametrize('compression', ['zstd', 'lz4'])
def test_a_chunk_that_unpacks_to_a_gibibyte_is_refused_before_it_takes_one(
    compression: str, tmp_path: Path, recording: list[BagMessage]
) -> None:
    """The chunk's own header announces little; the compressed frame holds or says more."""
    kind = {'zstd': CompressionType.ZSTD, 'lz4': CompressionType.LZ4}[compression]
    out = io.BytesIO()
    writer = Writer(out, compression=kind)
    writer.start('ros2')
    schema = writer.register_schema('std_msgs/msg/String', 'ros2msg', b'')
    writer.add_message(writer.register_channel('/a', 'cdr', schema), START_NS, b'\0\1\0\0abcd', START_NS)
    writer.finish()
    data, content = out.getvalue(), bomb(compression)
    place = data.index(compression.encode()) + len(compression)
    size = int.from_bytes(data[place : place + 8], 'little')
    record = data.rindex(b'\x06', 0, place - 35)  # the chunk's opcode, before its length and its head
    length = int.from_bytes(data[record + 1 : record + 9], 'little') - size + len(content)
    file = tmp_path / 'bomb.mcap'
    file.write_bytes(
        data[: record + 1]
        + length.to_bytes(8, 'little')
        + data[record + 9 : place]
        + len(content).to_bytes(8, 'little')
        + content
        + data[place + 8 + size :]
    )
    program = (
        'import resource, sys\n'
        'from restac_ros.dataset.bag.bag_reader import open_bag\n'
        'from restac_ros.dataset.errors import BagError\n'
        'before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n'
        'try:\n'
        '    bag = open_bag(sys.argv[1])\n'
        '    print(bag.notes, len(list(bag.messages())))\n'
        'except BagError as error:\n'
        '    print(error)\n'
        'print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n'
    )
    ended = subprocess.run([sys.executable, '-c', program, str(file)], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    said, grown_kib = ended.stdout.strip().rsplit('\n', 1)
    assert 'expected' in said
    assert int(grown_kib) < 200 * 1024


@pytest.mark.parametrize('compression', ['zstd', 'lz4'])
def test_unpacking_gives_at_most_the_limit(compression: str) -> None:
    content = bytes(range(256)) * 100
    packed = {'zstd': zstandard.compress, 'lz4': lz4.frame.compress}[compression](content)
    assert unpack(packed, compression, len(content)) == content
    for limit in (0, 1, len(content) - 1):
        with pytest.raises(UnpackError, match='expected'):
            unpack(packed, compression, limit)
    for damaged in (b'', packed[:-5], b'nothing of it'):
        with pytest.raises(UnpackError):
            unpack(damaged, compression, len(content))
    with pytest.raises(UnpackError, match="'bz2' is not known; expected zstd or lz4"):
        unpack(packed, 'bz2', 100)


def test_a_damaged_compressed_message_is_left_as_it_is(recording: list[BagMessage]) -> None:
    cdr = recording[0].cdr
    packed = zstandard.compress(cdr)
    assert unpack_message(packed) == cdr
    assert unpack_message(cdr) is cdr
    assert unpack_message(packed[:-3]) == packed[:-3]


def test_messages_that_cannot_be_unpacked_are_never_called_nothing_received(
    tmp_path: Path, contract: Contract, recording: list[BagMessage], write_bag: Callable[..., Path]
) -> None:
    topic = contract.streams['main'].topic
    damaged = [m._replace(cdr=zstandard.compress(m.cdr)[:-3]) if m.topic == topic else m for m in recording]
    with pytest.raises(ConversionError, match=r'messages on .*, none of stream main: .*28 b5 2f fd'):
        survey(open_bag(write_bag(tmp_path / 'bag', damaged)), contract, START_NS, END_NS)


def test_types_without_msg_are_the_same_types(
    tmp_path: Path, contract: Contract, recording: list[BagMessage]
) -> None:
    out = io.BytesIO()
    writer = Writer(out)
    writer.start('ros2')
    channels: dict[str, int] = {}
    for message in recording:
        if message.topic not in channels:
            schema = writer.register_schema(message.type.replace('/msg/', '/'), 'ros2msg', b'')
            channels[message.topic] = writer.register_channel(message.topic, 'cdr', schema)
        writer.add_message(channels[message.topic], message.log_time_ns, message.cdr, message.log_time_ns)
    writer.finish()
    (tmp_path / 'a.mcap').write_bytes(out.getvalue())
    bag = open_bag(tmp_path / 'a.mcap')
    assert list(bag.messages()) == recording
    assert survey(bag, contract, START_NS, END_NS).streams['main'].messages


def test_a_topic_of_two_types_matters_only_where_the_contract_uses_it(
    tmp_path: Path, contract: Contract, recording: list[BagMessage]
) -> None:
    def mixed(topic: str) -> Path:
        out = io.BytesIO()
        writer = Writer(out)
        writer.start('ros2')
        extra = [
            BagMessage(topic, f'std_msgs/msg/{"Bool" if i % 3 else "String"}', b'\0\1\0\0', START_NS + i)
            for i in range(10)
        ]
        channels: dict[tuple[str, str], int] = {}
        for message in sorted([*recording, *extra], key=lambda m: m.log_time_ns):
            key = message.topic, message.type
            if key not in channels:
                schema = writer.register_schema(message.type, 'ros2msg', b'')
                channels[key] = writer.register_channel(message.topic, 'cdr', schema)
            writer.add_message(channels[key], message.log_time_ns, message.cdr, message.log_time_ns)
        writer.finish()
        path = tmp_path / f'{topic.replace("/", "_")}.mcap'
        path.write_bytes(out.getvalue())
        return path

    bag = open_bag(mixed('/debug'))
    assert any('/debug has two types, only std_msgs/msg/Bool is read' in note for note in bag.notes)
    assert {m.type for m in bag.messages(['/debug'])} == {'std_msgs/msg/Bool'}
    assert survey(bag, contract, START_NS, END_NS).streams['main'].messages
    topic = contract.streams['joints'].topic
    with pytest.raises(ConversionError, match=f'{topic} of stream joints has messages of two types'):
        survey(open_bag(mixed(topic)), contract, START_NS, END_NS)


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_messages_logged_before_the_first_clock_are_left_out_and_counted(
    storage: str, tmp_path: Path, recording: list[BagMessage], write_bag: Callable[..., Path]
) -> None:
    early = [message._replace(log_time_ns=0) for message in recording[:7]]
    bag = open_bag(write_bag(tmp_path / 'bag', [*early, *recording[7:]], storage))
    assert '7 messages were logged at 0, before the first /clock: left out' in bag.notes
    assert list(bag.messages()) == recording[7:]
    assert bag.bounds_ns == (recording[7].log_time_ns, recording[-1].log_time_ns)

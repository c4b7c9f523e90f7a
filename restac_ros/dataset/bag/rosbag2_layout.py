"""What makes MCAP files a rosbag2 bag: type definitions, metadata.yaml, the directory's final name."""

import os
from collections import Counter
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from restac_ros.dataset.bag.mcap_file import McapFile
from restac_ros.dataset.bag.message_types import typestore
from restac_ros.dataset.errors import JournalError

METADATA_VERSION = 9  # of metadata.yaml, as ROS 2 Jazzy writes and reads it
NO_QOS = '[]'


class TypeDescription(NamedTuple):
    """A message type as a bag declares it: the .msg text with all it includes, and its RIHS01 hash."""

    definition: str
    hash: str


@cache
def describe_type(name: str) -> TypeDescription:
    """Describe a message type such as sensor_msgs/msg/Image or restac_ros/msg/GateState.

    Raises:
        JournalError: neither ROS 2 Jazzy nor this package has it.
    """
    store = typestore()
    if name not in store.types:
        raise JournalError(f'unknown message type {name!r}: neither ROS 2 Jazzy nor restac_ros defines it')
    return TypeDescription(store.generate_msgdef(name, ros_version=2)[0], store.hash_rihs01(name))


def finish_bag(partial: Path, final: Path, expected: Counter[tuple[str, str]] | None = None) -> Path:
    """Check a closed recording by reading it back, describe it in metadata.yaml, and rename it.

    `expected` counts the messages by (topic, type) that must be in it. The rename comes last: a directory
    without `.partial` is whole.

    Raises:
        JournalError: a file is damaged, messages are missing, or `final` exists.
        OSError: the disk refuses.
    """
    files = [McapFile(path) for path in sorted(partial.glob('*.mcap'))]
    counts: Counter[tuple[str, str]] = Counter()
    for file in files:
        if file.damage:
            raise JournalError(
                f'{file.path}: {file.damage}, although just closed. {partial} is kept; is the disk failing?'
            )
        counts.update(file.counts)
    if expected is not None and +counts != +expected:
        written, found = dict(expected), dict(counts)
        raise JournalError(f'{partial}: {written} were written, {found} can be read. Is the disk failing?')
    if final.exists():
        raise JournalError(f'{final} exists already; {partial} is kept. Move one of them.')
    text = yaml.safe_dump({'rosbag2_bagfile_information': _describe(files, counts)}, sort_keys=False)
    (partial / 'metadata.yaml').write_text(text, encoding='utf-8')
    sync_path(partial / 'metadata.yaml')
    partial.rename(final)
    sync_path(final.parent)
    return final


def sync_path(path: Path) -> None:
    """Make a file's content, or the names in a directory, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _describe(files: Iterable[McapFile], counts: Counter[tuple[str, str]]) -> dict[str, Any]:
    """Return the content of metadata.yaml."""
    bounds = [file.bounds_ns for file in files if file.bounds_ns]
    described = [
        {'path': file.path.name, **_duration(file.bounds_ns), 'message_count': file.counts.total()}
        for file in files
    ]
    return {
        'version': METADATA_VERSION,
        'storage_identifier': 'mcap',
        'relative_file_paths': [entry['path'] for entry in described],
        **_duration((min(low for low, _ in bounds), max(high for _, high in bounds)) if bounds else None),
        'message_count': counts.total(),
        'topics_with_message_count': [_topic(name, kind, count) for (name, kind), count in counts.items()],
        'compression_format': '',
        'compression_mode': '',
        'files': described,
        'custom_data': {},
        'ros_distro': 'jazzy',
    }


def _topic(name: str, kind: str, count: int) -> dict[str, Any]:
    described = {
        'name': name,
        'type': kind,
        'serialization_format': 'cdr',
        'offered_qos_profiles': [],
        'type_description_hash': describe_type(kind).hash,
    }
    return {'topic_metadata': described, 'message_count': count}


def _duration(bounds_ns: tuple[int, int] | None) -> dict[str, Any]:
    low, high = bounds_ns or (0, 0)
    return {'starting_time': {'nanoseconds_since_epoch': low}, 'duration': {'nanoseconds': high - low}}

"""Selects a Fast DDS profile with shared memory for camera images, before ROS starts."""

import fcntl
import os
import re
import shutil
import time
from pathlib import Path

from rclpy.utilities import get_rmw_implementation_identifier

from restac_ros.installation import GraphError, config_file

# Any of these means that the user has configured Fast DDS.
VARIABLES = (
    'FASTRTPS_DEFAULT_PROFILES_FILE',
    'FASTDDS_DEFAULT_PROFILES_FILE',
    'RMW_FASTRTPS_USE_QOS_FROM_XML',
)
BEFORE_FAST_DDS_3 = ('humble', 'iron', 'jazzy')  # later distributions warn of the old name
LOCAL_PROFILE = 'DEFAULT_FASTRTPS_PROFILES.xml'
PROFILE = 'fastdds.xml'
SHARED_MEMORY = Path('/dev/shm')
SETTLED_S = 60.0  # a starting process creates its lock file before it locks it
_LOCK_FILE = re.compile(r'fastrtps_[0-9a-f]{16}_el')
NEEDED_BYTES = 256 * 2**20  # a segment of 64 MiB each for a policy, a recorder, a source and one more


def use_transport_profile() -> str:
    """Point Fast DDS to config/fastdds.xml unless the user has chosen a profile; return a warning or ''.

    Fast DDS's own segment holds 0.5 MB, less than one 640x480 image: most best-effort images are lost, and
    reliable joint states wait up to a second behind images. Call this before `rclpy.init`.
    """
    if not (middleware := get_rmw_implementation_identifier()).startswith('rmw_fastrtps'):
        return (
            f'{middleware} is no Fast DDS: it numbers no messages, so that losses are unknown, and {PROFILE} '
            'is not used; for images raise net.core.rmem_max, or `unset RMW_IMPLEMENTATION`'
        )
    if any(os.environ.get(name) for name in VARIABLES) or Path(LOCAL_PROFILE).is_file():
        return ''
    try:
        profile = config_file(PROFILE)
    except GraphError as error:
        return f'images may be lost: {PROFILE} is not used, as {error}'
    remove_dead_segments()  # or every killed node would cost 64 MiB of memory until the next boot
    if SHARED_MEMORY.is_dir() and (free := shutil.disk_usage(SHARED_MEMORY).free) < NEEDED_BYTES:
        return (
            f'images may be lost: {SHARED_MEMORY} has {free / 1e6:.0f} MB free, expected '
            f'{NEEDED_BYTES / 1e6:.0f} MB; start the container with --shm-size=1g or --ipc=host'
        )
    old_name, new_name, _ = VARIABLES
    is_old = os.environ.get('ROS_DISTRO', 'jazzy') in BEFORE_FAST_DDS_3
    os.environ[old_name if is_old else new_name] = str(profile)
    return ''


def remove_dead_segments(directory: Path = SHARED_MEMORY, settled_s: float = SETTLED_S) -> int:
    """Remove Fast DDS segments whose owner is dead; return the freed bytes.

    A living owner holds a lock on the file NAME_el beside its segment NAME; the kernel drops the lock when
    the owner dies, however it dies. Segments of other users are left alone.
    """
    freed = 0
    for lock_file in sorted(directory.glob('fastrtps_*_el')):
        if _LOCK_FILE.fullmatch(lock_file.name):
            freed += _remove_if_dead(lock_file, settled_s)
    return freed


def _remove_if_dead(lock_file: Path, settled_s: float) -> int:
    segment = lock_file.with_name(lock_file.name.removesuffix('_el'))
    try:
        if time.time() - lock_file.stat().st_mtime < settled_s:
            return 0
        with lock_file.open('rb') as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            size = segment.stat().st_size
            segment.unlink()
            lock_file.unlink()
            return size
    except OSError:  # locked, another user's, or removed meanwhile
        return 0

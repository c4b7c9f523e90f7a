"""Selects a Fast DDS profile with shared memory for camera images, before ROS starts."""

import os
import shutil
from pathlib import Path

from rclpy.utilities import get_rmw_implementation_identifier

from restac_ros.graph import GraphError, config_file
from restac_ros.nodes.shared_memory import SHARED_MEMORY, remove_dead_segments

# Any of these means that the user has configured Fast DDS.
VARIABLES = (
    'FASTRTPS_DEFAULT_PROFILES_FILE',
    'FASTDDS_DEFAULT_PROFILES_FILE',
    'RMW_FASTRTPS_USE_QOS_FROM_XML',
)
BEFORE_FAST_DDS_3 = ('humble', 'iron', 'jazzy')  # later distributions warn of the old name
LOCAL_PROFILE = 'DEFAULT_FASTRTPS_PROFILES.xml'
PROFILE = 'fastdds.xml'
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

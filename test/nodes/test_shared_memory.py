"""Segments of dead processes are removed, those of living ones never."""

import fcntl
import os
from pathlib import Path
from xml.etree import ElementTree

from restac_ros.contract.load import load_contract
from restac_ros.nodes.transport import PROFILE, remove_dead_segments


def segment(directory: Path, number: int, age_s: float = 100.0) -> Path:
    """A segment and its lock file, as Fast DDS names them."""
    path = directory / f'fastrtps_{number:016x}'
    lock_file = path.with_name(path.name + '_el')
    path.write_bytes(bytes(1000))
    lock_file.touch()
    made = lock_file.stat().st_mtime - age_s
    os.utime(lock_file, (made, made))
    return path


def test_only_what_a_dead_owner_left_is_removed(tmp_path: Path) -> None:
    dead, alive, starting = segment(tmp_path, 1), segment(tmp_path, 2), segment(tmp_path, 3, age_s=0.0)
    other = tmp_path / 'fastrtps_port7400_el'
    other.touch()
    os.utime(other, (1, 1))
    with alive.with_name(alive.name + '_el').open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert remove_dead_segments(tmp_path) == 1000
        assert not dead.exists()
        assert not dead.with_name(dead.name + '_el').exists()
        assert alive.exists()
        assert starting.exists()
        assert other.exists()
    assert remove_dead_segments(tmp_path) == 1000


def test_nothing_there_is_no_fault(tmp_path: Path) -> None:
    assert remove_dead_segments(tmp_path / 'absent') == 0


def test_the_end_of_a_stream_is_acknowledged_before_the_stream_is_stale(repository: Path) -> None:
    """Fast DDS asks for a lost last message once a heartbeat, 3 s by default: runs ended with complaints."""
    profile = ElementTree.parse(repository / 'config' / PROFILE)
    heartbeat_ns = int(profile.findtext('.//{*}heartbeatPeriod/{*}nanosec') or 0)
    contract = load_contract(repository / 'config' / 'contract.yaml')
    shortest_ms = min(stream.max_age_ms for stream in contract.streams.values())
    assert 0 < heartbeat_ns <= shortest_ms * 1e6 / 2

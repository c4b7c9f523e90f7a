"""Nodes whose parent is gone, or that are asked to stop before they have begun."""

import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip('rclpy')
pytest.importorskip('restac_ros.msg', reason='the messages are not built: `make build`')

from restac_ros.msg import RecorderStatus

STOPS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
# Starts what follows as its child, as a launcher does, and waits for it.
PARENT = 'import subprocess, sys; subprocess.run(sys.argv[1:], check=False)'


def test_a_recorder_whose_launcher_is_killed_saves_what_it_records(
    start_node: Callable, robot, wait_until: Callable, tmp_path: Path
) -> None:
    recorder = start_node(
        'recorder_node',
        before=[sys.executable, '-c', PARENT],
        dataset=tmp_path / 'dataset',
        task='push',
        autostart_recording=True,
        save_on_shutdown=True,
        on_gap='longest_run',
    )
    statuses = robot.listen('/recorder_node/status', RecorderStatus)
    robot.publish_streams()
    wait_until(lambda: statuses and min(statuses[-1].written, default=0) > 30, 'messages')
    recorder.process.kill()
    wait_until(recorder.summary_file.exists, lambda: f'a summary; it said:\n{recorder.log}')
    assert recorder.summary['episodes'] == [0]
    assert 'the process that started this one is gone' in recorder.log


@pytest.mark.parametrize('number', STOPS)
def test_a_policy_ends_at_once_when_asked_while_it_compiles(
    start_node: Callable, tiny_checkpoint: Path, tmp_path: Path, number: signal.Signals
) -> None:
    policy = start_node(
        'policy_node', checkpoint=tiny_checkpoint, prompt='push', compile_cache=tmp_path / 'c'
    )
    policy.wait_for('compiling')
    assert policy.end(number) == 0
    assert 'stopped while it was being configured' in policy.log
    assert 'Traceback' not in policy.log
    assert 'ready after' not in policy.log


@pytest.mark.parametrize('number', STOPS)
def test_a_node_that_is_stopped_while_it_imports_ends_without_a_traceback(
    start_node: Callable, wait_until: Callable, tiny_checkpoint: Path, number: signal.Signals
) -> None:
    policy = start_node('policy_node', checkpoint=tiny_checkpoint, prompt='push')
    maps = Path(f'/proc/{policy.process.pid}/maps')
    wait_until(lambda: 'jaxlib' in maps.read_text(), 'an import of JAX')
    assert policy.end(number) == 0
    assert 'Traceback' not in policy.log


def test_a_node_that_cannot_be_activated_ends_its_run(start_node: Callable, tmp_path: Path) -> None:
    recorder = start_node(
        'recorder_node', dataset=tmp_path / 'dataset', autostart_recording=True, exit_on_refusal=True
    )
    assert recorder.wait() == 1
    assert 'cannot activate' in recorder.log


def test_a_second_node_of_the_same_name_is_refused_and_named(start_node: Callable, tmp_path: Path) -> None:
    first = start_node('recorder_node', dataset=tmp_path / 'a', task='push', run_id='first')
    first.wait_for('recorder_node')
    second = start_node('recorder_node', dataset=tmp_path / 'b', task='push', run_id='second')
    assert second.wait() == 1
    assert 'another /recorder_node runs already' in second.log
    assert 'run first' in second.log
    assert 'ROS_DOMAIN_ID' in second.log
    assert first.alive
    other = start_node(
        'recorder_node', '-r', '__ns:=/left', dataset=tmp_path / 'c', task='push', run_id='third'
    )
    first.end()
    assert other.alive, 'two robots in two namespaces run side by side'


def test_the_recorder_begins_when_the_policy_is_ready(
    start_node: Callable, robot, wait_until: Callable, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    robot.publish_streams()
    cache = tmp_path / 'nothing compiled yet'
    recorder = start_node(
        'recorder_node',
        dataset=tmp_path / 'dataset',
        task='push',
        autostart_recording=True,
        start_after='policy_node',
    )
    policy = start_node('policy_node', checkpoint=tiny_checkpoint, prompt='push', compile_cache=cache)
    policy.wait_for('compiling')
    assert not list(tmp_path.glob('dataset.journals/*'))
    policy.wait_for('ready after')
    wait_until(
        lambda: list(tmp_path.glob('dataset.journals/*')), lambda: f'a journal; it said {recorder.log}'
    )

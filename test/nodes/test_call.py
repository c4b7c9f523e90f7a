"""`restac-ros call` and `restac-ros prompt` on real nodes."""

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytest.importorskip('rclpy')
pytest.importorskip('restac_ros.msg', reason='the messages are not built: `make build`')


@pytest.fixture
def restac(ros_domain: int) -> Callable[..., subprocess.CompletedProcess]:
    """Runs the command in the domain of this test run."""

    def run(*arguments: str) -> subprocess.CompletedProcess:
        line = [sys.executable, '-P', '-m', 'restac_ros.cli', *arguments]
        env = {**os.environ, 'ROS_DOMAIN_ID': str(ros_domain)}
        return subprocess.run(line, env=env, capture_output=True, text=True, check=False)

    return run


def test_a_service_is_called_and_its_answer_printed(
    restac: Callable, start_node: Callable, robot, wait_until: Callable, tmp_path: Path
) -> None:
    robot.publish_streams()
    recorder = start_node('recorder_node', dataset=tmp_path / 'dataset', task='push')
    wait_until(lambda: robot.node.count_services('/recorder_node/start'), 'the recorder serves requests')
    started = restac('call', 'recorder_node', 'start')
    assert started.returncode == 0, started.stderr + recorder.log
    again = restac('call', 'recorder_node', 'start')
    assert again.returncode == 1
    assert again.stderr.strip()
    assert restac('call', 'recorder_node', 'discard').returncode == 0
    calls = ('recorder_node save --namespace left', 'recorder_node sart', 'recorder save')
    with ThreadPoolExecutor() as pool:  # each looks for a while for what is not there
        absent, unknown, nobody = pool.map(lambda words: restac('call', *words.split()), calls)
    assert (absent.returncode, unknown.returncode, nobody.returncode) == (1, 1, 1)
    assert '0 nodes serve /left/recorder_node/save' in absent.stderr
    served = 'discard, next_subtask, pause, recover, resume, save, start, thumbnails'
    assert f'recorder_node serves: {served}' in unknown.stderr
    assert 'recorder_node' in nobody.stderr.partition('namespace (/) are: ')[2]


def test_a_prompt_is_set_or_refused_with_the_reason(
    restac: Callable, start_node: Callable, tiny_checkpoint: Path, compile_cache: Path
) -> None:
    policy = start_node('policy_node', checkpoint=tiny_checkpoint, prompt='push', compile_cache=compile_cache)
    policy.wait_for('ready after')
    done = restac('prompt', 'pull')
    assert done.returncode == 0, done.stderr
    assert "prompt is now 'pull'" in done.stdout
    assert restac('prompt', '').returncode == 1
    policy.end()
    assert policy.summary['changes'] == ["prompt is now 'pull'"]


def test_a_service_of_two_nodes_is_not_called(restac: Callable, start_node: Callable, tmp_path: Path) -> None:
    nodes = [start_node('recorder_node', dataset=tmp_path / name, task='push') for name in 'ab']
    for node in nodes:
        node.wait_for('nothing received')
    both = restac('call', 'recorder_node', 'start')
    assert both.returncode == 1
    assert '2 nodes serve /recorder_node/start, expected one' in both.stderr

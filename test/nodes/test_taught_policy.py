"""From others' demonstrations to a robot that says what it does: import, train, plan, act, as processes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip('rclpy')
pytest.importorskip('restac_ros.msg', reason='the messages are not built: `make build`')

from rclpy.qos import DurabilityPolicy, QoSProfile
from restac_ros.msg import ActionChunk, Subtask
from std_msgs.msg import String

from demonstrations import make_run

LATEST = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
TASK, SUBTASK = 'plug it in', 'push'


def restac(*words: object) -> str:
    run = subprocess.run(
        [sys.executable, '-P', '-m', 'restac_ros.cli', *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


@pytest.fixture
def taught(tmp_path: Path) -> Path:
    """A network that has learnt one subtask by heart, from folders of arrays and images."""
    for number in range(2):
        make_run(tmp_path / 'root' / 'plug' / 'insert' / f'run{number}', ('main', 'side'), seed=number)
    texts = {'tasks': {'plug': {'text': TASK, 'subtasks': {'insert': {'text': SUBTASK}}}}}
    (tmp_path / 'texts.json').write_text(json.dumps(texts))
    restac(
        'import-hierarchical',
        tmp_path / 'root',
        '--instructions',
        tmp_path / 'texts.json',
        '--to',
        tmp_path / 'data',
    )
    restac(
        *('train', 'tiny_hierarchical', '--preset', 'tiny_cnn_no_touch', '--to', tmp_path / 'run'),
        *('--data.datasets', tmp_path / 'data', '--data.validation-share', 0, '--augmentation.no-enabled'),
        *(
            '--steps',
            60,
            '--save-every',
            60,
            '--batch-size',
            4,
            '--ema-decay',
            None,
            '--optimizer.warmup-steps',
            5,
            '--hierarchy.max-subtask-tokens',
            8,
        ),
    )
    return tmp_path / 'run' / 'checkpoint-60'


def test_demonstrations_become_a_robot_that_says_its_subtask_and_acts_by_it(
    robot, start_node, wait_until, taught: Path, compile_cache: Path
) -> None:
    node = start_node(
        'policy_node',
        checkpoint=taught,
        prompt=TASK,
        compile_cache=compile_cache,
        planner=True,
        planner_period_s=0.2,
        planner_max_age_ms=60_000.0,  # of a machine that does much else
        max_state_age_ms=60_000.0,
        max_prefix_age_ms=60_000.0,
    )
    chunks = robot.listen('/policy_node/action_chunk', ActionChunk)
    subtasks = robot.listen('/policy_node/subtask', Subtask, LATEST)
    tasks = robot.node.create_publisher(String, '/policy_node/task', LATEST)
    robot.publish_streams()
    wait_until(lambda: chunks and subtasks, lambda: f'a chunk of a said subtask; it said:\n{node.log}')
    said = subtasks[0]
    assert (said.run.prompt, said.task, said.source) == (SUBTASK, TASK, Subtask.SOURCE_PLANNER)
    assert said.ended
    assert said.mean_log_probability <= 0
    assert (chunks[0].run.prompt, chunks[0].run.prompt_revision) == (SUBTASK, said.run.prompt_revision)

    tasks.publish(String(data=''))  # nothing is planned for any more: the last subtask stays
    seen = len(chunks)
    wait_until(lambda: len(chunks) > seen + 3, lambda: f'further chunks; it said:\n{node.log}')
    assert chunks[-1].run == chunks[0].run
    assert node.end() == 0

"""From others' demonstrations to a robot that says what it does: import, train, plan, act, as processes."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
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
STEPS = 40  # all is right after 20
PATIENT_MS = 60_000.0  # for a machine that does much else
TRAINING = {
    'data.validation-share': 0,
    'steps': STEPS,
    'save-every': STEPS,
    'batch-size': 4,
    'ema-decay': None,
    'optimizer.warmup-steps': 5,
    'hierarchy.max-subtask-tokens': 8,
}
STILL = ('ee_y', 'ee_z', 'ee_rot_x', 'ee_rot_y', 'ee_rot_z', 'gripper')  # of these demonstrations


def run_command(*words: object, options: Mapping[str, object]) -> None:
    """Run a command of the package as somebody types it."""
    given = [str(word) for name, value in options.items() for word in (f'--{name}', value)]
    line = [sys.executable, '-P', '-m', 'restac_ros.cli', *map(str, words), *given]
    run = subprocess.run(line, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.fixture(autouse=True)
def _compiled_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """What little runs here need not be optimised: the processes compile in half the time."""
    given = os.environ.get('XLA_FLAGS', '')
    monkeypatch.setenv('XLA_FLAGS', f'{given} --xla_backend_optimization_level=0')


@pytest.fixture
def taught(tmp_path: Path) -> Path:
    """A network that has learnt one subtask by heart, from folders of arrays and images."""
    for number in range(2):
        make_run(tmp_path / 'root' / 'plug' / 'insert' / f'run{number}', ('main', 'side'), seed=number)
    texts = {'tasks': {'plug': {'text': TASK, 'subtasks': {'insert': {'text': SUBTASK}}}}}
    (tmp_path / 'texts.json').write_text(json.dumps(texts))
    data, run = tmp_path / 'data', tmp_path / 'run'
    run_command(
        'import-hierarchical',
        tmp_path / 'root',
        options={'instructions': tmp_path / 'texts.json', 'to': data},
    )
    widened = [word for name in STILL for word in (name, 0.1)]
    run_command(
        *('train', 'tiny_hierarchical', '--preset', 'tiny_cnn_no_touch', '--augmentation.no-enabled'),
        *('--data.datasets', data, '--data.min-range', *widened),
        options={**TRAINING, 'to': run},
    )
    return run / f'checkpoint-{STEPS}'


def test_demonstrations_become_a_robot_that_says_its_subtask_and_acts_by_it(
    robot, start_node, wait_until, taught: Path, patient_contract_file: Path, compile_cache: Path
) -> None:
    node = start_node(
        'policy_node',
        contract=patient_contract_file,
        checkpoint=taught,
        prompt=TASK,
        compile_cache=compile_cache,
        planner=True,
        planner_period_s=0.2,
        planner_subtasks=[SUBTASK],
        planner_max_silence_s=600.0,
        planner_max_age_ms=PATIENT_MS,
        max_state_age_ms=PATIENT_MS,
        max_prefix_age_ms=PATIENT_MS,
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
    assert len(subtasks) == 1
    assert node.end() == 0
    assert node.summary['answers']['apply'] == 1

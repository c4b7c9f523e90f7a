"""The planner inside the policy node: tasks and operators in, subtasks out, their revision in chunks."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('rclpy')
pytest.importorskip('restac_ros.msg', reason='the messages are not built: `make build`')

from rclpy.qos import DurabilityPolicy, QoSProfile
from restac_ros.msg import ActionChunk, Subtask
from std_msgs.msg import String

from checkpoints import load_checkpoint
from restac_ros.contract.load import load_contract
from restac_ros.model.checkpoint.provenance import Subtasks
from restac_ros.model.checkpoint.store import save_checkpoint
from restac_ros.policy.init_checkpoint import init_checkpoint

LATEST = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


@pytest.fixture
def silent_checkpoint(repository: Path, tmp_path: Path) -> Path:
    """A network that compiles fast, with random weights."""
    contract = load_contract(repository / 'config' / 'contract.yaml')
    init_checkpoint('tiny_cnn_no_touch', contract, tmp_path / 'silent', seed=1)
    return tmp_path / 'silent'


@pytest.fixture
def speaking_checkpoint(silent_checkpoint: Path, tmp_path: Path) -> Path:
    """The same, said to have been taught subtasks: what it says is never finished."""
    checkpoint = load_checkpoint(silent_checkpoint)
    taught = Subtasks(says=True, acts=True, max_tokens=3)
    info = replace(checkpoint.info, origin=replace(checkpoint.info.origin, subtasks=taught))
    save_checkpoint(tmp_path / 'speaking', checkpoint.params, info)
    return tmp_path / 'speaking'


def test_an_operators_subtask_moves_a_robot_whose_planner_says_nothing_whole(
    robot, start_node, wait_until, speaking_checkpoint: Path, compile_cache: Path
) -> None:
    node = start_node(
        'policy_node',
        checkpoint=speaking_checkpoint,
        prompt='insert the plug',
        compile_cache=compile_cache,
        replan_hz=20.0,
        planner=True,
        planner_period_s=0.2,
    )
    chunks = robot.listen('/policy_node/action_chunk', ActionChunk)
    subtasks = robot.listen('/policy_node/subtask', Subtask, LATEST)
    operator = robot.node.create_publisher(String, '/policy_node/override', LATEST)
    tasks = robot.node.create_publisher(String, '/policy_node/task', LATEST)
    robot.publish_streams()
    node.wait_for('no chunk: the first subtask is not ready yet')
    assert not chunks

    operator.publish(String(data='wait'))
    wait_until(lambda: chunks and subtasks, lambda: f'a chunk of the operator; it said:\n{node.log}')
    (subtask,) = subtasks
    assert (subtask.run.prompt, subtask.task) == ('wait', 'insert the plug')
    assert (subtask.source, subtask.ended) == (Subtask.SOURCE_OPERATOR, True)
    assert np.isnan(subtask.mean_log_probability)
    run = chunks[0].run
    assert (run.prompt, run.prompt_revision) == ('wait', subtask.run.prompt_revision)

    tasks.publish(String(data=''))  # no task: nothing is asked any more, and the last subtask stays
    operator.publish(String(data=''))
    seen = len(chunks)
    wait_until(lambda: len(chunks) > seen + 5, lambda: f'further chunks; it said:\n{node.log}')
    assert chunks[-1].run == run
    assert len(subtasks) == 1
    assert node.end() == 0


def test_a_policy_that_was_not_taught_subtasks_is_refused_with_a_planner(
    start_node, silent_checkpoint: Path, compile_cache: Path
) -> None:
    node = start_node(
        'policy_node',
        checkpoint=silent_checkpoint,
        prompt='insert the plug',
        compile_cache=compile_cache,
        exit_on_refusal=True,
        planner=True,
    )
    node.wait_for('was not trained to generate subtasks')

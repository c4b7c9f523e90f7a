"""The launch files start what `restac-ros up` starts. Needs launch_ros, which an apt install of ROS 2 has."""

import importlib.util
from pathlib import Path

import pytest

from restac_ros import graph
from restac_ros.graph import Run, processes

launch = pytest.importorskip('launch')
launch_ros_actions = pytest.importorskip('launch_ros.actions')


def nodes_of(file: Path, **arguments: str) -> list:
    """The node actions a launch file yields for these arguments."""
    spec = importlib.util.spec_from_file_location(file.stem.replace('.', '_'), file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    context = launch.LaunchContext()
    found: list = []
    pending = list(module.generate_launch_description().entities)
    context.launch_configurations.update(arguments)
    while pending:
        entity = pending.pop(0)
        if isinstance(entity, launch_ros_actions.Node):
            found.append(entity)
        elif isinstance(entity, launch.actions.DeclareLaunchArgument | launch.actions.OpaqueFunction):
            pending += entity.execute(context) or []
    return found


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    (tmp_path / 'bag').mkdir()
    return tmp_path / 'bag'


def test_policy_launch_starts_the_processes_of_the_graph(repository: Path, tmp_path: Path, bag: Path) -> None:
    record, checkpoint = tmp_path / 'dataset', tmp_path / 'checkpoint'
    nodes = nodes_of(
        repository / 'launch' / 'policy.launch.py',
        checkpoint=str(checkpoint),
        prompt='push',
        record=str(record),
        bag=str(bag),
        run_dir=str(tmp_path),
    )
    expected = processes(
        Run(directory=tmp_path, checkpoint=checkpoint, prompt='push', record=record, source='bag', bag=bag)
    )
    assert [node.node_executable for node in nodes] == [process.executable for process in expected]


def test_record_launch_starts_the_recorder_alone(repository: Path, tmp_path: Path) -> None:
    nodes = nodes_of(
        repository / 'launch' / 'record.launch.py', record=str(tmp_path / 'dataset'), run_dir=str(tmp_path)
    )
    assert [node.node_executable for node in nodes] == ['recorder_node']


def test_a_contradiction_is_refused_as_on_the_command_line(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(graph.GraphError, match='nothing to do'):
        nodes_of(repository / 'launch' / 'policy.launch.py', run_dir=str(tmp_path))

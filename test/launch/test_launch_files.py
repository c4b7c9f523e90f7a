"""The launch files start what `restac-ros up` starts. Needs launch_ros, which an apt install of ROS 2 has."""

import importlib.util
from pathlib import Path

import pytest

from restac_ros.graph import Run, Source, processes
from restac_ros.installation import GraphError
from restac_ros.process import MAX_RESTARTS, Process, ros_arguments

launch = pytest.importorskip('launch')
launch_ros_actions = pytest.importorskip('launch_ros.actions')

from restac_ros.launching import after_exit  # noqa: E402  launch is an optional dependency


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
def checkpoint(tmp_path: Path) -> Path:
    (tmp_path / 'checkpoint').mkdir()
    return tmp_path / 'checkpoint'


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    (tmp_path / 'bag').mkdir()
    return tmp_path / 'bag'


def test_policy_launch_starts_the_processes_of_the_graph(
    repository: Path, tmp_path: Path, checkpoint: Path, bag: Path
) -> None:
    record = tmp_path / 'dataset'
    nodes = nodes_of(
        repository / 'launch' / 'policy.launch.py',
        checkpoint=str(checkpoint),
        prompt='push',
        record=str(record),
        bag=str(bag),
        run_dir=str(tmp_path),
    )
    expected = processes(
        Run(
            directory=tmp_path,
            checkpoint=checkpoint,
            prompt='push',
            record=record,
            source=Source.BAG,
            bag=bag,
        )
    )
    assert [node.node_executable for node in nodes] == [process.executable for process in expected]


def test_record_launch_starts_the_recorder_alone(repository: Path, tmp_path: Path) -> None:
    nodes = nodes_of(
        repository / 'launch' / 'record.launch.py', record=str(tmp_path / 'dataset'), run_dir=str(tmp_path)
    )
    assert [node.node_executable for node in nodes] == ['recorder_node']


def test_a_contradiction_is_refused_as_on_the_command_line(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(GraphError, match='nothing to do'):
        nodes_of(repository / 'launch' / 'policy.launch.py', run_dir=str(tmp_path))


def test_every_node_gets_the_arguments_that_up_gives_it(
    repository: Path, tmp_path: Path, checkpoint: Path, bag: Path
) -> None:
    [policy, source] = nodes_of(
        repository / 'launch' / 'policy.launch.py',
        checkpoint=str(checkpoint),
        prompt='push',
        bag=str(bag),
        run_dir=str(tmp_path),
        namespace='left',
        use_sim_time='yes',
    )
    run = Run(
        directory=tmp_path,
        checkpoint=checkpoint,
        prompt='push',
        source=Source.BAG,
        bag=bag,
        namespace='left',
        use_sim_time=True,
    )
    for node, process in zip((policy, source), processes(run), strict=True):
        texts = [''.join(part.describe() for part in word).strip("'") for word in node.cmd]
        assert [word for word in ros_arguments(process) if "'" not in word] == [
            word for word in texts if word in ros_arguments(process)
        ]
        assert '__ns:=/left' in texts


def test_a_pushed_namespace_comes_before_the_given_one(repository: Path, tmp_path: Path) -> None:
    [node] = nodes_of(
        repository / 'launch' / 'record.launch.py',
        ros_namespace='/cell',
        namespace='left',
        record=str(tmp_path / 'dataset'),
        run_dir=str(tmp_path),
    )
    assert '__ns:=/cell/left' in [''.join(part.describe() for part in word).strip("'") for word in node.cmd]


@pytest.mark.parametrize(('text', 'moves'), [('true', True), ('1', True), ('On', True), ('no', False)])
def test_booleans_are_read_by_the_rule_of_ros(
    repository: Path, tmp_path: Path, checkpoint: Path, text: str, moves: bool
) -> None:
    nodes = nodes_of(
        repository / 'launch' / 'policy.launch.py',
        checkpoint=str(checkpoint),
        prompt='push',
        execute=text,
        run_dir=str(tmp_path),
    )
    assert ('streamer_node' in [node.node_executable for node in nodes]) is moves


@pytest.mark.parametrize(
    ('file', 'given', 'words'),
    [
        ('policy', {'execute': 'ja'}, "execute is 'ja'; expected true, 1, yes, on or false"),
        ('policy', {'execute': ''}, "execute is ''; expected true"),
        ('policy', {'rate': 'fast'}, "rate is 'fast'; expected a number"),
        ('policy', {'use_sim_time': 'maybe'}, "use_sim_time is 'maybe'"),
        ('record', {}, 'record is empty; expected the data set'),
        ('gate_view', {'rviz': 'perhaps'}, "rviz is 'perhaps'"),
    ],
)
def test_an_argument_that_cannot_be_read_is_named(
    repository: Path, tmp_path: Path, file: str, given: dict, words: str
) -> None:
    with pytest.raises(GraphError, match=words):
        nodes_of(repository / 'launch' / f'{file}.launch.py', run_dir=str(tmp_path), **given)


@pytest.mark.parametrize(
    ('status', 'restarts', 'started_again'),
    [(0, 0, False), (1, 0, True), (-9, 2, True), (1, MAX_RESTARTS, False)],
)
def test_a_view_that_was_shut_down_in_order_is_not_started_again(
    status: int, restarts: int, started_again: bool
) -> None:
    following = after_exit(Process('gate_view_node', {}, vital=False), status, restarts)
    timers = [action for action in following if isinstance(action, launch.actions.TimerAction)]
    assert bool(timers) is started_again


def test_the_end_of_a_vital_node_ends_the_launch() -> None:
    following = after_exit(Process('policy_node', {}), 1, 0)
    assert any(isinstance(action, launch.actions.EmitEvent) for action in following)

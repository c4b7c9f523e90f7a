"""The view's launch file starts the view, a bag where asked for, and rviz2 only where it is installed."""

import importlib.util
from pathlib import Path

import pytest

from restac_ros.installation import find_package

launch = pytest.importorskip('launch')
launch_ros_actions = pytest.importorskip('launch_ros.actions')


def actions_of(file: Path, **arguments: str) -> list:
    """What the launch file does with these arguments, its argument declarations left out."""
    spec = importlib.util.spec_from_file_location('gate_view_launch', file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    context = launch.LaunchContext()
    context.launch_configurations.update(arguments)
    found: list = []
    pending = list(module.generate_launch_description().entities)
    while pending:
        entity = pending.pop(0)
        if isinstance(entity, launch.actions.DeclareLaunchArgument | launch.actions.OpaqueFunction):
            pending += entity.execute(context) or []
        else:
            found.append(entity)
    return found


def executables(actions: list) -> list[str]:
    return [action.node_executable for action in actions if isinstance(action, launch_ros_actions.Node)]


@pytest.fixture
def file(repository: Path) -> Path:
    return repository / 'launch' / 'gate_view.launch.py'


def test_the_view_alone(file: Path, tmp_path: Path) -> None:
    assert executables(actions_of(file, rviz='false', run_dir=str(tmp_path))) == ['gate_view_node']


def test_the_view_and_a_bag(file: Path, tmp_path: Path) -> None:
    (tmp_path / 'bag').mkdir()
    actions = actions_of(file, rviz='false', run_dir=str(tmp_path), bag=str(tmp_path / 'bag'))
    assert executables(actions) == ['gate_view_node', 'replay_node']


def test_rviz_is_started_where_it_is_installed(
    file: Path, tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = tmp_path / 'prefix'
    for package in ('restac_ros', 'rviz2'):
        (prefix / 'share' / package).mkdir(parents=True)
        (prefix / 'share' / package / 'package.xml').write_text('<package/>')
    (prefix / 'share' / 'restac_ros' / 'config').symlink_to(repository / 'config')
    monkeypatch.setenv('AMENT_PREFIX_PATH', str(prefix))
    assert executables(actions_of(file, run_dir=str(tmp_path))) == ['gate_view_node', 'rviz2']


def test_without_rviz_the_remedy_is_said_and_the_view_runs(file: Path, tmp_path: Path) -> None:
    if find_package('rviz2') is not None:
        pytest.skip('rviz2 is installed here')
    actions = actions_of(file, run_dir=str(tmp_path))
    assert executables(actions) == ['gate_view_node']
    said = [action for action in actions if isinstance(action, launch.actions.LogInfo)]
    assert len(said) == 1

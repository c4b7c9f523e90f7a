"""Programs as they are installed: executable however they are built, and clear about what a machine lacks."""

import ast
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from restac_ros.installation import GraphError, package_prefix
from restac_ros.process import Process, command
from restac_ros.program import EnvironmentRefused, check_environment


@pytest.fixture
def indexed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A prefix in which one middleware is installed."""
    index = tmp_path / 'share' / 'ament_index' / 'resource_index' / 'rmw_typesupport'
    index.mkdir(parents=True)
    for name in ('rmw_fastrtps_cpp', 'rmw_implementation'):
        (index / name).touch()
    monkeypatch.setenv('AMENT_PREFIX_PATH', f'{tmp_path / "none"}:{tmp_path}')
    monkeypatch.delenv('RMW_IMPLEMENTATION', raising=False)
    monkeypatch.delenv('ROS_DOMAIN_ID', raising=False)
    return tmp_path


def test_what_is_installed_is_accepted(indexed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_environment()
    monkeypatch.setenv('RMW_IMPLEMENTATION', 'rmw_fastrtps_cpp')
    monkeypatch.setenv('ROS_DOMAIN_ID', '232')
    check_environment()


@pytest.mark.parametrize(
    ('variable', 'value', 'words'),
    [
        (
            'RMW_IMPLEMENTATION',
            'rmw_cyclonedds_cpp',
            'installed: rmw_fastrtps_cpp: `unset RMW_IMPLEMENTATION`',
        ),
        ('ROS_DOMAIN_ID', '999', "ROS_DOMAIN_ID is '999'; expected a whole number from 0 to 232"),
        ('ROS_DOMAIN_ID', 'abc', "ROS_DOMAIN_ID is 'abc'; expected a whole number from 0 to 232"),
        ('ROS_DOMAIN_ID', '-1', "ROS_DOMAIN_ID is '-1'"),
    ],
)
def test_a_variable_that_ros_cannot_start_with_is_named_with_its_remedy(
    indexed: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, words: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(EnvironmentRefused, match=words):
        check_environment()
    with pytest.raises(GraphError, match=words):
        command(Process('policy_node', {}))


@pytest.fixture
def programs() -> Path:
    try:
        return package_prefix() / 'lib' / 'restac_ros'
    except GraphError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize('node', ['replay_node', 'call_node'])
def test_a_node_says_in_one_line_which_variable_to_unset(programs: Path, node: str) -> None:
    env = {**os.environ, 'RMW_IMPLEMENTATION': 'rmw_nowhere_cpp'}
    run = subprocess.run(
        [sys.executable, programs / node], env=env, capture_output=True, text=True, check=False
    )
    assert run.returncode == 1
    assert 'unset RMW_IMPLEMENTATION' in run.stderr
    assert run.stderr.count('\n') == 1


def test_a_node_without_its_python_packages_names_the_remedy(programs: Path) -> None:
    """Python's own modules and this package only, as on an apt install of ROS without .venv."""
    env = {**os.environ, 'PYTHONPATH': str(package_prefix() / 'lib' / 'python3.12' / 'site-packages')}
    line = [sys._base_executable, '-S', programs / 'synthetic_node']
    run = subprocess.run(line, env=env, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert 'needs the Python package' in run.stderr
    assert '. scripts/env.sh' in run.stderr
    assert run.stderr.count('\n') == 1


def test_configured_programs_are_executable_so_that_links_to_them_are(
    repository: Path, tmp_path: Path
) -> None:
    """As colcon build --symlink-install uses them."""
    if shutil.which('cmake') is None:
        pytest.skip('no cmake here')
    line = ['cmake', '-S', repository, '-B', tmp_path, '-DAMENT_CMAKE_SYMLINK_INSTALL=1']
    subprocess.run(line, check=True, capture_output=True)
    configured = sorted((tmp_path / 'programs').iterdir())
    assert {'policy_node', 'restac-ros'} <= {path.name for path in configured}
    assert [path.name for path in configured if not path.stat().st_mode & stat.S_IXUSR] == []


def test_the_shell_set_up_unsets_a_middleware_that_is_not_among_the_wheels(repository: Path) -> None:
    stamp = repository / '.venv' / '.restac-setup'
    if not stamp.is_file() or 'wheels' not in stamp.read_text().split():
        pytest.skip('ROS 2 does not come from wheels here')
    script = '. scripts/env.sh && echo "left: ${RMW_IMPLEMENTATION:-nothing}"'
    env = {**os.environ, 'RMW_IMPLEMENTATION': 'rmw_nowhere_cpp'}
    run = subprocess.run(
        ['bash', '-c', script], cwd=repository, env=env, capture_output=True, text=True, check=True
    )
    assert 'left: nothing' in run.stdout
    assert 'rmw_nowhere_cpp is not among the wheels' in run.stderr


def test_the_manifest_names_every_ros_package_that_the_code_imports(repository: Path) -> None:
    manifest = ElementTree.parse(repository / 'package.xml').getroot()
    named = {element.text for element in manifest if element.tag.endswith('depend')}
    imported = {
        name.split('.')[0]
        for file in [*(repository / 'restac_ros').rglob('*.py'), *(repository / 'launch').glob('*.py')]
        for node in ast.walk(ast.parse(file.read_text()))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or '']
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    ros = {'rclpy', 'launch', 'launch_ros', 'rcl_interfaces', 'builtin_interfaces', 'std_srvs'}
    needed = {name for name in imported if name in ros or name.endswith('_msgs')}
    assert {'rclpy', 'sensor_msgs', 'launch_ros', 'rcl_interfaces'} <= needed
    assert needed - named == set()

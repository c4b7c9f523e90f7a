"""Turns the process list of `restac_ros.graph` into launch actions. Used by the files in `launch/` only."""

from collections.abc import Mapping
from pathlib import Path

from launch.action import Action
from launch.actions import DeclareLaunchArgument, EmitEvent, LogInfo, SetEnvironmentVariable
from launch.events import Shutdown
from launch.launch_context import LaunchContext
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from restac_ros.graph import MAX_RESTARTS, PACKAGE, Process, Run, processes
from restac_ros.supervise import environment

RESPAWN_DELAY_S = 1.0


# What every launch file takes, in the order of `ros2 launch --show-args`.
COMMON = {
    'contract': ('', 'robot facts (YAML); empty: the installed config/contract.yaml'),
    'bag': ('', 'rosbag2 to play instead of live drivers'),
    'rate': ('1.0', 'playing speed of the bag'),
    'params': ('', 'ROS parameter file for tuning the nodes; the defaults are in config/'),
    'run_dir': ('runs/launch', 'where the nodes put their summaries'),
}


def arguments(described: Mapping[str, tuple[str, str]]) -> list[DeclareLaunchArgument]:
    """Launch arguments from name -> (default, description), and the common ones."""
    return [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in {**described, **COMMON}.items()
    ]


def given(context: LaunchContext, described: Mapping[str, tuple[str, str]]) -> dict[str, str]:
    """The values the user gave, or the defaults."""
    return {name: LaunchConfiguration(name).perform(context) for name in {**described, **COMMON}}


def path_of(value: str) -> Path | None:
    """A path as typed, from where `ros2 launch` runs; None for an empty text."""
    return Path(value).expanduser().absolute() if value else None


def run_of(value: Mapping[str, str], **more: object) -> Run:
    """The run that the common arguments describe; `more` are a Run's other fields."""
    common = {
        'directory': path_of(value['run_dir']),
        'contract': path_of(value['contract']),
        'bag': path_of(value['bag']),
        'source': 'bag' if value['bag'] else 'none',
        'rate': float(value['rate']),
        'parameter_file': path_of(value['params']),
    }
    return Run(**{**common, **more})


def actions(run: Run) -> list[Action]:
    """Launch actions of a run.

    Raises:
        GraphError: contradictory or missing arguments.
    """
    run.directory.mkdir(parents=True, exist_ok=True)
    listed = processes(run)
    env = environment(any(process.ends_run for process in listed))
    variables = [
        SetEnvironmentVariable(name, env[name]) for name in ('ROS_AUTOMATIC_DISCOVERY_RANGE',) if name in env
    ]
    return [*variables, *(_node(process) for process in listed)]


def _node(process: Process) -> Node:
    over = 'has played everything' if process.ends_run else 'ended'
    ending = [
        LogInfo(msg=f'{process.executable} {over}: stopping the others'),
        EmitEvent(event=Shutdown(reason=f'{process.executable} {over}')),
    ]
    restarting = {'respawn': True, 'respawn_delay': RESPAWN_DELAY_S, 'respawn_max_retries': MAX_RESTARTS}
    return Node(
        package=PACKAGE,
        executable=process.executable,
        name=process.executable,
        parameters=[
            *([str(process.parameter_file)] if process.parameter_file else []),
            dict(process.parameters),
        ],
        output='screen',
        # launch would send SIGTERM after 5 s: the recorder is turning a journal into an episode then
        sigterm_timeout=str(process.patience_s),
        sigkill_timeout=str(process.patience_s),
        **({'on_exit': ending} if process.vital else restarting),
    )

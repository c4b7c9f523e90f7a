"""Turns the process list of `restac_ros.graph` into launch actions, for the files in `launch/`."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from launch.action import Action
from launch.actions import DeclareLaunchArgument, EmitEvent, LogInfo, SetEnvironmentVariable, TimerAction
from launch.events import Shutdown
from launch.events.process import ProcessExited
from launch.launch_context import LaunchContext
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from restac_ros.graph import Run, Source, processes
from restac_ros.installation import PACKAGE, GraphError
from restac_ros.process import MAX_RESTARTS, Process, ros_arguments
from restac_ros.supervise import environment, remove_summaries

RESPAWN_DELAY_S = 1.0
TRUE, FALSE = ('true', '1', 'yes', 'on'), ('false', '0', 'no', 'off')

# Arguments of every launch file, in the order of `ros2 launch --show-args`.
COMMON = {
    'contract': ('', 'robot facts (YAML); empty: the installed config/contract.yaml'),
    'bag': ('', 'rosbag2 to play instead of live drivers'),
    'rate': ('1.0', 'playing speed of the bag'),
    'params': ('', 'ROS parameter file for tuning the nodes; the defaults are in config/'),
    'namespace': (
        '',
        'namespace of all nodes, inside the one that is pushed; two robots in one domain have two',
    ),
    'use_sim_time': ('false', 'true: follow /clock; a played bag publishes it'),
    'run_dir': ('runs/launch', 'where the nodes put their summaries, in a folder named as the namespace'),
}


class LaunchArguments:
    """The arguments of one launch file, as the user gave them or by their defaults."""

    def __init__(self, context: LaunchContext, described: Mapping[str, tuple[str, str]]) -> None:
        self._texts = {name: LaunchConfiguration(name).perform(context) for name in {**described, **COMMON}}
        self._pushed_namespace = context.launch_configurations.get('ros_namespace', '')

    def text(self, name: str) -> str:
        """Return an argument as typed."""
        return self._texts[name]

    def path(self, name: str) -> Path | None:
        """Return a path, relative to where `ros2 launch` runs; None for an empty text."""
        text = self._texts[name]
        return Path(text).expanduser().absolute() if text else None

    def truth(self, name: str) -> bool:
        """Parse a boolean as ROS writes one.

        Raises:
            GraphError: the text is no boolean.
        """
        text = self._texts[name].strip().lower()
        if text not in (*TRUE, *FALSE):
            raise GraphError(
                f'{name} is {self._texts[name]!r}; expected {", ".join(TRUE)} or {", ".join(FALSE)}'
            )
        return text in TRUE

    def choice[T: str](self, name: str, allowed: Sequence[T]) -> T:
        """Return one of some words.

        Raises:
            GraphError: the text is another.
        """
        text = self._texts[name].strip()
        for one in allowed:
            if text == one:
                return one
        raise GraphError(f'{name} is {text!r}; expected one of {", ".join(allowed)}')

    def number(self, name: str) -> float:
        """Parse a number.

        Raises:
            GraphError: the text is none.
        """
        try:
            return float(self._texts[name])
        except ValueError:
            raise GraphError(f'{name} is {self._texts[name]!r}; expected a number such as 1.0') from None

    def run(self, **more: Any) -> Run:
        """Return the run that the common arguments describe; `more` are other fields of `Run`."""
        directory, bag = self.path('run_dir'), self.path('bag')
        if directory is None:
            raise GraphError('run_dir is empty; expected a directory for the summaries of the nodes')
        common = Run(
            directory=directory,
            contract=self.path('contract'),
            bag=bag,
            source=Source.BAG if bag else Source.DRIVERS,
            rate=self.number('rate'),
            parameter_file=self.path('params'),
            namespace=f'{self._pushed_namespace}/{self.text("namespace")}',
            use_sim_time=self.truth('use_sim_time'),
        )
        return replace(common, **more)


def declared(described: Mapping[str, tuple[str, str]]) -> list[DeclareLaunchArgument]:
    """Declare launch arguments from name -> (default, description), and the common ones."""
    return [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in {**described, **COMMON}.items()
    ]


def actions(run: Run) -> list[Action]:
    """Return the launch actions of a run.

    Raises:
        GraphError: contradictory or missing arguments.
    """
    listed = processes(run)
    run.directory.mkdir(parents=True, exist_ok=True)
    remove_summaries(listed)
    env = environment(any(process.ends_run for process in listed))
    variables = [
        SetEnvironmentVariable(name, env[name]) for name in ('ROS_AUTOMATIC_DISCOVERY_RANGE',) if name in env
    ]
    return [*variables, *(_node(process) for process in listed)]


def after_exit(process: Process, status: int, restarts: int) -> list[Action]:
    """Return the actions after a process ends by itself, as in `supervise`; `restarts` came before."""
    name = process.executable
    if process.vital:
        over = 'has played everything' if process.ends_run and status == 0 else 'ended'
        text = f'{name} {over}: stopping the others'
        return [LogInfo(msg=text), EmitEvent(event=Shutdown(reason=text))]
    if status == 0 or restarts >= MAX_RESTARTS:
        return [LogInfo(msg=f'{name} ended: the run goes on without it')]
    again = f'{name} ended with status {status}: it is started again ({restarts + 1} of {MAX_RESTARTS})'
    return [LogInfo(msg=again), TimerAction(period=RESPAWN_DELAY_S, actions=[_node(process, restarts + 1)])]


def _node(process: Process, restarts: int = 0) -> Node:
    def on_exit(event: ProcessExited, context: LaunchContext) -> list[Action]:
        return [] if context.is_shutdown else after_exit(process, event.returncode, restarts)

    return Node(
        package=PACKAGE,
        executable=process.executable,
        ros_arguments=ros_arguments(process),
        output='screen',
        # launch would send SIGTERM after 5 s: the recorder is turning a journal into an episode then
        sigterm_timeout=str(process.patience_s),
        sigkill_timeout=str(process.patience_s),
        on_exit=on_exit,
    )

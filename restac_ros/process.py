"""Describes one process of a run: a node, its parameters, and the command line that starts it."""

import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from restac_ros.installation import PACKAGE, GraphError, package_prefix
from restac_ros.program import EnvironmentRefused, check_environment

MAX_RESTARTS = 3
PLAYED = '.played'
ParameterValue = bool | int | float | str | list[str]

_NAME = r'[A-Za-z_]\w*'
_TOPIC = rf'(~/|/)?{_NAME}(/{_NAME})*'
_REMAP = re.compile(rf'({_NAME}:)?(?!__){_TOPIC}:={_TOPIC}')


@dataclass(frozen=True)
class Process:
    """One node in a process of its own.

    Attributes:
        executable: program in `lib/restac_ros`; also the node's name.
        parameters: ROS parameters on top of the node's defaults, which it reads from `config/<node>.yaml`.
        parameter_file: the user's own ROS parameter file, applied before `parameters`.
        namespace: in which the node lives, such as `/left`; empty for the root.
        remaps: ROS remappings, each `from:=to`.
        terminal: whether it has the keyboard: '' no, 'keys' only, 'display' also prints the others' output.
        ends_run: the run ends in order when this process ends.
        vital: the run ends when this process ends by itself; otherwise it is restarted, `MAX_RESTARTS` times
            at most.
        patience_s: how long it may take to stop; the recorder finishes an episode then.
    """

    executable: str
    parameters: Mapping[str, ParameterValue]
    parameter_file: Path | None = None
    namespace: str = ''
    remaps: tuple[str, ...] = ()
    terminal: Literal['', 'keys', 'display'] = ''
    ends_run: bool = False
    vital: bool = True
    patience_s: float = 15.0

    @property
    def summary_file(self) -> Path:
        """Return the file that the node writes its summary to when it stops; a console writes none."""
        return Path(str(self.parameters.get('summary_file', os.devnull)))

    @property
    def played_file(self) -> Path:
        """Return the empty file that a source makes when it has played everything, before it ends."""
        return self.summary_file.with_suffix(PLAYED)


def command(process: Process) -> list[str]:
    """Return the command line of one node, as `ros2 run` would build it."""
    try:
        check_environment()
    except EnvironmentRefused as error:
        raise GraphError(str(error)) from error
    program = package_prefix() / 'lib' / PACKAGE / process.executable
    return [sys.executable, str(program), '--ros-args', *ros_arguments(process)]


def ros_arguments(process: Process) -> list[str]:
    """Return what follows `--ros-args`: names, the user's parameter file, our parameters, which win."""
    line = ['-r', f'__node:={process.executable}']
    if process.namespace:
        line += ['-r', f'__ns:={process.namespace}']
    for remap in process.remaps:
        line += ['-r', remap]
    if process.parameter_file:
        line += ['--params-file', str(process.parameter_file)]
    for name, value in process.parameters.items():
        line += ['-p', f'{name}:={_yaml(value)}']
    return line


def _yaml(value: object) -> str:
    """Format a value for rcl's YAML parser: strings quoted, so that '1' or 'yes' stay strings."""
    if isinstance(value, bool):
        return 'true' if value else 'false'
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, list | tuple):
        return f'[{", ".join(map(_yaml, value))}]'
    return repr(value)


def full_namespace(name: str) -> str:
    """Return a namespace with its leading slash: `/left` for `left`; empty for the root.

    Raises:
        GraphError: no namespace of ROS.
    """
    full = f'/{stripped}' if (stripped := name.strip('/')) else ''
    if not re.fullmatch(rf'(/{_NAME})*', full):
        raise GraphError(
            f'namespace is {name!r}; expected letters, digits and _, with / between names, such as left'
        )
    return full


def checked_remaps(remaps: Sequence[str]) -> tuple[str, ...]:
    """Return remappings as given.

    Raises:
        GraphError: one is no remapping of a topic or service.
    """
    for remap in remaps:
        if not _REMAP.fullmatch(remap):
            raise GraphError(f'remapping {remap!r}; expected FROM:=TO, such as /camera/image:=/left/image')
    return tuple(remaps)

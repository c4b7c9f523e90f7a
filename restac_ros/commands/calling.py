"""`restac-ros call` and `restac-ros prompt`: call a service, set a prompt, without the ros2 commands."""

import subprocess
import sys
from dataclasses import dataclass
from typing import Annotated

from tyro.conf import Positional

from restac_ros.installation import PACKAGE, package_prefix
from restac_ros.process import full_namespace


@dataclass(frozen=True)
class CallService:
    """Call a service of a running node, such as `call streamer_node halt` or `call recorder_node save`."""

    node: Annotated[str, Positional]
    """Name of the node, such as streamer_node."""
    service: Annotated[str, Positional]
    """One of its services: halt, resume of the streamer; start, save, discard, pause, resume, next_subtask,
    recover and thumbnails of the recorder; set_reference of gate_view_node and rerun_view_node."""
    namespace: str = ''
    """Namespace of the node, such as left."""

    def run(self) -> int:
        """Exit status: 0 when it was done, 1 when it was refused."""
        return _call(self.namespace, self.node, self.service)


@dataclass(frozen=True)
class SetPrompt:
    """Change the prompt of a running policy."""

    text: Annotated[str, Positional]
    """The robot's task."""
    namespace: str = ''
    """Namespace of the policy, such as left."""

    def run(self) -> int:
        """Exit status: 0 when it was done, 1 when it was refused."""
        return _call(self.namespace, 'policy_node', 'prompt', self.text)


def _call(namespace: str, *arguments: str) -> int:
    program = package_prefix() / 'lib' / PACKAGE / 'call_node'
    line = [sys.executable, str(program), *arguments]
    if full := full_namespace(namespace):
        line += ['--ros-args', '-r', f'__ns:={full}']
    return subprocess.run(line, check=False).returncode

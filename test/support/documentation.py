"""The commands of the documentation, by page.

What stands behind the language of a fenced block says what it needs: ```bash is executed by a test; ```bash
robot needs a robot (drivers, an arm, a terminal), ```bash ros an installed ROS 2, ```bash gpu a GPU; ```bash
set-up changes the machine or takes long, and is what continuous integration or a benchmark runs itself.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from restac_ros.bench.ros_domain import lock_domain

MARKS = {'', 'robot', 'ros', 'gpu', 'set-up'}
# Pages whose commands follow each other, in two workspaces: each uses what the ones before made.
RECORDING_STORY = ('data.md', 'run.md', 'gate.md', 'rehearse.md')
TRAINING_STORY = ('train.md', 'plan.md', 'simulate.md')
STORY = (*RECORDING_STORY, *TRAINING_STORY)
LIMIT_S = 1200
# A run is in real time: before the other process of tests, where the system permits that.
FIRST = ('nice', '-n', '-10')
_BLOCK = re.compile(r'^```(\w+)[ ]?([\w-]*)\n(.*?)^```$', re.MULTILINE | re.DOTALL)


class CommandBlock(NamedTuple):
    """Commands of one fenced block: its page, its line, its mark."""

    page: str
    line: int
    mark: str
    commands: tuple[str, ...]


def pages(repository: Path) -> list[Path]:
    """README, CONTRIBUTING and everything in docs/."""
    top = [repository / name for name in ('README.md', 'CONTRIBUTING.md')]
    return [*top, *sorted((repository / 'docs').glob('*.md'))]


def command_blocks(page: Path) -> list[CommandBlock]:
    """Blocks of shell commands of a page; comments are left out, continued lines joined."""
    text = page.read_text(encoding='utf-8')
    found = []
    for match in _BLOCK.finditer(text):
        language, mark, body = match.groups()
        if language in ('bash', 'sh', 'console'):
            lines = body.replace('\\\n', ' ').splitlines()
            commands = (line.partition(' #')[0].strip() for line in lines)
            kept = tuple(command for command in commands if command and not command.startswith('#'))
            found.append(CommandBlock(page.name, text[: match.start()].count('\n') + 1, mark, kept))
    return found


class Workspace:
    """A folder in which somebody follows pages, with `restac-ros` installed and a ROS domain of its own."""

    def __init__(self, folder: Path, repository: Path) -> None:
        self._docs, self._folder = repository / 'docs', folder / 'work'
        program = folder / 'bin' / 'restac-ros'
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -P -m restac_ros.cli "$@"\n')
        program.chmod(0o755)
        (self._folder / 'data').mkdir(parents=True)
        self._env = os.environ | {
            'PATH': f'{program.parent}:{os.environ["PATH"]}',
            'ROS_DOMAIN_ID': str(lock_domain()),
            'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
            'HOME': str(folder),
        }

    def follow(self, page: str, until: str = '', mark: str = '', limit_s: float = LIMIT_S) -> None:
        """Execute the commands of a page with a mark, to the first that contains `until`, if that is given.

        Each is printed before it is executed, for at most `limit_s`.

        Raises:
            AssertionError: a command failed; with what it printed.
        """
        executed = 0
        for block in command_blocks(self._docs / page):
            for command in block.commands if block.mark == mark else ():
                print(f'{page}:{block.line}: {command}', flush=True)
                run = subprocess.run(
                    [*(FIRST if command.startswith('restac-ros up') else ()), 'bash', '-c', command],
                    cwd=self._folder,
                    env=self._env,
                    capture_output=True,
                    text=True,
                    timeout=limit_s,
                    check=False,
                )
                said = f'{page}:{block.line}: {command}\n{run.stdout[-2000:]}\n{run.stderr[-2000:]}'
                assert run.returncode == 0, said
                executed += 1
                if until and until in command:
                    return
        assert not until, f'{page} has no command with {until}'
        assert executed, f'{page} has no command to execute'

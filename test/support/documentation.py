"""The commands of the documentation, by page.

What stands behind the language of a fenced block says what it needs: ```bash is executed by a test; ```bash
robot needs a robot (drivers, an arm, a terminal), ```bash ros an installed ROS 2, ```bash gpu a GPU; ```bash
set-up changes the machine or takes long, and is what continuous integration or a benchmark runs itself.
"""

import re
from pathlib import Path
from typing import NamedTuple

MARKS = {'', 'robot', 'ros', 'gpu', 'set-up'}
# Pages whose commands follow each other: each uses what the ones before made.
STORY = ('data.md', 'train.md', 'plan.md', 'run.md', 'gate.md', 'rehearse.md', 'simulate.md')
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

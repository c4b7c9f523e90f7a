"""The commands of the documentation, by page.

A fenced block of commands is marked behind the language: ```bash is executed by a test; ```bash robot needs a robot
(drivers, an arm, a terminal), ```bash ros an installed ROS 2, ```bash gpu a GPU, ```bash set-up changes the machine or
takes long, and is what continuous integration or a benchmark runs itself.
"""

import re
from pathlib import Path
from typing import NamedTuple

MARKS = {
    '': 'executed',
    'robot': 'needs a robot',
    'ros': 'needs an installed ROS 2',
    'gpu': 'needs a GPU',
    'set-up': 'set-up',
}
_BLOCK = re.compile(r'^```(\w*)[ ]?([\w-]*)\n(.*?)^```$', re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """Commands of one fenced block: where it stands, its mark, and the lines."""

    page: str
    line: int
    mark: str
    commands: tuple[str, ...]


def pages(repository: Path) -> list[Path]:
    """README and everything in docs/."""
    return [
        repository / 'README.md',
        repository / 'CONTRIBUTING.md',
        *sorted((repository / 'docs').glob('*.md')),
    ]


def blocks(page: Path) -> list[Block]:
    """Blocks of shell commands of a page; comments and empty lines are left out, continued lines joined."""
    text = page.read_text(encoding='utf-8')
    found = []
    for match in _BLOCK.finditer(text):
        language, mark, body = match.groups()
        if language not in ('bash', 'sh', 'console'):
            continue
        joined = body.replace('\\\n', ' ')
        commands = [line.partition(' #')[0].strip() for line in joined.splitlines()]
        line = text[: match.start()].count('\n') + 1
        found.append(Block(page.name, line, mark, tuple(c for c in commands if c and not c.startswith('#'))))
    return found

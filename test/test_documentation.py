"""What the documentation names is there; its commands say what they need (executed in test/documentation)."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import tyro
from tyro.conf import OmitSubcommandPrefixes

from documentation import MARKS, STORY, CommandBlock, command_blocks, pages
from restac_ros.cli import Command


@pytest.fixture(scope='module')
def blocks(repository: Path) -> list[CommandBlock]:
    return [block for page in pages(repository) for block in command_blocks(page)]


def own_commands(blocks: list[CommandBlock]) -> Iterator[tuple[CommandBlock, list[str]]]:
    """Each call of `restac-ros`, as words without the first."""
    for block in blocks:
        for command in block.commands:
            words = shlex.split(command)
            if words[0] == 'restac-ros':
                yield block, words[1:]


def test_every_block_says_what_it_needs_by_a_known_mark(blocks: list[CommandBlock]) -> None:
    assert blocks
    assert [block for block in blocks if block.mark not in MARKS] == []
    unmarked = {block.page for block in blocks if not block.mark}
    assert unmarked <= set(STORY), 'what is not executed needs a mark'


def test_what_a_block_needs_is_said_in_the_text_above_it(
    blocks: list[CommandBlock], repository: Path
) -> None:
    """The mark itself is not shown when the page is rendered."""
    lines = {page.name: page.read_text().splitlines() for page in pages(repository)}
    for block in blocks:
        above = '\n'.join(lines[block.page][: block.line - 1]).rstrip().rpartition('\n\n')[2]
        if word := {'robot': 'robot', 'ros': 'installed ROS', 'gpu': 'GPU'}.get(block.mark):
            assert word in above, f'{block.page}:{block.line}: what it needs is not said above: {above}'


def test_every_call_has_options_that_exist(blocks: list[CommandBlock]) -> None:
    calls = list(own_commands(blocks))
    assert len(calls) > 30
    for block, words in calls:
        try:
            tyro.cli(Command, args=words, config=(OmitSubcommandPrefixes,), console_outputs=False)
        except SystemExit:
            pytest.fail(f'{block.page}:{block.line}: restac-ros {" ".join(words)} is not understood')


def test_every_target_of_make_exists(blocks: list[CommandBlock], repository: Path) -> None:
    targets = set(re.findall(r'^([a-z]+):', (repository / 'Makefile').read_text(), re.MULTILINE))
    asked = {
        shlex.split(command)[1]
        for block in blocks
        for command in block.commands
        if command.startswith('make ')
    }
    assert {'demo', 'test'} <= asked <= targets


def test_the_functions_of_the_trace_are_where_their_links_lead(repository: Path) -> None:
    text = (repository / 'docs' / 'design.md').read_text()
    steps = re.findall(r'^\d+\. .*?(?=^\d+\. |^$|^## )', text, re.MULTILINE | re.DOTALL)
    assert len(steps) == 10
    links = re.findall(r'\[`([\w.]+)`\]\((\S+\.py)\)', ''.join(steps))
    assert len(links) >= 10
    for name, path in links:
        source = (repository / 'docs' / path).resolve().read_text()
        for part in name.split('.'):
            assert re.search(rf'^\s*(def|class) {part}\b', source, re.MULTILINE), f'{path} has no {name}'

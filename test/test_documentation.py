"""Every command of the documentation is executed, or marked with what it needs; what it names is there."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import tyro
from tyro.conf import OmitSubcommandPrefixes

from documentation import MARKS, STORY, CommandBlock, command_blocks, pages
from restac_ros.bench.ros_domain import lock_domain
from restac_ros.cli import Command

LIMIT_S = 400


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


def test_the_commands_do_what_the_pages_say(repository: Path, tmp_path: Path) -> None:
    """In one workspace, page after page, as somebody would who follows them."""
    pytest.importorskip('restac_ros.msg', reason='the messages are not built: `make build`')
    program = tmp_path / 'bin' / 'restac-ros'
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -P -m restac_ros.cli "$@"\n')
    program.chmod(0o755)
    (tmp_path / 'work' / 'data').mkdir(parents=True)
    env = os.environ | {
        'PATH': f'{program.parent}:{os.environ["PATH"]}',
        'ROS_DOMAIN_ID': str(lock_domain()),
        'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
        'HOME': str(tmp_path),
    }
    for page in STORY:
        for block in command_blocks(repository / 'docs' / page):
            for command in () if block.mark else block.commands:
                run = subprocess.run(
                    ['bash', '-c', command],
                    cwd=tmp_path / 'work',
                    env=env,
                    capture_output=True,
                    text=True,
                    timeout=LIMIT_S,
                    check=False,
                )
                said = f'{page}:{block.line}: {command}\n{run.stdout[-2000:]}\n{run.stderr[-2000:]}'
                assert run.returncode == 0, said

"""The documentation: every relative link leads to a file that exists, and to a heading in it."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

LINK = re.compile(r'!?\[[^\]]*\]\(\s*<?([^)>\s]+)>?[^)]*\)')
FENCED = re.compile(r'^(```|~~~).*?^\1\s*$', re.MULTILINE | re.DOTALL)
HEADING = re.compile(r'^#{1,6}\s+(.+?)\s*#*$', re.MULTILINE)


def documents(root: Path) -> list[Path]:
    """Every Markdown file of the repository's root and of docs/."""
    return sorted([*root.glob('*.md'), *root.glob('docs/**/*.md')])


def anchors(text: str) -> set[str]:
    """The anchors that GitHub makes of the headings: lower case, hyphens for blanks, punctuation removed."""
    headings = HEADING.findall(FENCED.sub('', text))
    return {re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-') for heading in headings}


def broken_links(root: Path) -> Iterator[str]:
    """Each relative link that leads nowhere, as `FILE: LINK, why`."""
    for document in documents(root):
        for link in LINK.findall(FENCED.sub('', document.read_text(encoding='utf-8'))):
            if re.match(r'[a-z][a-z0-9+.-]*:', link):
                continue
            path, _, anchor = unquote(link).partition('#')
            target = document.parent / path if path else document
            if not target.exists():
                yield f'{document.relative_to(root)}: {link}, no such file'
            elif anchor and target.suffix == '.md' and anchor not in anchors(target.read_text('utf-8')):
                yield f'{document.relative_to(root)}: {link}, no such heading'


def test_every_relative_link_leads_somewhere(repository: Path) -> None:
    assert (repository / 'README.md') in documents(repository)
    assert list(broken_links(repository)) == []


def test_broken_links_are_found_and_those_in_code_are_none(tmp_path: Path) -> None:
    (tmp_path / 'docs').mkdir()
    (tmp_path / 'docs' / 'a.md').write_text('# Set up: a robot!\n```\n[x](no.md)\n```\n[up](../README.md)\n')
    links = ('docs/a.md#set-up-a-robot', 'docs/a.md#other', 'gone.png', 'https://example.org/x', '#no')
    (tmp_path / 'README.md').write_text(' '.join(f'[text]({link})' for link in links))
    assert list(broken_links(tmp_path)) == [
        'README.md: docs/a.md#other, no such heading',
        'README.md: gone.png, no such file',
        'README.md: #no, no such heading',
    ]

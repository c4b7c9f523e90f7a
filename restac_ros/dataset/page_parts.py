"""What the pages share that this package writes: one file each, that needs nothing else."""

import base64
from html import escape
from pathlib import Path

from restac_ros.whole_files import replaced

_STYLE = """
:root { color-scheme: light; --line: #e3e1dc; --soft: #6b6a66; }
body { font: 15px/1.5 system-ui, sans-serif; color: #23221f; background: #faf9f6; margin: 0 auto;
       max-width: 1160px; padding: 28px 24px 60px; }
h1 { font-size: 24px; margin: 0 0 4px; } h2 { font-size: 18px; margin: 0; display: inline; }
.soft { color: var(--soft); }
.path { font-family: ui-monospace, monospace; font-size: 13px; overflow-wrap: anywhere; }
.badge { border-radius: 5px; color: white; font-weight: 600; font-size: 13px; padding: 2px 10px;
         margin-right: 8px; }
.good { background: #3d8b6d; } .usable, .warning { background: #d08421; }
.bad { background: #b8352a; } .note { background: #8b8a86; }
section, details { background: white; border: 1px solid var(--line); border-radius: 9px;
                   padding: 16px 20px; margin-top: 18px; }
summary { cursor: pointer; }
img { width: 100%; max-width: fit-content; display: block; margin: 14px 0 4px; }
table { border-collapse: collapse; font-size: 13px; margin-top: 14px; width: 100%; }
th { text-align: right; color: var(--soft); font-weight: 500; padding: 3px 8px; }
td { text-align: right; padding: 3px 8px; border-top: 1px solid var(--line);
     font-variant-numeric: tabular-nums; }
th:first-child, td:first-child, td.left, th.left { text-align: left; }
td.off { color: #b8352a; font-weight: 600; }
ul { list-style: none; padding: 0; margin: 12px 0 0; } li { margin: 7px 0; }
.remedy { color: var(--soft); display: block; margin-left: 78px; font-size: 14px; }
li .badge { display: inline-block; min-width: 48px; text-align: center; padding: 1px 6px;
            font-size: 12px; }
"""


class PageError(ValueError):
    """A page cannot be written; the text says which, and the remedy."""


def page(title: str, body: str, css: str = '') -> str:
    """Return a whole page: `title` is plain text, `body` HTML, `css` style besides that of all."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<style>{_STYLE}{css}</style></head><body>{body}</body></html>\n'
    )


def picture(png: bytes | None, text: str) -> str:
    """Return an image element that holds the PNG; nothing without one."""
    if png is None:
        return ''
    return f'<img alt="{escape(text)}" src="data:image/png;base64,{base64.b64encode(png).decode("ascii")}">'


def badge(word: str) -> str:
    """Return a coloured word; the style knows the colours of verdicts and severities."""
    return f'<span class="badge {word}">{word}</span>'


def write_page_files(to: Path, html: str, figures: str) -> None:
    """Write a page, and its figures as JSON beside it, each whole or not at all.

    Raises:
        PageError: they cannot be written.
    """
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        for file, text in ((to.with_suffix('.json'), figures), (to, html)):
            with replaced(file) as partial:
                partial.write_text(text, encoding='utf-8')
    except OSError as error:
        found = f'{to.parent}: the report cannot be written: {error.strerror or error}'
        raise PageError(f'{found}; give another directory (--to)') from error

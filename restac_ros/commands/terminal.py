"""What commands print: lines as they are, words in colour, counts, a bar of episodes."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_COLOURS = {
    'good': 'green',
    'ok': 'green',
    'usable': 'yellow',
    'warning': 'yellow',
    'bad': 'red',
    'error': 'bold red',
    'note': 'dim',
}


def print_line(text: str, console: Console | None = None) -> None:
    """Print text as it is, on one line however long."""
    (console or Console()).print(escape(text), soft_wrap=True, highlight=False)


def print_error(text: str) -> None:
    """Print text as it is to standard error."""
    print_line(text, Console(stderr=True))


def coloured(word: str) -> str:
    """Return a verdict or a severity as rich prints it."""
    return f'[{_COLOURS[word]}]{word}[/]' if word in _COLOURS else escape(word)


def counted(count: int, noun: str) -> str:
    """Return '1 episode', '2 episodes'."""
    return f'{count} {noun}{"s" * (count != 1)}'


@contextmanager
def counting(verb: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar of episodes; yields f(done, total) that moves it."""
    columns = (TextColumn(verb), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, transient=True) as bars:
        task = bars.add_task('', total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


def show_count(what: str, done: int, count: int) -> None:
    """Overwrite the line on standard error with how far something is; nothing where that is no terminal."""
    if sys.stderr.isatty():
        print(f'\r{what}: {done} of {count}\x1b[K', end='', file=sys.stderr, flush=True)


def end_count() -> None:
    """Remove the line of `show_count`."""
    if sys.stderr.isatty():
        print('\r\x1b[K', end='', file=sys.stderr, flush=True)

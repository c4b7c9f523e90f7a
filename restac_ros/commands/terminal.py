"""What commands print: lines as they are, words in colour, counts, a bar of episodes."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

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
    with _bar(Console(), verb) as move:
        yield lambda done, total: move(verb, done, total)


def counting_parts() -> AbstractContextManager[Callable[[str, int, int], None]]:
    """Show a bar of each part of the work on standard error; yields f(part, done, total) that moves it."""
    return _bar(Console(stderr=True), '')


@contextmanager
def _bar(console: Console, verb: str) -> Iterator[Callable[[str, int, int], None]]:
    columns = (
        TextColumn('{task.description}', markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task(verb, total=None)
        yield lambda what, done, total: bars.update(task, description=what, completed=done, total=total)

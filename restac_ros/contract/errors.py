"""Errors of a contract: place, value found, value expected."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import NamedTuple


class Problem(NamedTuple):
    """One fault in a contract.

    `path` is dotted (`streams.main.rate_hz`; empty for the whole file), `line` counts from 1 and is
    None where the fault has no place of its own in the text.
    """

    path: str
    message: str
    line: int | None = None

    def __str__(self) -> str:
        place = f'line {self.line}: ' if self.line else ''
        return f'{place}{self.path}: {self.message}' if self.path else f'{place}{self.message}'


class ContractError(ValueError):
    """A contract is refused. `problems` holds every fault found, `source` the file's name."""

    def __init__(self, problems: Sequence[Problem], source: str = '') -> None:
        self.problems = list(problems)
        self.source = source
        super().__init__(self._text())

    def _text(self) -> str:
        prefix = f'{self.source}: ' if self.source else ''
        if len(self.problems) == 1:
            return f'{prefix}{self.problems[0]}'
        lines = [f'{prefix}{len(self.problems)} problems'] + [f'  {problem}' for problem in self.problems]
        return '\n'.join(lines)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the nearest of `known` to `name`, and the list of them, as the end of an error message."""
    known = list(known)
    close = get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f'did you mean {close[0]!r}? ' if close else ''
    return f'{hint}known: {", ".join(known) or "none"}'

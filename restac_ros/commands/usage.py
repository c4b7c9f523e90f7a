"""Refuses words of the command line that name no command: tyro would list what all of them accept."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, get_args

from restac_ros.contract.errors import did_you_mean


class UsageError(ValueError):
    """A word that names nothing; the text names the nearest that does."""


def names_in(union: Any) -> list[str]:
    """Return the names of subcommands, each a type annotated with `tyro.conf.subcommand(NAME)`."""
    return [choice.__metadata__[0].name for choice in get_args(union)]


def check_words(words: Sequence[str], choices: Mapping[tuple[str, ...], Collection[str]]) -> None:
    """Refuse the first word that is none of the choices after those before it; options end the check.

    Raises:
        UsageError: it is none of them.
    """
    for place, word in enumerate(words):
        known = choices.get(tuple(words[:place]))
        if known is None or word.startswith('-'):
            return
        if word not in known:
            after = ''.join(f'{before} ' for before in words[:place])
            raise UsageError(f'{after}{word}: no such command; {did_you_mean(word, known)}')

"""Files that are written whole or not at all, and small files of others, read up to a bound."""

import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from restac_ros.git_lfs import what_it_is


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Yield where to write a file that takes the place of `path` when the block ends well, else vanishes.

    It lies in the same directory under a name that no other writer has, on this machine or another.
    """
    partial = path.with_name(f'.{path.name}.{secrets.token_hex(8)}.partial')
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read_bounded(
    path: Path,
    most_bytes: int,
    error_type: Callable[[str], Exception],
    *,
    what: str = 'file',
    remedy: str = '',
) -> bytes:
    """Read a file that is expected to be small.

    Args:
        path: of the file.
        most_bytes: that it may have.
        error_type: makes the error of a message.
        what: it is, for messages.
        remedy: what to do where it is refused.

    Raises:
        OSError: it cannot be read.
        error_type: there is no such file, or it is larger.
    """
    remedy = remedy and f'; {remedy}'
    if not path.is_file():
        fault = 'found a directory, expected a' if path.is_dir() else 'no such'
        raise error_type(f'{path}: {fault} {what}{remedy}')
    with path.open('rb') as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        found = max(path.stat().st_size, len(content))  # some of the kernel's files say 0
        raise error_type(f'{path}: found {found} bytes, expected at most {most_bytes}{remedy}')
    return content


def read_bounded_json(
    path: Path, most_bytes: int, error_type: Callable[[str], Exception], *, remedy: str = ''
) -> dict[str, Any]:
    """Read a JSON object; arguments as of `read_bounded`.

    Raises:
        OSError: it cannot be read.
        error_type: there is no such file, it is larger, or no JSON object.
    """
    content = read_bounded(path, most_bytes, error_type, remedy=remedy)
    remedy = remedy and f'; {remedy}'
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise error_type(f'{path}: not readable JSON: {error} ({what_it_is(path)}){remedy}') from error
    if not isinstance(value, dict):
        raise error_type(f'{path}: found a JSON {type(value).__name__}, expected an object{remedy}')
    return value

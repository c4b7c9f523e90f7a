"""Paths as users type them."""

import datetime
from pathlib import Path


def absolute(path: Path | None) -> Path | None:
    """`~` and the working directory resolved: processes elsewhere must find it too."""
    return None if path is None else path.expanduser().absolute()


def new_run_directory() -> Path:
    """Where the processes of a run leave their summaries, unless told otherwise."""
    return Path('runs') / datetime.datetime.now().strftime('%Y-%m-%dT%H-%M-%S')

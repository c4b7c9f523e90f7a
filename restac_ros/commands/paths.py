"""Paths as users type them."""

import datetime
import os
from pathlib import Path
from typing import overload


@overload
def absolute(path: Path) -> Path: ...
@overload
def absolute(path: None) -> None: ...
@overload
def absolute(path: Path | None) -> Path | None: ...
def absolute(path: Path | None) -> Path | None:
    """Resolve `~`, the working directory and symbolic links: processes elsewhere must find the path, too."""
    return None if path is None else Path(os.path.realpath(path.expanduser()))


def new_run_directory() -> Path:
    """Return the default directory for the summaries of a run."""
    return Path('runs') / datetime.datetime.now().strftime('%Y-%m-%dT%H-%M-%S')

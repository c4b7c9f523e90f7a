"""Paths as users type them."""

from pathlib import Path


def absolute(path: Path | None) -> Path | None:
    """`~` and the working directory resolved: processes elsewhere must find it too."""
    return None if path is None else path.expanduser().absolute()

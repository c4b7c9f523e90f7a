"""Finds what is installed of this package: its prefix and its configuration files."""

import os
from pathlib import Path

PACKAGE = 'restac_ros'


class GraphError(ValueError):
    """A run cannot be started as described; the message names the remedy."""


def find_package(name: str) -> Path | None:
    """Return the install prefix of a ROS package, by AMENT_PREFIX_PATH; None where it is not installed."""
    for prefix in os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep):
        if prefix and (Path(prefix) / 'share' / name / 'package.xml').is_file():
            return Path(prefix)
    return None


def package_prefix() -> Path:
    """Return the install prefix of this package.

    Raises:
        GraphError: the package is not installed in this environment.
    """
    if (prefix := find_package(PACKAGE)) is not None:
        return prefix
    raise GraphError(
        f'{PACKAGE} is not installed in this environment (AMENT_PREFIX_PATH names no prefix that holds it): '
        'run `make build`, then `. scripts/env.sh`; on a ROS 2 machine `. install/setup.bash`'
    )


def config_file(name: str) -> Path:
    """Return the path of an installed configuration file."""
    return package_prefix() / 'share' / PACKAGE / 'config' / name

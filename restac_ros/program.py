"""Starts a node from an installed program; reports what this machine lacks in a line with the remedy."""

import importlib
import os
import sys
from pathlib import Path

from restac_ros.stopping import end_at_once

MAX_DOMAIN = 232  # beyond it, DDS has no ports
ROS_PACKAGES = ('rclpy', 'rcl_interfaces', 'rosidl_runtime_py', 'restac_ros.msg')


class EnvironmentRefused(RuntimeError):  # noqa: N818  a refusal of the user's variables
    """ROS cannot start with these environment variables; the text names one, and the remedy."""


def check_environment() -> None:
    """Refuse variables with which rcl would end the process, with a code of its own or deep inside DDS.

    Raises:
        EnvironmentRefused: the middleware is not installed, or the domain does not exist.
    """
    domain = os.environ.get('ROS_DOMAIN_ID', '')
    if domain and not (domain.strip().isdecimal() and int(domain) <= MAX_DOMAIN):
        raise EnvironmentRefused(
            f'ROS_DOMAIN_ID is {domain!r}; expected a whole number from 0 to {MAX_DOMAIN}: export another, '
            'or `unset ROS_DOMAIN_ID`'
        )
    middleware = os.environ.get('RMW_IMPLEMENTATION', '')
    installed = _middlewares()
    if middleware and installed and middleware not in installed:
        raise EnvironmentRefused(
            f'RMW_IMPLEMENTATION is {middleware!r}, which is not installed here; installed: '
            f'{", ".join(installed)}: `unset RMW_IMPLEMENTATION`'
        )


def run(module: str) -> None:
    """Import a module of nodes and run its `main`."""
    end_at_once(130 if module == 'restac_ros.cli' else 0)  # imports take seconds
    try:
        check_environment()
        main = importlib.import_module(module).main
    except EnvironmentRefused as error:
        sys.exit(f'{module}: {error}')
    except ModuleNotFoundError as error:
        sys.exit(_missing(module, error.name or str(error)))
    main()


def _middlewares() -> list[str]:
    """Return the installed RMW implementations, by the index that ROS packages register in."""
    found = {
        entry.name
        for prefix in os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep)
        if prefix
        for entry in Path(prefix, 'share/ament_index/resource_index/rmw_typesupport').glob('rmw_*')
    }
    return sorted(found - {'rmw_implementation'})


def _missing(module: str, name: str) -> str:
    found = f'{module} needs the Python package {name!r}, which {sys.executable} does not have'
    if name.startswith(ROS_PACKAGES):
        return (
            f'{found}: source ROS 2 and this workspace first (`. scripts/env.sh` or `. install/setup.bash`)'
        )
    return f'{found}: `make setup` installs all of them into .venv; then `. scripts/env.sh` in this shell'

"""A ROS domain of one's own, separate from drivers and tests on this machine."""

import socket
from functools import cache

from restac_ros.installation import GraphError

DOMAINS = range(20, 101)  # above 101, the ports of a domain are those that Linux gives to any program
FIRST_LOCK_PORT = 21_000

_locks: list[socket.socket] = []


@cache
def own_domain() -> int:
    """Return the ROS domain of this process: see `lock_domain`."""
    return lock_domain()


def lock_domain() -> int:
    """Return another ROS domain at every call, reserved for this process until it ends.

    A bound port is the lock: the system frees it however the process ends.

    Raises:
        GraphError: every domain is in use.
    """
    for domain in DOMAINS:
        lock = socket.socket()
        try:
            lock.bind(('127.0.0.1', FIRST_LOCK_PORT + domain))
        except OSError:
            lock.close()
            continue
        _locks.append(lock)
        return domain
    raise GraphError(
        f'every ROS domain from {DOMAINS[0]} to {DOMAINS[-1]} is taken by a test or benchmark that runs on '
        'this machine: wait for one to end'
    )

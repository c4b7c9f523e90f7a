"""Free ports for a server of the page."""

import socket

import pytest

from restac_ros.view.rerun.viewer import LOCALHOST, ViewerPlace


@pytest.fixture
def place() -> ViewerPlace:
    with socket.socket() as first, socket.socket() as second:
        ports = []
        for probe in (first, second):
            probe.bind((LOCALHOST, 0))
            ports.append(probe.getsockname()[1])
    return ViewerPlace(LOCALHOST, *ports)

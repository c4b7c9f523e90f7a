"""What the thread of the set-points needs is loaded before it starts."""

from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest

pytest.importorskip('rclpy')
pytest.importorskip('restac_ros.msg', reason='the messages are not built: `make build`')

from restac_ros.contract.load import load_contract
from restac_ros.framing.decode import load_types
from restac_ros.nodes.streamer.robot_inputs import RobotInputs


def test_the_first_measured_pose_finds_the_message_types_loaded(repository: Path) -> None:
    """Loading takes 60 ms, six periods of the set-points; it fell into the first tick that measured."""
    load_types.cache_clear()
    parameters = SimpleNamespace(robot_mode_field='', robot_state_topic='', deadman_topic='')
    contract = load_contract(repository / 'config' / 'contract.yaml')
    inputs = RobotInputs(MagicMock(), contract, parameters, MagicMock(topic_name='/target_pose'), lambda: 0)
    assert load_types.cache_info().currsize == 1
    assert inputs.measured(0) is None

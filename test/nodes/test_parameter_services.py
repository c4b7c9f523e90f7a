"""Parameters of a running node, by the services that `ros2 param` calls, and by files for several nodes."""

from pathlib import Path

import pytest

pytest.importorskip('rclpy')
pytest.importorskip('restac_ros.msg', reason='the messages are not built: `make build`')

from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.msg import ParameterType
from rcl_interfaces.srv import DescribeParameters, GetParameters, ListParameters, SetParameters
from rclpy.parameter import Parameter

NODE = '/streamer_node'


@pytest.fixture
def set_parameter(robot):
    """Set one parameter of the streamer: whether that was accepted, and why not."""

    def call(name: str, value: object) -> tuple[bool, str]:
        request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
        [result] = robot.call(f'{NODE}/set_parameters', SetParameters, request).results
        return result.successful, result.reason

    return call


def test_describe_shows_what_the_model_knows(start_node, robot) -> None:
    start_node('streamer_node', autostart=False)
    names = ['step_m', 'ensemble_size', 'continuity', 'autostart', 'chunk_topic']
    answer = robot.call(
        f'{NODE}/describe_parameters', DescribeParameters, DescribeParameters.Request(names=names)
    )
    step, size, continuity, autostart, topic = answer.descriptors
    [bounds] = step.floating_point_range
    assert (step.type, bounds.from_value, bounds.to_value) == (ParameterType.PARAMETER_DOUBLE, 0.0, 0.1)
    assert 'greater than 0' in step.additional_constraints
    assert 'deactivate and clean up' in step.additional_constraints
    [counts] = size.integer_range
    assert (size.type, counts.from_value, counts.to_value) == (ParameterType.PARAMETER_INTEGER, 1, 64)
    assert 'one of: receding_horizon, temporal_ensembling' in continuity.additional_constraints
    assert autostart.read_only
    assert not continuity.read_only
    assert 'not empty' in topic.additional_constraints


def test_an_unconfigured_node_accepts_only_what_it_could_be_configured_with(
    start_node, robot, set_parameter
) -> None:
    start_node('streamer_node', autostart=False)
    accepted, reason = set_parameter('continuity', 'nonsense')
    assert not accepted
    assert "'continuity' is 'nonsense'" in reason
    assert not set_parameter('step_m', -1.0)[0]
    assert not set_parameter('step_m', 0.0)[0]
    assert not set_parameter('step_m', 'far')[0]
    assert set_parameter('step_m', 0.02) == (True, '')
    assert set_parameter('rate_hz', 50) == (True, ''), 'a whole number is a real one'


def test_a_configured_node_reads_its_own_dump(start_node, robot, set_parameter, wait_until) -> None:
    start_node('streamer_node').wait_for('to a hold within')
    names = robot.call(f'{NODE}/list_parameters', ListParameters).result.names
    values = robot.call(f'{NODE}/get_parameters', GetParameters, GetParameters.Request(names=names)).values
    request = SetParameters.Request(
        parameters=[
            ParameterMessage(name=name, value=value) for name, value in zip(names, values, strict=True)
        ]
    )
    assert {'autostart', 'use_sim_time', 'start_type_description_service', 'step_m'} <= set(names)
    results = robot.call(f'{NODE}/set_parameters', SetParameters, request).results
    assert [(name, r.reason) for name, r in zip(names, results, strict=True) if not r.successful] == []
    accepted, reason = set_parameter('step_m', 0.02)
    assert not accepted
    assert 'deactivate and clean up first' in reason


def test_a_section_for_all_nodes_may_hold_what_only_others_know(start_node, tmp_path: Path) -> None:
    file = tmp_path / 'all.yaml'
    file.write_text('/**: {ros__parameters: {replan_hz: 5.0, step_m: 0.02}}\n')
    streamer = start_node('streamer_node', '--params-file', str(file))
    streamer.wait_for('to a hold within')
    assert streamer.end() == 0, streamer.log


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('/**: {ros__parameters: {stepm: 0.02}}', "unknown parameter 'stepm'; did you mean 'step_m'"),
        ('streamer_node: {ros__parameters: {replan_hz: 5.0}}', "unknown parameter 'replan_hz'"),
        ('streamer_node: {ros__parameters: {step_m: far}}', "parameter 'step_m' is 'far'"),
    ],
)
def test_a_parameter_that_no_node_could_mean_is_refused(
    start_node, tmp_path: Path, text: str, words: str
) -> None:
    file = tmp_path / 'wrong.yaml'
    file.write_text(text)
    streamer = start_node('streamer_node', '--params-file', str(file), exit_on_refusal=True)
    assert streamer.wait() == 1
    assert words in streamer.log

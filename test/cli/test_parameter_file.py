"""Parameter files: one serves all nodes, and nothing in it is lost by a slip."""

from pathlib import Path

import pytest

from restac_ros.parameter_file import (
    ParameterFileError,
    Section,
    check_parameter_file,
    known_parameters,
    read_sections,
)
from restac_ros.runtime.streamer_parameters import StreamerParameters

KNOWN = {
    'policy_node': frozenset({'contract', 'checkpoint', 'replan_hz'}),
    'streamer_node': frozenset({'contract', 'step_m'}),
}
NODES = ['/policy_node', '/streamer_node']


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / 'params.yaml'
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ('pattern', 'name', 'reached'),
    [
        ('/policy_node', '/policy_node', True),
        ('/policy_node', '/left/policy_node', False),
        ('/**/policy_node', '/policy_node', True),
        ('/**/policy_node', '/cell/left/policy_node', True),
        ('/*/policy_node', '/policy_node', False),
        ('/*/policy_node', '/left/policy_node', True),
        ('/**', '/left/policy_node', True),
        ('/left/**', '/left/policy_node', True),
        ('/left/**', '/right/policy_node', False),
    ],
)
def test_a_section_reaches_the_nodes_that_rcl_gives_it_to(pattern: str, name: str, reached: bool) -> None:
    assert Section(pattern, {}).reaches(name) is reached


def test_sections_may_be_nested_and_names_dotted(tmp_path: Path) -> None:
    text = 'left:\n  policy_node:\n    ros__parameters: {a: {b: 1}}\npolicy_node: {ros__parameters: {c: 2}}\n'
    assert read_sections(write(tmp_path, text)) == [
        Section('/left/policy_node', {'a.b': 1}),
        Section('/policy_node', {'c': 2}),
    ]


@pytest.mark.parametrize(
    'text',
    [
        '/**/policy_node: {ros__parameters: {replan_hz: 5.0}}',
        'policy_node: {ros__parameters: {replan_hz: 5.0, use_sim_time: true}}',
        '/**: {ros__parameters: {replan_hz: 5.0, step_m: 0.01, contract: c}}',
        # a dump of `ros2 param dump`, and other people's nodes in one file with ours
        '/policy_node: {ros__parameters: {qos_overrides: {/clock: {subscription: {depth: 1}}}}}',
        'camera: {ros__parameters: {exposure: 5}}',
        '/left/policy_node: {ros__parameters: {replan_hz: 5.0}}\n/**/policy_node: {ros__parameters: {}}',
    ],
)
def test_one_file_for_all_nodes_is_accepted(tmp_path: Path, text: str) -> None:
    check_parameter_file(write(tmp_path, text), NODES, KNOWN)


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('policy_node: {ros__parameters: {replan_hx: 5.0}}', "'replan_hx'; did you mean 'replan_hz'"),
        ('/**: {ros__parameters: {stepm: 5.0}}', "'stepm'; did you mean 'step_m'"),
        ('polcy_node: {ros__parameters: {replan_hz: 5.0}}', "did you mean 'policy_node'"),
        (
            'streamer_node: {ros__parameters: {replan_hz: 5.0}}',
            "streamer_node has no parameter 'replan_hz', but policy_node has",
        ),
        (
            '/left/policy_node: {ros__parameters: {replan_hz: 5.0}}',
            r"'/left/policy_node' does not reach /policy_node; write /\*\*/policy_node",
        ),
        ('replan_hz: 5.0', 'has no ros__parameters; expected'),
        ('[', 'is not valid YAML'),
        ('', 'has no ros__parameters'),
    ],
)
def test_what_would_be_lost_without_a_word_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ParameterFileError, match=words):
        check_parameter_file(write(tmp_path, text), NODES, KNOWN)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterFileError, match='no such parameter file'):
        check_parameter_file(tmp_path / 'none.yaml', NODES, KNOWN)


def test_the_defaults_of_all_nodes_are_one_accepted_file(repository: Path, tmp_path: Path) -> None:
    """All files of config/ put together: node names are keys, so that none disturbs another."""
    known = known_parameters(repository / 'config')
    assert 'checkpoint' in known['policy_node']
    together = ''.join(
        path.read_text()
        for path in sorted((repository / 'config').glob('*.yaml'))
        if 'ros__parameters' in path.read_text()
    )
    check_parameter_file(write(tmp_path, together), [f'/left/{name}' for name in known], known)


def test_the_file_for_a_franka_is_accepted_and_lets_the_gripper_move(repository: Path) -> None:
    known = known_parameters(repository / 'config')
    path = repository / 'config' / 'robots' / 'franka.yaml'
    check_parameter_file(path, [f'/left/{name}' for name in known], known)
    (section,) = read_sections(path)
    (defaults,) = read_sections(repository / 'config' / 'streamer.yaml')
    merged = StreamerParameters.model_validate(dict(defaults.values) | dict(section.values))
    assert merged.gripper_type == 'franka_msgs/action/Move'
    assert merged.gripper_grasp_name
    assert merged.robot_state_topic

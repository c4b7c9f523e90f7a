"""Parameters: strict, told in full, with their defaults in one place."""

from pathlib import Path

import pytest

pytest.importorskip('rclpy')
pytest.importorskip('restac_ros.msg', reason='the messages are not built: `make build`')

from rclpy.parameter import Parameter, parameter_dict_from_yaml_file

from restac_ros.nodes.policy.policy_node import PolicyParameters
from restac_ros.nodes.recorder.recorder_parameters import RecorderParameters
from restac_ros.nodes.source.replay_node import ReplayParameters
from restac_ros.nodes.source.synthetic_node import SyntheticParameters
from restac_ros.runtime.node_parameters import NodeParameters, ParameterError

MODELS = {
    'policy': PolicyParameters,
    'recorder': RecorderParameters,
    'replay': ReplayParameters,
    'synthetic': SyntheticParameters,
}


def defaults(repository: Path, node: str) -> dict[str, object]:
    messages = parameter_dict_from_yaml_file(str(repository / 'config' / f'{node}.yaml'), use_wildcard=True)
    return {name: Parameter.from_parameter_msg(message).value for name, message in messages.items()}


@pytest.mark.parametrize('node', MODELS)
def test_the_file_of_defaults_names_every_parameter_and_no_other(repository: Path, node: str) -> None:
    values = defaults(repository, node)
    assert set(values) == set(MODELS[node].model_fields)
    if node != 'policy':
        MODELS[node].from_values(values)


def test_a_policy_without_prompt_is_the_only_default_refused(repository: Path) -> None:
    with pytest.raises(ParameterError) as refused:
        PolicyParameters.from_values(defaults(repository, 'policy'))
    assert str(refused.value).startswith("parameter 'prompt' is ''")
    assert ';' not in str(refused.value)


@pytest.mark.parametrize('model', MODELS.values())
def test_every_parameter_is_described(model: type[NodeParameters]) -> None:
    assert all(field.description for field in model.model_fields.values())


def test_every_fault_is_told_at_once(repository: Path) -> None:
    values = defaults(repository, 'replay')
    values |= {'rate': 'fast', 'stamps': 'shifted', 'lopp': True}
    del values['loop']
    with pytest.raises(ParameterError) as refused:
        ReplayParameters.from_values(values)
    text = str(refused.value)
    assert "unknown parameter 'lopp'; did you mean 'loop'?" in text
    assert "parameter 'loop' is not given" in text
    assert "parameter 'rate' is 'fast'" in text
    assert "parameter 'stamps' is 'shifted'" in text


@pytest.mark.parametrize(
    ('value', 'expected'), [('', None), ('a/b', Path('a/b')), ('~/x', Path('~/x').expanduser())]
)
def test_an_empty_path_stands_for_none(repository: Path, value: str, expected: Path | None) -> None:
    values = defaults(repository, 'replay') | {'bag': value}
    assert ReplayParameters.from_values(values).bag == expected


def test_whole_numbers_are_taken_for_real_ones_but_texts_are_not(repository: Path) -> None:
    values = defaults(repository, 'replay')
    assert ReplayParameters.from_values(values | {'rate': 2}).rate == 2.0
    with pytest.raises(ParameterError, match="parameter 'rate' is '2'"):
        ReplayParameters.from_values(values | {'rate': '2'})


@pytest.mark.parametrize(
    ('given', 'words'),
    [
        ({'triggers': ['/pedal togle']}, r"'triggers' is .*unknown action 'togle'; did you mean 'toggle'"),
        ({'triggers': '/pedal toggle'}, "'triggers' is '/pedal toggle': .*expected a list of texts"),
        ({'triggers': [1]}, r"'triggers' is \[1\]: .*expected a list of texts"),
        ({'compression': 'gzip'}, "'compression' is 'gzip': .*'none', 'lz4' or 'zstd'"),
        ({'min_free_memory_gb': -1.0}, "'min_free_memory_gb' is -1.0: .*greater than or equal to 0"),
    ],
)
def test_a_recorder_is_told_what_it_cannot_be(repository: Path, given: dict, words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        RecorderParameters.from_values(defaults(repository, 'recorder') | given)

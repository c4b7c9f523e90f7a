"""The policy node's parameters: what the loops are told, and what contradicts itself."""

from pathlib import Path

import pytest
import yaml

pytest.importorskip('rclpy')

from restac_ros.model.text_decoding import GREEDY, TokenChoice
from restac_ros.runtime.node_parameters import ParameterError
from restac_ros.runtime.policy_parameters import PolicyParameters
from restac_ros.runtime.surprise import SurpriseRule


def parameters(repository: Path, **changes: object) -> PolicyParameters:
    """The defaults, with some changed."""
    text = (repository / 'config' / 'policy.yaml').read_text()
    return PolicyParameters.from_values(
        yaml.safe_load(text)['/**/policy_node']['ros__parameters'] | {'prompt': 'push'} | changes
    )


def test_the_loops_are_told_in_their_own_units(repository: Path) -> None:
    settings = parameters(
        repository,
        replan_hz=20.0,
        chunk_validity_ms=250.0,
        replan_gate_threshold=0.7,
        replan_gate_release=0.5,
        replan_gate_interval_ms=40.0,
        max_state_age_ms=50.0,
        max_prefix_age_ms=1500.0,
        max_touch_age_ms=120.0,
    ).settings()
    assert (settings.replan_period_ns, settings.chunk_validity_ns) == (50_000_000, 250_000_000)
    assert settings.surprise == SurpriseRule(0.7, 0.5, 40_000_000)
    assert (settings.max_state_age_ns, settings.max_prefix_age_ns) == (50_000_000, 1_500_000_000)
    assert settings.max_touch_age_ns == 120_000_000


def test_a_planner_takes_the_likeliest_tokens_or_draws_them(repository: Path) -> None:
    assert parameters(repository).token_choice() == GREEDY
    drawn = parameters(repository, planner_temperature=0.7, planner_top_k=20).token_choice()
    assert drawn == TokenChoice(temperature=0.7, top_k=20)
    assert parameters(repository, planner_temperature=0.7).token_choice().top_k is None
    with pytest.raises(ParameterError, match=r"'planner_top_k' is 20 with a 'planner_temperature' of 0"):
        parameters(repository, planner_top_k=20).token_choice()
    with pytest.raises(ParameterError, match='planner_temperature'):
        parameters(repository, planner_temperature=-1.0)


def test_a_release_level_above_the_threshold_is_refused(repository: Path) -> None:
    contradictory = parameters(repository, replan_gate_threshold=0.5, replan_gate_release=0.6)
    with pytest.raises(ParameterError, match=r"'replan_gate_release' is 0.6, above .* 0.5"):
        contradictory.settings()


@pytest.mark.parametrize('name', ['replan_gate_threshold', 'replan_gate_release'])
def test_levels_that_no_gate_can_have_are_refused(repository: Path, name: str) -> None:
    with pytest.raises(ParameterError, match=name):
        parameters(repository, **{name: 1.5})


@pytest.mark.parametrize('prompt', ['', ' ', '_', '\n'])
def test_a_prompt_without_words_is_refused(repository: Path, prompt: str) -> None:
    with pytest.raises(ParameterError, match=r"parameter 'prompt' is .*expected a task such as"):
        parameters(repository, prompt=prompt)


@pytest.mark.parametrize('name', ['max_state_age_ms', 'max_prefix_age_ms', 'max_touch_age_ms'])
def test_an_age_without_a_bound_is_refused(repository: Path, name: str) -> None:
    with pytest.raises(ParameterError, match=name):
        parameters(repository, **{name: 0.0})

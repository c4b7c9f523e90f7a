"""The prompts to the letter, and both rules that make whole numbers of a state."""

import numpy as np
import pytest

from restac_ros.model.checkpoint.provenance import Subtasks
from restac_ros.policy.errors import PolicyError
from restac_ros.policy.prompts import (
    PromptError,
    discretize,
    discretize_by_guide,
    joint_prompt,
    state_prompt,
    state_text,
    subtask_prompt,
    taught_bins,
)

STATE = np.array([-2.0, -1.0, 0.0, 1.0])


def test_state_bins_are_openpis() -> None:
    """Bin edges are half open: a value on an edge belongs to the bin above."""
    width = 1 / 128
    states = [-1.5, -1.0, -1 + width - 1e-9, -1 + width, 0.0, 1 - width - 1e-9, 1 - width, 1.0, 7.0]
    assert discretize(np.array(states)).tolist() == [-1, 0, 0, 1, 128, 254, 255, 255, 255]


def test_bins_equal_a_loop_over_the_edges() -> None:
    edges = [-1 + i / 128 for i in range(256)]
    for x in np.random.default_rng(0).uniform(-1.2, 1.2, 200):
        assert discretize(np.array([x]))[0] == sum(x >= edge for edge in edges) - 1


def test_the_guides_bins_clamp_below_and_round_in_the_states_own_precision() -> None:
    width = 1 / 128
    states = [-1.5, -1.0, -1 + width, -1e-9, 0.0, 1 - width, 1.0, 7.0]
    assert discretize_by_guide(np.array(states)).tolist() == [0, 0, 1, 127, 128, 255, 255, 255]
    below_zero = np.array([-1e-9], np.float32)
    assert (discretize_by_guide(below_zero).item(), discretize(below_zero).item()) == (128, 127)


def test_both_rules_agree_within_the_range() -> None:
    inside = np.random.default_rng(1).uniform(-1, 1, 1000)
    np.testing.assert_array_equal(discretize(inside), discretize_by_guide(inside))


def test_the_prompts_are_exact_to_the_letter() -> None:
    task, subtask = '  Tidy_the\nTable ', ' pick_up the Cup'
    assert state_prompt(subtask, STATE) == 'Task: pick up the Cup, State: -1 0 128 255;\nAction: '
    assert subtask_prompt(task, STATE) == 'Task: Tidy the Table, State: -1 0 128 255;\nSubtask: '
    assert joint_prompt(task, subtask, STATE, 'guide') == (
        'Task: Tidy the Table, State: 0 0 128 255;\nSubtask: pick up the Cup;\nAction: '
    )


def test_the_rule_is_the_one_that_the_network_was_taught() -> None:
    assert taught_bins(None) == 'openpi'
    assert taught_bins(Subtasks(says=True, acts=True, state_bins='guide')) == 'guide'
    with pytest.raises(PolicyError, match="state_bins: found 'thirds' in the checkpoint, expected one of"):
        taught_bins(Subtasks(says=True, acts=True, state_bins='thirds'))


@pytest.mark.parametrize('empty', ['', ' ', '_', '\n'])
def test_an_empty_task_or_subtask_is_refused(empty: str) -> None:
    with pytest.raises(PromptError, match='task: found an empty text'):
        subtask_prompt(empty, STATE)
    with pytest.raises(PromptError, match='subtask: found an empty text'):
        joint_prompt('tidy', empty, STATE)


@pytest.mark.parametrize('bins', ['openpi', 'guide'])
def test_a_state_that_cannot_be_put_in_words_is_refused(bins: str) -> None:
    with pytest.raises(PromptError, match=r'state: found shape \(33,\), expected a vector of 1 to 32'):
        state_text(np.zeros(33), bins)  # type: ignore[arg-type]
    with pytest.raises(PromptError, match=r'state: found shape \(1, 7\)'):
        state_text(np.zeros((1, 7)), bins)  # type: ignore[arg-type]
    with pytest.raises(PromptError, match=r'state\[2\]: found nan, expected a finite number'):
        state_text(np.array([0, 1, np.nan]), bins)  # type: ignore[arg-type]

"""What is evaluated of networks that were taught subtasks, and of those that say actions as tokens."""

import numpy as np
import pytest

from restac_ros.training.evaluation.action_error import Demonstrated
from restac_ros.training.evaluation.bootstrap import EpisodeBootstrap
from restac_ros.training.evaluation.words import SaidFrames, said_action_figures, subtask_figures

FRAMES, STEPS = 4, 3


@pytest.fixture
def demonstrated() -> Demonstrated:
    """Two frames of two episodes each; nothing moves, so that errors are the chunks' own numbers."""
    return Demonstrated(np.zeros((FRAMES, STEPS, 7)), np.ones((FRAMES, STEPS), bool), np.ones(7), STEPS)


@pytest.fixture
def bootstrap() -> EpisodeBootstrap:
    return EpisodeBootstrap(np.array([0, 0, 1, 1]), draws=20)


def chunks(*values: float) -> np.ndarray:
    return np.repeat(np.array(values)[:, None, None], STEPS, axis=1).repeat(7, axis=2)


def test_subtasks_are_counted_with_their_ends_and_errors_paired(
    demonstrated: Demonstrated, bootstrap: EpisodeBootstrap
) -> None:
    """The third frame was cut off: it is wrong, and no chunk follows from it."""
    said = SaidFrames(
        right=np.array([True, False, False, True]),
        ended=np.array([True, True, False, True]),
        chunks=chunks(0.1, 0.5, np.nan, 0.3),
    )
    weights = np.array([1.0, 1.0, 2.0, 1.0])
    stated = ['reach', 'grasp', 'grasp', 'reach']
    found = subtask_figures(said, stated, demonstrated, chunks(0.1, 0.2, 0.9, 0.3), weights, bootstrap)
    assert found.right.value == pytest.approx(2 / 5)
    assert found.ended.value == pytest.approx(3 / 5)
    assert found.usable == pytest.approx(3 / 5)
    assert found.by_subtask == {'reach': 1.0, 'grasp': 0.0}
    assert found.stated_error.value == pytest.approx(0.2)
    assert found.said_error.value == pytest.approx(0.3)
    assert found.rise.value == pytest.approx(0.5)


def test_tokens_are_compared_with_the_action_expert_where_they_can_be_read(
    demonstrated: Demonstrated, bootstrap: EpisodeBootstrap
) -> None:
    weights, flow = np.ones(FRAMES), chunks(0.1, 0.2, 0.3, 0.4)
    found = said_action_figures(
        'fast', chunks(np.nan, 0.4, 0.5, np.nan), demonstrated, flow, weights, bootstrap
    )
    assert found.readable == 0.5
    assert found.error.value == pytest.approx(0.45)
    assert found.flow_error.value == pytest.approx(0.25)
    none = said_action_figures('bins', chunks(*[np.nan] * 4), demonstrated, flow, weights, bootstrap)
    assert (none.readable, none.error, none.flow_error) == (0.0, None, None)

"""Training by subtasks: what each mode's loss is made of, and exactly which leaves it moves."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import numpy as np
import optax
import pytest

from restac_ros.model.checkpoint.network import abstract_leaves, initial_params, model_paths
from restac_ros.model.joint_pass import TextTarget
from restac_ros.training.batch import Batch, Lesson
from restac_ros.training.config import AugmentationConfig, HierarchyConfig, HierarchyMode, TrainConfig
from restac_ros.training.objective import Objective
from restac_ros.training.step import StepFunction
from restac_ros.training.trainable import part_of_run, split_leaves
from small_network import ROWS, SMALL, small_observation, small_target

MODES: tuple[HierarchyMode, ...] = ('hierarchical', 'planar', 'action_expert')
DIMS = 7


@pytest.fixture(scope='module')
def params() -> dict[str, np.ndarray]:
    """Noise on every leaf: fresh heads and modulations let nothing through."""
    return {
        name: np.asarray(leaf)
        for name, leaf in initial_params(SMALL, abstract_leaves(SMALL), 5, everything=True).items()
    }


@pytest.fixture(scope='module')
def batch() -> Batch:
    """Four samples, of which the last states no subtask and ends early."""
    one = small_observation()
    twice: Any = jax.tree.map(lambda values: np.concatenate([values, values[::-1]]), (one, small_target()))
    observation, target = twice
    rng = np.random.default_rng(6)
    stated = np.array([True, True, True, False])[:, None]
    shape = (2 * ROWS, SMALL.action_horizon, SMALL.action_dim)
    steps = np.ones(shape[:2], bool)
    steps[3, 1:] = False
    return Batch(
        observation=observation,
        actions=rng.normal(size=shape).astype(np.float32),
        step_mask=steps,
        source=np.zeros(2 * ROWS, np.int32),
        place=np.zeros((2 * ROWS, 2), np.int32),
        subtask=Lesson(
            observation.tokenized_prompt[:, ::-1].copy(),
            np.ones_like(observation.tokenized_prompt_mask),
            TextTarget(target.tokens, target.mask & stated),
        ),
    )


def step_of(mode: HierarchyMode, **changes: Any) -> StepFunction:
    graph, paths = model_paths(SMALL)
    return StepFunction(
        graph,
        paths,
        # As AdamW it would shrink what it was given without a gradient: what is frozen must not be.
        optax.adamw(1e-3, weight_decay=0.1),
        AugmentationConfig(enabled=False),
        DIMS,
        objective=Objective.of(HierarchyConfig(mode)),
        **changes,
    )


def as_given(batch: Batch, mode: HierarchyMode) -> Batch:
    """What the loader gives in a mode; pixels are bytes."""
    images = {
        slot: ((image + 1) * 127.5).astype(np.uint8) for slot, image in batch.observation.images.items()
    }
    lesson = None if mode == 'action_expert' else batch.subtask
    return batch._replace(observation=batch.observation._replace(images=images), subtask=lesson)


@pytest.fixture(scope='module')
def stepped(params: dict, batch: Batch) -> Callable[..., tuple]:
    """stepped(mode) -> (leaves after, names given to the optimiser, report, gradient to within a factor)"""
    made: dict[tuple, tuple] = {}

    def run(mode: HierarchyMode, accumulate: int = 1) -> tuple:
        if (mode, accumulate) not in made:
            train = replace(TrainConfig('tiny'), hierarchy=HierarchyConfig(mode))
            split = split_leaves(SMALL, params, part_of_run(train))
            trained = {name: params[name] for name in split.trained}
            frozen = {name: params[name] for name in split.frozen}
            delay = 2 if mode == 'action_expert' else 0
            step = step_of(mode, accumulate=accumulate, max_delay_steps=delay)
            state, report = jax.jit(step.__call__)(step.start(trained), frozen, as_given(batch, mode))
            after, mean_gradient = {**frozen, **state['trained']}, state['optimizer'][0].mu
            made[mode, accumulate] = jax.device_get((after, split.trained, report, mean_gradient))
        return made[mode, accumulate]

    return run


def speaks(name: str) -> bool:
    return name.startswith('PaliGemma/img/') or (
        name.startswith('PaliGemma/llm/') and '_1/' not in name.removeprefix('PaliGemma/llm/')
    )


@pytest.mark.parametrize('mode', MODES)
def test_a_mode_moves_exactly_its_own_leaves(mode: HierarchyMode, params: dict, stepped: Callable) -> None:
    before, (after, trained, *_) = params, stepped(mode)
    moved = {name for name in before if np.any(before[name] != after[name])}
    expected = {
        'hierarchical': set(before),
        'planar': {name for name in before if speaks(name)},
        'action_expert': {name for name in before if not speaks(name)},
    }[mode]
    assert expected
    assert moved == expected
    assert set(trained) == expected


def test_the_loss_is_that_of_texts_and_ten_times_that_of_actions(stepped: Callable) -> None:
    report = stepped('hierarchical')[2]
    np.testing.assert_allclose(report['loss'], report['subtask_loss'] + 10 * report['flow_loss'], rtol=1e-6)
    planar = stepped('planar')[2]
    np.testing.assert_allclose(planar['loss'], planar['subtask_loss'], rtol=1e-6)
    assert 'flow_loss' not in planar
    alone = stepped('action_expert')[2]
    np.testing.assert_allclose(alone['loss'], alone['flow_loss'], rtol=1e-6)
    assert 'subtask_loss' not in alone


def test_steps_that_a_delay_has_decided_are_not_learnt(batch: Batch, stepped: Callable) -> None:
    """Training-time real-time chunking: the loss is a mean over those that are still asked for."""
    asked, delayed = (stepped(mode)[2]['valid'] for mode in ('hierarchical', 'action_expert'))
    assert asked == batch.step_mask.sum()
    assert asked - 2 * len(batch.step_mask) <= delayed < asked


def test_weights_moments_and_average_are_float32_under_bfloat16(batch: Batch) -> None:
    """In bfloat16, small updates would be lost."""
    graph, paths = model_paths(replace(SMALL, dtype='bfloat16'))
    still = AugmentationConfig(enabled=False)
    step = StepFunction(graph, paths, optax.adamw(1e-3), still, DIMS, ema_decay=0.99)
    given = as_given(batch, 'action_expert')
    state = jax.eval_shape(step.start, abstract_leaves(SMALL))
    after, report = jax.eval_shape(step.__call__, state, {}, given)
    floats = [leaf for leaf in jax.tree.leaves((after, report['loss'])) if leaf.dtype.kind not in 'iub']
    assert len(floats) == 4 * len(state['trained']) + 1
    assert {leaf.dtype for leaf in floats} == {np.dtype('float32')}


def test_the_language_expert_learns_as_without_actions(stepped: Callable) -> None:
    """In the hierarchical mode, nothing of the action loss reaches it: it moves as when it trains alone."""
    together, alone = stepped('hierarchical')[0], stepped('planar')[0]
    for name in filter(speaks, alone):
        np.testing.assert_allclose(together[name], alone[name], atol=2e-6, err_msg=name)


def test_parts_of_a_batch_add_up_to_the_whole(stepped: Callable) -> None:
    """Subtasks are counted over the whole batch, not by part: each part holds another number."""
    (_, _, whole, gradient), (_, _, parts, added) = (stepped('planar', count) for count in (1, 2))
    np.testing.assert_allclose(whole['loss'], parts['loss'], rtol=1e-5)
    for name in gradient:
        np.testing.assert_allclose(gradient[name], added[name], atol=1e-6, err_msg=name)


def test_action_tokens_are_learnt_in_the_same_pass(params: dict, batch: Batch) -> None:
    """Flow, subtask and action tokens together (arXiv 2505.23705); the flow loss is as without the tokens."""
    step, given = step_of('hierarchical'), as_given(batch, 'hierarchical')
    codes = TextTarget(given.subtask.target.tokens[:, ::-1].copy(), np.ones((2 * ROWS, 6), bool))

    @jax.jit
    def sums(params: dict, batch: Batch) -> dict:
        return step.loss(params, {}, batch, jax.random.key(0))[1]

    without, beside = sums(params, given), sums(params, given._replace(codes=codes))
    np.testing.assert_allclose(beside['flow_loss'], without['flow_loss'], rtol=1e-5)
    assert beside['codes_samples'] == 2 * ROWS
    assert beside['codes_loss'] > 0

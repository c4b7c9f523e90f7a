"""One training step: the loss is the reference's, padding trains nothing, touch is reached, parts add up."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from golden import read_golden
from restac_ros.model.checkpoint.network import model_paths
from restac_ros.model.observation import pixels_to_float
from restac_ros.training.batch import Batch
from restac_ros.training.config import AugmentationConfig
from restac_ros.training.data.loader import batches
from restac_ros.training.numbers import report_numbers
from restac_ros.training.objective import PLAIN_SUMS, LossWeights, means
from restac_ros.training.prepare import Prepared
from restac_ros.training.step import FlowDraw, StepFunction, action_dims
from restac_ros.training.trainer import deployable
from training_run import equal


@pytest.fixture(scope='module')
def batch(prepared: Prepared) -> Batch:
    train = prepared.train
    return next(batches(prepared.sources, [], train.batch_size, 3, 0, train.loader))


def test_the_loss_is_the_references(golden_dir: Path) -> None:
    """openpi's own loss, sample by sample, at its noise and times, through the training step."""
    file = read_golden(golden_dir / 'openpi_pi05_tiny.npz')
    config, rows = file.config(), len(file['in/state'])
    graph, paths = model_paths(config)
    step = StepFunction(
        graph, paths, optax.sgd(1.0), AugmentationConfig(enabled=False), config.action_dim, sources=rows
    )
    horizon = file['in/actions'].shape[1]
    batch = Batch(
        file.observation(config),
        file['in/actions'],
        np.ones((rows, horizon), bool),
        np.arange(rows),
        np.zeros((rows, 2), np.int32),
    )
    draw = FlowDraw(jnp.asarray(file['in/noise']), jnp.asarray(file['in/time']), None)

    @jax.jit
    def at(leaves: dict, mask: np.ndarray) -> tuple[jax.Array, dict]:
        return step.loss_at(step.model(leaves, {}), batch._replace(step_mask=mask), None, draw)

    expected = file['out/loss']
    total, sums = at(file.parameters(), batch.step_mask)
    np.testing.assert_allclose(sums['source_loss'], expected.sum(axis=1), atol=1e-4 * horizon)
    np.testing.assert_allclose(total, expected.sum(), rtol=1e-5)
    for number in (0, horizon - 1):
        _, one = at(file.parameters(), np.tile(np.arange(horizon) == number, (rows, 1)))
        np.testing.assert_allclose(one['source_loss'], expected[:, number], atol=1e-4)
    few = replace(step, dims=2)  # the others are padding: neither in the loss nor in its mean
    _, own = jax.jit(lambda leaves: few.loss_at(few.model(leaves, {}), batch, None, draw))(file.parameters())
    np.testing.assert_allclose(own['flow_loss_by_dim'], sums['flow_loss_by_dim'][:2], rtol=1e-5)
    np.testing.assert_allclose(own['flow_loss'], own['flow_loss_by_dim'].mean(), rtol=1e-5)


@pytest.fixture(scope='module')
def moved(prepared: Prepared) -> dict[str, np.ndarray]:
    """The trained leaves with noise on them: fresh heads and modulations give nothing back."""
    rng = np.random.default_rng(0)
    return {
        name: leaf + rng.normal(0, 0.02, leaf.shape).astype(leaf.dtype)
        for name, leaf in prepared.trained.items()
    }


@pytest.fixture(scope='module')
def gradient_at(prepared: Prepared) -> Callable:
    """gradient_at(leaves, batch, draw) -> (total, gradients) by leaf, by event code and by target."""
    step = prepared.step

    @jax.jit
    def compute(leaves: dict, frozen: dict, batch: Batch, draw: FlowDraw) -> tuple:
        images = {slot: pixels_to_float(image) for slot, image in batch.observation.images.items()}
        shown = batch._replace(observation=batch.observation._replace(images=images))
        touch = step.model(leaves, frozen).observe_touch(shown.observation)

        def total(leaves: dict, code: jax.Array, actions: jax.Array) -> jax.Array:
            model = step.model(leaves, frozen)
            given = touch._replace(q_event=code)
            return step.loss_at(model, shown._replace(actions=actions), given, draw)[0]

        return jax.value_and_grad(total, argnums=(0, 1, 2))(leaves, touch.q_event, batch.actions)

    return lambda leaves, batch, draw: compute(leaves, prepared.frozen, batch, draw)


@pytest.fixture(scope='module')
def draw(batch: Batch) -> FlowDraw:
    """Time 1: what goes into the network is the noise alone, so that actions enter as targets only."""
    noise = np.random.default_rng(1).normal(size=batch.actions.shape).astype(np.float32)
    return FlowDraw(jnp.asarray(noise), jnp.ones(len(batch.source)), None)


def test_padded_steps_and_dimensions_have_no_gradient(
    batch: Batch, moved: dict, draw: FlowDraw, gradient_at: Callable
) -> None:
    masked = np.array(batch.step_mask)
    masked[:, 9:] = False
    changed = np.array(batch.actions)
    changed[:, 9:], changed[..., 7:] = 1e3, 1e3
    total, (one, _, by_target) = gradient_at(moved, batch._replace(step_mask=masked), draw)
    again, (other, _, _) = gradient_at(moved, batch._replace(step_mask=masked, actions=changed), draw)
    assert float(total) == float(again)
    assert equal(one, other)
    assert (np.asarray(by_target)[~masked] == 0).all()
    assert (np.asarray(by_target)[..., 7:] == 0).all()
    assert (np.asarray(by_target)[..., :7][masked] != 0).all()
    out = np.asarray(one['action_out_proj/kernel'])
    assert np.abs(out[:, :7]).max() > 0
    assert (out[:, 7:] == 0).all(), 'dimensions that the robot does not have are not trained'
    total, (none, _, _) = gradient_at(moved, batch._replace(step_mask=np.zeros_like(masked)), draw)
    assert float(total) == 0.0
    assert all(float(jnp.abs(leaf).max()) == 0.0 for leaf in none.values())


def test_the_gradient_reaches_gate_event_code_and_every_trained_leaf(
    batch: Batch, moved: dict, draw: FlowDraw, gradient_at: Callable
) -> None:
    _, (gradient, by_code, _) = gradient_at(moved, batch, draw)
    still = [name for name, leaf in gradient.items() if not float(jnp.abs(leaf).max()) > 0]
    assert still == ['PaliGemma/llm/final_norm/scale'], 'what only a fusion that reads the prefix uses'
    for name in ('gate/threshold', 'gate/temperature', 'default_tactile_embedding'):
        assert name in gradient
    assert any('tactile' in name and name.endswith('kernel') for name in gradient), 'the projection of touch'
    assert float(jnp.abs(by_code).min(axis=-1).max()) > 0


def test_gradients_are_finite_differences(
    batch: Batch, moved: dict, draw: FlowDraw, gradient_at: Callable
) -> None:
    """Along random directions within one part of the network at a time, float32."""
    rng = np.random.default_rng(2)
    total, (gradient, _, _) = gradient_at(moved, batch, draw)
    parts = (
        'PaliGemma/img',
        'PaliGemma/llm/layers/mlp/',
        'PaliGemma/llm/layers/attn/q_einsum_1',
        'action_in_proj',
    )
    for part in (*parts, 'gate/', 'default_tactile_embedding'):
        names = [name for name in moved if name.startswith(part)]
        assert names, part
        along = {name: rng.normal(size=moved[name].shape).astype(np.float32) for name in names}
        size = np.sqrt(sum(float(np.square(leaf).sum()) for leaf in along.values()))
        slope = sum(float(np.vdot(gradient[name], along[name])) for name in names) / size
        width = 1e-2

        def total_at(shift: float, along: dict = along, size: float = size) -> float:
            leaves = moved | {name: moved[name] + shift / size * leaf for name, leaf in along.items()}
            return float(gradient_at(leaves, batch, draw)[0])

        found = (total_at(width) - total_at(-width)) / (2 * width)
        assert found == pytest.approx(slope, rel=2e-2, abs=2e-3 * abs(float(total))), part


def test_the_opening_of_an_absent_gripper_is_not_learnt(
    batch: Batch, moved: dict, prepared: Prepared, draw: FlowDraw
) -> None:
    contract = prepared.contract
    stump = contract.model_copy(update={'gripper': contract.gripper.model_copy(update={'absent': 'a stump'})})
    assert (action_dims(contract), action_dims(stump)) == (7, 6)
    step = replace(prepared.step, dims=action_dims(stump))

    @jax.jit
    def total(leaves: dict, frozen: dict, actions: jax.Array) -> tuple:
        model = step.model(leaves, frozen)
        return step.loss_at(model, batch._replace(actions=actions), None, draw)

    (_, sums), (gradient, by_target) = jax.value_and_grad(total, argnums=(0, 2), has_aux=True)(
        moved, prepared.frozen, batch.actions
    )
    assert not np.asarray(by_target)[..., 6:].any()
    assert not np.asarray(gradient['action_out_proj/kernel'])[:, 6:].any()
    assert np.asarray(gradient['action_out_proj/kernel'])[:, :6].any(axis=0).all()
    report = means(sums)
    assert float(report['flow_loss']) == pytest.approx(float(report['flow_loss_by_dim'].mean()), rel=1e-5)
    found = report_numbers(report, prepared.stats.actions, ['data'])
    assert {'position_m', 'rotation_rad', 'flow_loss_in/ee_rot_z'} <= set(found)
    assert not [name for name in found if 'gripper' in name]


class Linear(StepFunction):
    """A step with a network of one weight matrix in place of ours."""

    def loss(
        self,
        trained: dict,
        frozen: dict,
        batch: Batch,
        key: jax.Array,
        weights: LossWeights = PLAIN_SUMS,
        *,
        train: bool = True,
    ) -> tuple[jax.Array, dict]:
        noise = jax.random.normal(key, batch.actions.shape)
        errors = jnp.mean(jnp.square(batch.actions @ trained['w'] + frozen['b'] - noise), axis=-1)
        valid = jnp.asarray(batch.step_mask)
        return jnp.sum(jnp.where(valid, errors, 0.0)) * weights.actions, {
            'valid': jnp.sum(valid),
            'flow_loss': jnp.sum(jnp.where(valid, errors, 0.0)),
            'flow_loss_by_dim': jnp.zeros(7),
            'source_loss': jnp.zeros(1),
            'source_valid': jnp.zeros(1),
        }


def test_micro_batches_weigh_by_their_valid_steps(batch: Batch) -> None:
    masked = np.array(batch.step_mask)
    masked[::2, 2:] = False  # the first micro-batch has few valid steps
    uneven = batch._replace(step_mask=masked)
    weights = np.random.default_rng(0).normal(size=(32, 32)).astype(np.float32)
    sgd, frozen = optax.sgd(1.0), {'b': np.ones(32, np.float32)}
    step = Linear(None, {}, sgd, AugmentationConfig(enabled=False), 7, accumulate=2)
    after, report = jax.jit(step.__call__)(step.start({'w': weights}), frozen, uneven)

    parts = jax.tree.map(lambda x: np.stack([x[0::2], x[1::2]]), uneven)
    keys = jax.random.split(jax.random.fold_in(jax.random.key(step.seed), 0), 2)
    found = [
        jax.value_and_grad(step.loss, has_aux=True)(
            {'w': weights}, frozen, jax.tree.map(lambda x, n=n: x[n], parts), keys[n]
        )
        for n in range(2)
    ]
    count = masked.sum()
    expected = sum(gradient['w'] for _, gradient in found) / count
    np.testing.assert_allclose(weights - after['trained']['w'], expected, atol=1e-5)
    assert float(report['loss']) == pytest.approx(sum(float(total) for (total, _), _ in found) / count)
    assert int(report['valid']) == count


def test_what_is_deployed_is_the_moving_average(batch: Batch) -> None:
    """Of the weights after each step; where there is none, the weights themselves."""
    weights = np.random.default_rng(0).normal(size=(32, 32)).astype(np.float32)
    step = Linear(None, {}, optax.sgd(1.0), AugmentationConfig(enabled=False), 7, ema_decay=0.9)
    run, state, average = jax.jit(step.__call__), step.start({'w': weights}), weights
    for _ in range(3):
        state, _ = run(state, {'b': np.ones(32, np.float32)}, batch)
        average = 0.9 * average + 0.1 * np.asarray(state['trained']['w'])
    np.testing.assert_allclose(deployable(state)['w'], average, rtol=1e-5)
    assert not np.allclose(state['trained']['w'], average)
    assert deployable({**state, 'ema': None}) is state['trained']


def test_sharded_over_four_devices_everything_is_as_on_one(repository) -> None:
    """In a process of its own, as the number of devices is fixed at the start."""
    script = repository / 'test' / 'training' / 'sharded_step.py'
    env = os.environ | {'PYTHONPATH': os.pathsep.join(sys.path)}
    run = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False, env=env)
    assert run.returncode == 0, run.stderr[-2000:]
    assert [float(found) < 1e-6 for found in run.stdout.split()] == [True, True], run.stdout

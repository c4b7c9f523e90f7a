"""One training step: the loss is the model's, padding trains nothing, touch is reached, parts add up."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from restac_ros.model import flow_matching
from restac_ros.training.batch import Batch
from restac_ros.training.data.loader import batches
from restac_ros.training.prepare import Prepared, prepare


@pytest.fixture(scope='module')
def prepared(touch_data, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    from restac_ros.training.config import CONFIGS, DataConfig

    config = replace(
        CONFIGS['tiny'],
        data=DataConfig(datasets=(touch_data,), validation_share=0.0),
        to=tmp_path_factory.mktemp('run'),
        batch_size=4,
        validation_batches=1,
    )
    return prepare(config)


@pytest.fixture(scope='module')
def batch(prepared: Prepared) -> Batch:
    train = prepared.train
    return next(batches(prepared.sources, [], train.batch_size, 3, 0, train.loader))


@pytest.fixture(scope='module')
def gradient_of(prepared: Prepared) -> Callable:
    """gradient_of(batch) -> (sum of the loss, sums), gradient; without augmentation."""
    plain = replace(prepared.step, augmentation=replace(prepared.train.augmentation, enabled=False))
    key = jax.random.key(0)

    @jax.jit
    def compute(trained, frozen, batch):
        return jax.value_and_grad(plain.loss, has_aux=True)(trained, frozen, batch, key)

    return lambda batch: compute(prepared.trained, prepared.frozen, batch)


def test_the_loss_is_the_models_own(prepared: Prepared, batch: Batch) -> None:
    step, key = prepared.step, jax.random.key(5)
    total, sums = jax.jit(lambda t, f, b: step.loss(t, f, b, key, train=False))(
        prepared.trained, prepared.frozen, batch
    )

    @jax.jit
    def reference(trained, frozen, batch):
        model = step.model(trained, frozen)
        _, noise_key, time_key, _ = jax.random.split(key, 4)
        noise = jax.random.normal(noise_key, batch.actions.shape)
        time = flow_matching.sample_time(time_key, len(batch.source))
        return model.compute_loss(
            batch.observation,
            batch.actions,
            noise,
            time,
            touch=model.observe_touch(batch.observation),
            dim_mask=jnp.arange(32) < 7,
            step_mask=batch.step_mask,
        )

    per_step = reference(prepared.trained, prepared.frozen, batch)
    np.testing.assert_allclose(float(total), float(jnp.sum(per_step)), rtol=1e-5)
    assert int(sums['valid']) == int(batch.step_mask.sum())


def test_padded_steps_and_dimensions_have_no_gradient(batch: Batch, gradient_of: Callable) -> None:
    masked = np.array(batch.step_mask)
    masked[:, 9:] = False
    changed = np.array(batch.actions)
    changed[:, 9:] = 1e3
    (_, _), one = gradient_of(batch._replace(step_mask=masked))
    (_, _), other = gradient_of(batch._replace(step_mask=masked, actions=np.array(batch.actions)))
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), one, other))
    out = np.asarray(one['action_out_proj/kernel'])
    assert np.abs(out[:, :7]).max() > 0
    assert (out[:, 7:] == 0).all(), 'dimensions that the robot does not have are not trained'
    all_masked = batch._replace(step_mask=np.zeros_like(masked))
    (total, _), none = gradient_of(all_masked)
    assert float(total) == 0.0
    assert all(float(jnp.abs(leaf).max()) == 0.0 for leaf in none.values())


def test_the_gradient_reaches_gate_token_and_expert(batch: Batch, gradient_of: Callable, prepared) -> None:
    trained = {name: np.array(leaf) for name, leaf in prepared.trained.items()}
    # A fresh head gives nothing back to what stands before it: give it something to say.
    rng = np.random.default_rng(0)
    trained = {
        name: leaf + rng.normal(0, 0.02, leaf.shape).astype(leaf.dtype) for name, leaf in trained.items()
    }
    plain = replace(prepared.step, augmentation=replace(prepared.train.augmentation, enabled=False))
    gradient = jax.jit(jax.grad(lambda t: plain.loss(t, prepared.frozen, batch, jax.random.key(0))[0]))(
        trained
    )
    still = [name for name, leaf in gradient.items() if not float(jnp.abs(leaf).max()) > 0]
    assert still == ['PaliGemma/llm/final_norm/scale'], 'what only a fusion that reads the prefix uses'


def test_micro_batches_weigh_by_their_valid_steps(prepared: Prepared, batch: Batch) -> None:
    masked = np.array(batch.step_mask)
    masked[:2, 2:] = False  # the first half has few valid steps
    uneven = batch._replace(step_mask=masked)
    whole = replace(prepared.step, augmentation=replace(prepared.train.augmentation, enabled=False))
    key, trained, frozen = jax.random.key(1), prepared.trained, prepared.frozen

    def one_by_one() -> dict:
        """Two losses with the keys that accumulation uses, added by hand."""
        parts = jax.tree.map(lambda x: x.reshape(2, -1, *x.shape[1:]), uneven)
        keys = jax.random.split(key, 2)
        found = [
            jax.jit(jax.value_and_grad(whole.loss, has_aux=True))(
                trained, frozen, jax.tree.map(lambda x, n=n: x[n], parts), keys[n]
            )
            for n in range(2)
        ]
        count = sum(int(sums['valid']) for (_, sums), _ in found)
        return jax.tree.map(lambda a, b: (a + b) / count, found[0][1], found[1][1])

    halves = replace(whole, accumulate=2)
    _, gradient, _ = jax.jit(halves._accumulated)(trained, frozen, uneven, key)
    expected = one_by_one()
    for name in expected:
        np.testing.assert_allclose(gradient[name], expected[name], atol=2e-6)


def test_sharded_over_four_devices_everything_is_as_on_one(repository) -> None:
    """In a process of its own, as the number of devices is fixed at the start."""
    script = repository / 'test' / 'training' / 'sharded_step.py'
    run = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    assert float(run.stdout.split()[-1]) < 1e-6

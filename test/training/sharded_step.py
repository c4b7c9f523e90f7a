"""Prints the largest differences of loss and gradients between one device and four, parameters sharded.

The second is of a step in two micro-batches, each of which is spread over all devices.
"""

import os
import re
from dataclasses import replace
from typing import Any

os.environ['XLA_FLAGS'] = '--xla_force_host_platform_device_count=4'
os.environ['JAX_PLATFORMS'] = 'cpu'

import jax
import jax.numpy as jnp
import numpy as np
import optax

from micro import MICRO, add_micro_preset
from restac_ros.model.checkpoint.network import initial_params, leaf_shapes, model_paths
from restac_ros.model.observation import CAMERA_SLOTS, Observation
from restac_ros.model.presets import PRESETS
from restac_ros.training.batch import Batch
from restac_ros.training.config import AugmentationConfig
from restac_ros.training.sharding import Placement
from restac_ros.training.step import StepFunction
from restac_ros.training.trainable import split_leaves


def main() -> None:
    add_micro_preset()
    rows = 4
    config = PRESETS[MICRO]
    rng = np.random.default_rng(0)
    params = initial_params(config, leaf_shapes(config), 0, everything=True)
    split = split_leaves(config, params)
    trained = {name: params[name] for name in split.trained}
    frozen = {name: params[name] for name in split.frozen}
    graph, paths = model_paths(config)
    step = StepFunction(graph, paths, optax.sgd(1.0), AugmentationConfig(enabled=False), dims=7)
    images = {slot: rng.integers(0, 256, (rows, 224, 224, 3), dtype=np.uint8) for slot in CAMERA_SLOTS}
    batch = Batch(
        Observation(
            images=images,
            image_masks={slot: np.ones(rows, bool) for slot in CAMERA_SLOTS},
            state=rng.normal(size=(rows, 32)).astype(np.float32),
            tokenized_prompt=rng.integers(4, 300, (rows, 16)).astype(np.int32),
            tokenized_prompt_mask=np.ones((rows, 16), bool),
            tactile=rng.integers(0, 256, (rows, 128, 160, 3), dtype=np.uint8),
            action_prev=rng.normal(0, 0.01, (rows, 7)).astype(np.float32),
        ),
        actions=rng.normal(size=(rows, 16, 32)).astype(np.float32),
        step_mask=np.arange(16) < rng.integers(3, 17, (rows, 1)),
        source=np.zeros(rows, np.int32),
        place=np.zeros((rows, 2), np.int32),
    )

    def mean(trained: dict, frozen: dict, batch: Batch) -> tuple[jax.Array, dict]:
        (total, sums), gradient = jax.value_and_grad(step.loss, has_aux=True)(
            trained, frozen, batch, jax.random.key(0), train=False
        )
        return total / sums['valid'], jax.tree.map(lambda leaf: leaf / sums['valid'], gradient)

    found = []
    for devices, fsdp in ((1, 1), (4, 2)):
        place = Placement.over(fsdp, rows, devices=devices, least_bytes=1024)
        shardings = place.of_tree(jax.eval_shape(lambda: trained))
        if fsdp > 1:
            assert any(not s.is_fully_replicated for s in shardings.values()), 'nothing was sharded'
        result = jax.jit(mean)(place.put(trained), place.put(frozen), place.put_batch(batch))
        found.append(jax.device_get(result))
    print(largest_difference(*found))

    halves, found = replace(step, accumulate=2), []
    doubled = jax.tree.map(lambda x: np.concatenate([x, x[::-1]]), batch)
    for devices in (1, 4):
        place = Placement.over(1, 2 * rows, 2, devices=devices)
        given = place.put(halves.start(trained)), place.put(frozen), place.put_batch(doubled)
        compiled = jax.jit(halves.__call__, out_shardings=place.everywhere).lower(*given).compile()
        gathered = re.findall(r'u8\S* (?:all-gather|all-to-all|collective-permute)', compiled.as_text())
        assert not gathered, f'images go from device to device: {gathered}'
        after, report = compiled(*given)
        found.append(jax.device_get((after['trained'], report['loss'])))
    print(largest_difference(*found))


def largest_difference(one: Any, other: Any) -> float:
    differences = jax.tree.map(lambda a, b: float(jnp.max(jnp.abs(a - b))), one, other)
    return max(jax.tree.leaves(differences))


main()

"""Camera images are moved and jittered as published; wrist views keep their geometry, hues stay."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from restac_ros.model.observation import Observation, pixels_to_float
from restac_ros.training.augmentation import augment
from restac_ros.training.batch import Batch
from restac_ros.training.config import AugmentationConfig
from restac_ros.training.distillation import Distillation
from restac_ros.training.step import StepFunction

STILL = AugmentationConfig(brightness=0.0, contrast=0.0)
SIDE = 24


@pytest.fixture(scope='module')
def augmented() -> Callable:
    """augmented(images, config, seed=0) -> images on the host, float32 in [-1, 1]."""

    compiled = cache(lambda config: jax.jit(partial(augment, config=config)))

    def run(images: dict, config: AugmentationConfig, seed: int = 0) -> dict:
        return jax.device_get(compiled(config)(images, jax.random.key(seed)))

    return run


@pytest.fixture(scope='module')
def images() -> dict[str, np.ndarray]:
    image = np.random.default_rng(0).integers(40, 200, (3, SIDE, SIDE, 3), dtype=np.uint8)
    return {'base_0_rgb': image, 'left_wrist_0_rgb': image, 'second_base_rgb': image}


def test_nothing_changes_when_it_is_off(images: dict, augmented: Callable) -> None:
    for slot, image in augmented(images, AugmentationConfig(enabled=False)).items():
        np.testing.assert_allclose(image, pixels_to_float(images[slot]), atol=1e-6)


def test_scene_views_move_together_and_wrist_views_do_not(images: dict, augmented: Callable) -> None:
    moved = augmented(images, STILL)
    np.testing.assert_allclose(
        moved['left_wrist_0_rgb'], pixels_to_float(images['left_wrist_0_rgb']), atol=1e-5
    )
    np.testing.assert_allclose(moved['base_0_rgb'], moved['second_base_rgb'], atol=1e-5)
    assert np.abs(moved['base_0_rgb'] - pixels_to_float(images['base_0_rgb'])).mean() > 0.02
    assert np.abs(np.diff(moved['base_0_rgb'] - pixels_to_float(images['base_0_rgb']), axis=0)).max() > 0.1


def test_a_crop_of_all_without_rotation_is_the_image(images: dict, augmented: Callable) -> None:
    same = augmented(images, replace(STILL, crop=1.0, rotation_deg=0.0))
    np.testing.assert_allclose(same['base_0_rgb'], pixels_to_float(images['base_0_rgb']), atol=1e-5)


def test_jitter_keeps_hue_and_saturation_and_spares_half_of_the_images(augmented: Callable) -> None:
    image = np.random.default_rng(1).integers(40, 120, (64, 4, 4, 3), dtype=np.uint8)
    mild = AugmentationConfig(brightness=0.2, contrast=0.2)
    found = (augmented({'left_wrist_0_rgb': image}, mild)['left_wrist_0_rgb'] + 1) / 2
    ratio = found / (image / 255.0)
    np.testing.assert_allclose(ratio, ratio[..., :1] * np.ones(3), atol=1e-3)
    unchanged = np.abs(ratio - 1).reshape(64, -1).max(axis=1) < 1e-3
    assert 16 <= unchanged.sum() <= 48


def test_black_is_brightened_as_its_neighbours_are(augmented: Callable) -> None:
    """A pixel of a camera that is all but black must not differ from a black one by a hundred levels."""
    dark = np.zeros((64, 2, 2, 3), np.uint8)
    dark[:, 0] = 1
    config = AugmentationConfig(contrast=0.0, probability=1.0)
    levels = (augmented({'left_wrist_0_rgb': dark}, config)['left_wrist_0_rgb'] + 1) / 2 * 255
    assert levels.max() > 50
    assert np.abs(levels[:, 0] - levels[:, 1]).max() < 2


def test_the_seed_decides(images: dict, augmented: Callable) -> None:
    one, again, other = (augmented(images, STILL, seed) for seed in (3, 3, 4))
    for slot in images:
        np.testing.assert_array_equal(one[slot], again[slot])
    assert (one['base_0_rgb'] != other['base_0_rgb']).any()


def test_touch_is_never_changed_and_cameras_are_only_in_training(images: dict) -> None:
    """By the step itself, up to the network."""
    tactile = np.random.default_rng(2).integers(0, 256, (3, 8, 10, 3), dtype=np.uint8)

    class Shown(StepFunction):
        """Gives what the network would be shown."""

        def model(self, trained: dict, frozen: dict) -> SimpleNamespace:
            return SimpleNamespace(
                observe_touch=lambda seen: {'touch': seen.tactile, 'expected from': seen.images['base_0_rgb']}
            )

        def loss_at(self, model: object, batch: Batch, touch: dict, *_: object) -> tuple:
            return jnp.zeros(()), {**touch, **batch.observation.images}

        def _distilled(self, *given: Any) -> tuple:
            *_, batch, touch, _, _ = given
            return self.loss_at(None, batch, touch)

    step = Shown(None, {}, optax.sgd(1.0), AugmentationConfig(), 7)
    observation = Observation(images, {}, *[np.zeros((3, 7))] * 3, tactile=tactile)
    masks = np.ones((3, 2), bool), np.zeros(3, int), np.zeros((3, 2), int)
    batch = Batch(observation, np.zeros((3, 2, 7)), *masks)
    taught = replace(step, distillation=Distillation(1, 10))
    shown, distilled = (jax.jit(partial(one.loss, {}, {}), static_argnames='train') for one in (step, taught))
    for run, train in ((shown, True), (distilled, True), (shown, False)):
        found = run(batch, jax.random.key(0), train=train)[1]
        np.testing.assert_array_equal(found['touch'], tactile)
        np.testing.assert_array_equal(found['expected from'], images['base_0_rgb'], 'what the prior reads')
        same = np.allclose(found['base_0_rgb'], pixels_to_float(images['base_0_rgb']), atol=1e-5)
        assert same != train

"""Augmentation of camera images on the device: what openpi's augmentation does in effect.

Views of the scene: a crop of 95 %, a rotation of up to 5 degrees, in one bilinear resample with black
outside; and jitter of brightness and contrast, with probability one half. Wrist views: the jitter alone, as
their geometry is the hand's. Tactile images: nothing, ever. openpi's hue jitter, on by an oversight, and
its saturation jitter, without effect by another, are not copied.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, UInt8

from restac_ros.training.config import AugmentationConfig

WRIST = 'wrist'


def augment(
    images: Mapping[str, UInt8[Array, 'B H W 3']], key: PRNGKeyArray, config: AugmentationConfig
) -> dict[str, Float[Array, 'B H W 3']]:
    """Return float32 images in [-1, 1]. Each sample has one key, the same for all its scene views."""
    scaled = {slot: pixels.astype(jnp.float32) / 255.0 for slot, pixels in images.items()}
    if config.enabled:
        batch = next(iter(scaled.values())).shape[0]
        keys = jax.random.split(key, batch)
        for number, (slot, pixels) in enumerate(scaled.items()):
            geometry, colour = jax.vmap(lambda k: tuple(jax.random.split(k)))(keys)
            if WRIST not in slot:
                pixels = jax.vmap(lambda image, k: _resampled(image, k, config))(pixels, geometry)
            colour = jax.vmap(jax.random.fold_in, (0, None))(colour, number)
            scaled[slot] = jax.vmap(lambda image, k: _jittered(image, k, config))(pixels, colour)
    return {slot: pixels * 2.0 - 1.0 for slot, pixels in scaled.items()}


def _resampled(image: Float[Array, 'H W 3'], key: PRNGKeyArray, config: AugmentationConfig) -> Array:
    """Crop, enlarge and rotate about the centre in one resample."""
    height, width = image.shape[:2]
    place, turn = jax.random.split(key)
    room = jnp.array([height, width]) * (1.0 - config.crop)
    corner = jax.random.uniform(place, (2,)) * room
    angle = jnp.deg2rad(jax.random.uniform(turn, minval=-config.rotation_deg, maxval=config.rotation_deg))
    rows, columns = jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing='ij')
    middle = jnp.array([(height - 1) / 2, (width - 1) / 2])
    y, x = rows - middle[0], columns - middle[1]
    y, x = jnp.cos(angle) * y - jnp.sin(angle) * x, jnp.sin(angle) * y + jnp.cos(angle) * x
    y, x = (y + middle[0]) * config.crop + corner[0], (x + middle[1]) * config.crop + corner[1]
    sample = jax.vmap(
        lambda channel: jax.scipy.ndimage.map_coordinates(channel, [y, x], order=1, cval=0.0),
        in_axes=-1,
        out_axes=-1,
    )
    return sample(image)


def _jittered(image: Float[Array, 'H W 3'], key: PRNGKeyArray, config: AugmentationConfig) -> Array:
    """Change brightness and contrast of the value (largest channel); hue and saturation stay."""
    applied, bright, contrast = jax.random.split(key, 3)
    value = jnp.max(image, axis=-1, keepdims=True)
    brightness = jax.random.uniform(bright, minval=-config.brightness, maxval=config.brightness)
    changed = jnp.where(brightness < 0, value * (1.0 + brightness), value + (1.0 - value) * brightness)
    changed = _with_contrast(
        changed, jax.random.uniform(contrast, minval=-config.contrast, maxval=config.contrast)
    )
    jittered = jnp.where(value > 0.0, image * changed / jnp.maximum(value, 1e-6), changed)  # black: grey
    jittered = jnp.clip(jittered, 0.0, 1.0)
    return jnp.where(jax.random.bernoulli(applied, config.probability), jittered, image)


def _with_contrast(value: Array, contrast: Array) -> Array:
    """Three straight lines through (0, 0) and (1, 1), the middle one of slope tan((contrast + 1) pi / 4)."""
    slope = jnp.tan((contrast + 1.0) * (jnp.pi / 4))
    knee = slope / (2.0 * (1.0 + slope))
    middle = slope * (value - 0.5) + 0.5
    return jnp.where(
        value < knee, value / slope, jnp.where(value > 1.0 - knee, value / slope + 1.0 - 1.0 / slope, middle)
    )

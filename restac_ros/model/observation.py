"""The policy's input, and the one checked function that builds it.

Every fault of an input is reported here, in a sentence with the field, what was found and what was
expected; behind it the network may trust shapes, ranges and dtypes.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8

from restac_ros.model.config import ModelConfig
from restac_ros.model.errors import ObservationError

CAMERA_SLOTS = ('base_0_rgb', 'left_wrist_0_rgb', 'right_wrist_0_rgb')
"""openpi's camera names, in the order in which their tokens stand in the prefix."""

PROMPT_BUCKET = 16
"""Prompts are padded to a multiple of this many tokens, not to the maximum."""

ACTION_PREV_DIM = 7


class Observation[A: (np.ndarray, Array)](NamedTuple):
    """Checked network inputs; B is the batch. Built by `make_observation` only, on the host.

    A is `np.ndarray` on the host and `Array` in the network.

    `images` holds the cameras that exist, in the order of CAMERA_SLOTS; a masked camera changes nothing but
    the time it takes. `action_prev` is in raw units (m, rad, m), never normalised.
    """

    images: dict[str, Float[A, 'B H W 3'] | UInt8[A, 'B H W 3']]
    image_masks: dict[str, Bool[A, ' B']]
    state: Float[A, 'B D']
    tokenized_prompt: Int[A, 'B T']
    tokenized_prompt_mask: Bool[A, 'B T']
    tactile: Float[A, 'B h w 3'] | UInt8[A, 'B h w 3'] | None = None
    action_prev: Float[A, 'B 7'] | None = None

    @property
    def prefix(
        self,
    ) -> tuple[dict[str, A], dict[str, Bool[A, ' B']], Int[A, 'B T'], Bool[A, 'B T']]:
        """The arguments of `encode_prefix`: images, image masks, prompt tokens, prompt mask."""
        return self.images, self.image_masks, self.tokenized_prompt, self.tokenized_prompt_mask


def pixels_to_float(
    pixels: Float[Array, '*batch H W C'] | UInt8[Array, '*batch H W C'],
) -> Float[Array, '*batch H W C']:
    """uint8 to float32 in [-1, 1] by x / 255 * 2 - 1; float32 passes. Decided by dtype, never by values."""
    if pixels.dtype == jnp.uint8:
        return pixels.astype(jnp.float32) / 255.0 * 2.0 - 1.0
    if pixels.dtype != jnp.float32:
        raise ObservationError(f'image: found dtype {pixels.dtype}, expected uint8 or float32')
    return pixels


def prompt_bucket(num_tokens: int, max_prompt_tokens: int) -> int:
    """Smallest compiled prompt length that holds `num_tokens`.

    Raises:
        ObservationError: more tokens than the model accepts.
    """
    if num_tokens > max_prompt_tokens:
        raise ObservationError(
            f'tokenized_prompt: found {num_tokens} tokens, expected at most {max_prompt_tokens}; '
            'shorten the task text'
        )
    rounded = -(-max(num_tokens, 1) // PROMPT_BUCKET) * PROMPT_BUCKET
    return min(rounded, max_prompt_tokens)


def trim_prompt(
    config: ModelConfig, tokens: Int[np.ndarray, 'B T'], mask: Bool[np.ndarray, 'B T']
) -> tuple[Int[np.ndarray, 'B t'], Bool[np.ndarray, 'B t']]:
    """Cut trailing padding to the next bucket. Padding is masked and has no position, so no result changes.

    `legacy_unmasked_fusion` reads padded positions, so there the full length stays.
    """
    if config.legacy_unmasked_fusion:
        return tokens, mask
    used = np.flatnonzero(mask.any(axis=0))
    length = prompt_bucket(int(used[-1]) + 1 if used.size else 0, config.max_prompt_tokens)
    return tokens[:, :length], mask[:, :length]


def make_observation(
    config: ModelConfig,
    *,
    images: Mapping[str, np.ndarray],
    image_masks: Mapping[str, np.ndarray],
    state: np.ndarray,
    tokenized_prompt: np.ndarray,
    tokenized_prompt_mask: np.ndarray,
    tactile: np.ndarray | None = None,
    action_prev: np.ndarray | None = None,
) -> Observation[np.ndarray]:
    """Check every input against `config` and build the observation, with trailing prompt padding cut.

    Args:
        images: by camera slot, uint8 or float32 in [-1, 1], [B, image_size, image_size, 3], RGB.
        image_masks: for the same slots, bool [B]; False hides a camera of a sample.
        state: float32 [B, action_dim], normalised and padded with zeros.
        tokenized_prompt, tokenized_prompt_mask: int32 and bool [B, T], T at most max_prompt_tokens.
        tactile: uint8 or float32 in [-1, 1], [B, 128, 160, 3]; needed by, and only by, a policy with touch.
        action_prev: float32 [B, 7], raw units; likewise.

    Raises:
        ObservationError: a field is missing, unexpected, or of another shape, dtype or range; or not finite.
    """
    state = check_array('state', state, (None, config.action_dim), (np.float32,))
    batch = state.shape[0]
    _check_finite('state', state)
    checked_images = _check_images(config, images, batch)
    if set(image_masks) != set(images):
        raise ObservationError(f'image_masks: found {sorted(image_masks)}, expected {sorted(images)}')
    masks = {
        slot: check_array(f'image_masks[{slot}]', image_masks[slot], (batch,), (np.bool_,))
        for slot in checked_images
    }
    tokens, token_mask = _check_prompt(config, tokenized_prompt, tokenized_prompt_mask, batch)
    tactile, action_prev = _check_touch(config, tactile, action_prev, batch)
    return Observation(checked_images, masks, state, tokens, token_mask, tactile, action_prev)


def _check_images(config: ModelConfig, images: Mapping[str, np.ndarray], batch: int) -> dict[str, np.ndarray]:
    unknown = sorted(set(images) - set(CAMERA_SLOTS))
    if unknown or not images:
        raise ObservationError(f'images: found {sorted(images)}, expected one or more of {CAMERA_SLOTS}')
    if config.tactile is not None and len(images) < len(CAMERA_SLOTS):
        raise ObservationError(
            f'images: found {sorted(images)}, expected all of {CAMERA_SLOTS} for the tactile prior'
        )
    shape = (batch, config.image_size, config.image_size, 3)
    slots = [slot for slot in CAMERA_SLOTS if slot in images]
    return {slot: _check_pixels(f'images[{slot}]', images[slot], shape) for slot in slots}


def _check_prompt(
    config: ModelConfig, tokens: np.ndarray, mask: np.ndarray, batch: int
) -> tuple[np.ndarray, np.ndarray]:
    tokens = check_array('tokenized_prompt', tokens, (batch, None), (np.int32,))
    mask = check_array('tokenized_prompt_mask', mask, tokens.shape, (np.bool_,))
    if tokens.shape[1] > config.max_prompt_tokens:
        raise ObservationError(
            f'tokenized_prompt: found {tokens.shape[1]} positions, '
            f'expected at most {config.max_prompt_tokens}'
        )
    if tokens.size and (tokens.min() < 0 or tokens.max() >= config.vocab_size):
        raise ObservationError(
            f'tokenized_prompt: found ids from {tokens.min()} to {tokens.max()}, '
            f'expected 0 to {config.vocab_size - 1}; is this the tokenizer the model was trained with?'
        )
    return trim_prompt(config, tokens, mask)


def _check_touch(
    config: ModelConfig, tactile: np.ndarray | None, action_prev: np.ndarray | None, batch: int
) -> tuple[np.ndarray | None, np.ndarray | None]:
    for name, value in (('tactile', tactile), ('action_prev', action_prev)):
        if config.uses_touch and value is None:
            raise ObservationError(
                f'{name}: found None, expected an array: fusion = {config.fusion!r} reads it'
            )
        if not config.uses_touch and value is not None:
            raise ObservationError(f"{name}: found an array, expected None: fusion = 'none' would ignore it")
    if tactile is None or action_prev is None:
        return None, None
    tactile = _check_pixels('tactile', tactile, (batch, *config.tactile_shape))
    action_prev = check_array('action_prev', action_prev, (batch, ACTION_PREV_DIM), (np.float32,))
    _check_finite('action_prev', action_prev)
    return tactile, action_prev


def _check_pixels(name: str, pixels: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    pixels = check_array(name, pixels, shape, (np.uint8, np.float32))
    if pixels.dtype == np.float32:
        _check_finite(name, pixels)
        if pixels.min() < -1 or pixels.max() > 1:
            raise ObservationError(
                f'{name}: found float values from {pixels.min():.4g} to {pixels.max():.4g}, '
                'expected [-1, 1]; pass uint8, or scale by x / 255 * 2 - 1'
            )
    return pixels


def check_array(
    name: str, value: np.ndarray | None, shape: Sequence[int | None], dtypes: Sequence[type[np.generic]]
) -> np.ndarray:
    """Return an array of exactly this shape (None is any positive length) and one of these dtypes.

    Raises:
        ObservationError: naming the field, what was found and what was expected.
    """
    if value is None:
        raise ObservationError(f'{name}: found None, expected an array')
    found = np.shape(value)
    ok = len(found) == len(shape) and all(
        n > 0 and want in (None, n) for n, want in zip(found, shape, strict=True)
    )
    if not ok:
        wanted = tuple('any' if n is None else n for n in shape)
        raise ObservationError(f'{name}: found shape {found}, expected {wanted}')
    dtype = getattr(value, 'dtype', type(value).__name__)
    if dtype not in dtypes:
        wanted_dtypes = ' or '.join(np.dtype(d).name for d in dtypes)
        raise ObservationError(f'{name}: found dtype {dtype}, expected {wanted_dtypes}')
    return np.asarray(value)


def check_vector(name: str, values: np.ndarray | None, dims: int) -> Float[np.ndarray, ' D']:
    """Return a raw vector as it came: whole, floating point and finite.

    Raises:
        ObservationError: naming the field, what was found and what was expected.
    """
    if values is None:
        raise ObservationError(f'{name}: found None, expected {dims} numbers; do not act on this frame')
    values = check_array(name, np.asarray(values), (dims,), (np.float32, np.float64))
    _check_finite(name, values)
    return values


def _check_finite(name: str, value: np.ndarray) -> None:
    bad = np.argwhere(~np.isfinite(value))
    if bad.size:
        index = tuple(int(i) for i in bad[0])
        raise ObservationError(f'{name}: found {value[index]} at {index}, expected finite numbers')

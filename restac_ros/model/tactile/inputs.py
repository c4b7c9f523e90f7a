"""Checks of what goes into a tactile encoder: nothing is resized, rescaled, cut or filled in silently.

Shapes and types are checked always, values (range, NaN) whenever they are known, that is outside jit.
"""

import jax
import numpy as np
from jaxtyping import Array

from restac_ros.model.tactile.config import TactileConfig
from restac_ros.model.tactile.errors import TactileInputError

_RANGE_SLACK = 1e-5  # rounding of an interpolation done in float32

_IMAGE_REMEDY = 'give RGB, channel last, uint8 mapped by x / 255 * 2 - 1'


def check_all(
    tactile: Array | None, view_features: Array | None, action_prev: Array | None, config: TactileConfig
) -> None:
    """Check the inputs of `TactileEncoder.encode`."""
    check_same_batch(
        tactile=check_tactile(tactile, config),
        view_features=check_view_features(view_features, config),
        action_prev=check_action_prev(action_prev, config),
    )


def check_tactile(tactile: Array | None, config: TactileConfig) -> Array:
    """Return it; TactileInputError unless it is a float32 image batch [B, *tactile_shape] in [-1, 1]."""
    remedy = f'{_IMAGE_REMEDY}; a tactile image is never letterboxed to the size of a camera view'
    return _check_image_values('tactile', _check_array('tactile', tactile, config.tactile_shape, remedy))


def check_views(views: Array | None, config: TactileConfig) -> Array:
    """Return them; TactileInputError unless they are float32 views [B, *view_shape] in [-1, 1]."""
    remedy = f'{_IMAGE_REMEDY}; order base_0_rgb, left_wrist_0_rgb, right_wrist_0_rgb'
    return _check_image_values('views', _check_array('views', views, config.view_shape, remedy))


def check_view_features(view_features: Array | None, config: TactileConfig) -> Array:
    """Return them; TactileInputError unless they are a finite result of `encode_views`."""
    shape = (config.view_feature_dim,)
    given = _check_array('view_features', view_features, shape, 'call encode_views first')
    return _check_finite('view_features', given)


def check_action_prev(action_prev: Array | None, config: TactileConfig) -> Array:
    """Return it; TactileInputError unless it is a finite, float32 [B, action_dim]."""
    remedy = 'give the raw difference of two states (m, rad), neither normalised nor padded'
    given = _check_array('action_prev', action_prev, (config.prophet.action_dim,), remedy)
    return _check_finite('action_prev', given)


def check_same_batch(**fields: Array) -> None:
    """Raise TactileInputError unless all arrays have the same first dimension."""
    sizes = {name: array.shape[0] for name, array in fields.items()}
    if len(set(sizes.values())) > 1:
        raise TactileInputError(f'batch sizes differ: found {sizes}, expected one size')


def _check_array(field: str, array: Array | None, shape: tuple[int, ...], remedy: str) -> Array:
    if array is None:
        raise TactileInputError(f'{field}: missing, expected float32 [B, {_text(shape)}]; {remedy}')
    if array.ndim != len(shape) + 1 or tuple(array.shape[1:]) != shape:
        raise TactileInputError(
            f'{field}: found shape [{_text(array.shape)}], expected [B, {_text(shape)}]; {remedy}'
        )
    if array.dtype != np.float32:
        raise TactileInputError(f'{field}: found dtype {array.dtype}, expected float32; {remedy}')
    return array


def _check_image_values(field: str, image: Array) -> Array:
    if isinstance(image, jax.core.Tracer):
        return image
    _check_finite(field, image)
    values = np.asarray(image)  # numpy, since jax operations on constants are traced within jit
    low, high = values.min(initial=0), values.max(initial=0)
    if low < -1 - _RANGE_SLACK or high > 1 + _RANGE_SLACK:
        raise TactileInputError(
            f'{field}: found values from {low:g} to {high:g}, expected [-1, 1]; {_IMAGE_REMEDY}'
        )
    return image


def _check_finite(field: str, array: Array) -> Array:
    if isinstance(array, jax.core.Tracer):
        return array
    bad = int(np.size(array) - np.isfinite(np.asarray(array)).sum())
    if bad:
        raise TactileInputError(f'{field}: found {bad} values that are NaN or infinite, expected none')
    return array


def _text(shape: tuple[int, ...]) -> str:
    return ', '.join(map(str, shape))

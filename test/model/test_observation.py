"""Every wrong input is refused in a sentence that names the field, what was found and what was expected."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restac_ros.model.errors import ObservationError
from restac_ros.model.observation import (
    CAMERA_SLOTS,
    PROMPT_BUCKET,
    make_observation,
    pixels_to_float,
    prompt_bucket,
)
from restac_ros.model.presets import PRESETS

_CONFIG = PRESETS['tiny']
_SIZE = _CONFIG.image_size


def _fields() -> dict:
    rng = np.random.default_rng(0)
    return {
        'images': {slot: rng.integers(0, 256, (2, _SIZE, _SIZE, 3), np.uint8) for slot in CAMERA_SLOTS},
        'image_masks': {slot: np.ones(2, bool) for slot in CAMERA_SLOTS},
        'state': np.zeros((2, _CONFIG.action_dim), np.float32),
        'tokenized_prompt': np.zeros((2, 30), np.int32),
        'tokenized_prompt_mask': np.arange(30) < np.array([[20], [7]]),
        'tactile': rng.integers(0, 256, (2, 128, 160, 3), np.uint8),
        'action_prev': np.zeros((2, 7), np.float32),
    }


def _image(value) -> dict:
    return {'images': {**_fields()['images'], 'base_0_rgb': value}}


def _floats(value: float) -> np.ndarray:
    return np.full((2, _SIZE, _SIZE, 3), value, np.float32)


_NAN_STATE = np.zeros((2, _CONFIG.action_dim), np.float32)
_NAN_STATE[1, 3] = np.nan

_WRONG = {
    'no cameras': ({'images': {}}, r'images: found \[\], expected one or more of'),
    'unknown camera': (
        {'images': {**_fields()['images'], 'wrist': _floats(0)}},
        r"images: found .*'wrist'.*expected one or more of",
    ),
    'missing camera of a touch policy': (
        {'images': {'base_0_rgb': _fields()['images']['base_0_rgb']}},
        r"images: found \['base_0_rgb'\], expected all of .* for the tactile prior",
    ),
    'missing camera mask': ({'image_masks': {}}, r'image_masks: found \[\], expected \['),
    'image size': (_image(np.zeros((2, 120, 160, 3), np.uint8)), r'images\[base_0_rgb\]: found shape .*120'),
    'channel first': (_image(np.zeros((2, 3, _SIZE, _SIZE), np.uint8)), r'images\[base_0_rgb\]: found shape'),
    'double image': (_image(_floats(0).astype(float)), r'found dtype float64, expected uint8 or float32'),
    'image in 0..255 as float': (_image(_floats(200.0)), r'found float values from 200 to 200, .*\[-1, 1\]'),
    'image with nan': (_image(_floats(np.nan)), r'images\[base_0_rgb\]: found nan at \(0, 0, 0, 0\)'),
    'image mask as float': (
        {'image_masks': {slot: np.ones(2) for slot in CAMERA_SLOTS}},
        r'image_masks\[base_0_rgb\]: found dtype float64, expected bool',
    ),
    'unpadded state': (
        {'state': np.zeros((2, 7), np.float32)},
        r"state: found shape \(2, 7\), expected \('any', 32\)",
    ),
    'state with nan': ({'state': _NAN_STATE}, r'state: found nan at \(1, 3\), expected finite'),
    'state as list': ({'state': [[0.0] * 32] * 2}, r'state: found dtype list, expected float32'),
    'state as double': ({'state': np.zeros((2, 32))}, r'state: found dtype float64, expected float32'),
    'batch mismatch': ({'action_prev': np.zeros((3, 7), np.float32)}, r'action_prev: found shape \(3, 7\)'),
    'prompt too long': (
        {'tokenized_prompt': np.zeros((2, 97), np.int32), 'tokenized_prompt_mask': np.ones((2, 97), bool)},
        r'tokenized_prompt: found 97 positions, expected at most 96',
    ),
    'prompt of another tokenizer': (
        {'tokenized_prompt': np.full((2, 30), 2048, np.int32)},
        r'tokenized_prompt: found ids from 2048 to 2048, expected 0 to 2047; is this the tokenizer',
    ),
    'prompt mask of another length': (
        {'tokenized_prompt_mask': np.ones((2, 29), bool)},
        r'tokenized_prompt_mask: found shape \(2, 29\), expected \(2, 30\)',
    ),
    'no tactile': ({'tactile': None}, r'tactile: found None, expected an array'),
    'no action_prev': ({'action_prev': None}, r'action_prev: found None, expected an array'),
    'letterboxed tactile': (
        {'tactile': np.zeros((2, 224, 224, 3), np.uint8)},
        r'tactile: found shape \(2, 224, 224, 3\), expected \(2, 128, 160, 3\)',
    ),
    'padded action_prev': (
        {'action_prev': np.zeros((2, 32), np.float32)},
        r'action_prev: found shape \(2, 32\)',
    ),
    'infinite action_prev': (
        {'action_prev': np.full((2, 7), np.inf, np.float32)},
        r'action_prev: found inf at \(0, 0\)',
    ),
}


@pytest.mark.parametrize('name', _WRONG)
def test_wrong_input_is_refused_by_name(name: str) -> None:
    changes, message = _WRONG[name]
    with pytest.raises(ObservationError, match=message):
        make_observation(_CONFIG, **{**_fields(), **changes})


def test_a_policy_without_touch_refuses_what_it_would_ignore() -> None:
    blind = dataclasses.replace(_CONFIG, fusion='none', tactile=None)
    with pytest.raises(ObservationError, match=r"tactile: found an array, expected None: fusion = 'none'"):
        make_observation(blind, **_fields())


def test_good_input_passes_through_unchanged() -> None:
    fields = _fields()
    observation = make_observation(_CONFIG, **fields)
    assert list(observation.images) == list(CAMERA_SLOTS)
    for slot in CAMERA_SLOTS:
        np.testing.assert_array_equal(observation.images[slot], fields['images'][slot])
    np.testing.assert_array_equal(observation.tactile, fields['tactile'])
    np.testing.assert_array_equal(observation.action_prev, fields['action_prev'])


def test_cameras_stand_in_the_models_order_whatever_the_callers() -> None:
    fields = _fields()
    fields['images'] = dict(reversed(fields['images'].items()))
    assert list(make_observation(_CONFIG, **fields).images) == list(CAMERA_SLOTS)


def test_range_is_decided_by_dtype_never_by_values() -> None:
    """A dark uint8 image need not exceed 1, nor a float image in [-1, 1] go below 0 (defect 10)."""
    dark = np.array([[[0, 1, 1]]], np.uint8)
    np.testing.assert_allclose(pixels_to_float(dark), dark / 255 * 2 - 1, atol=1e-7)
    bright = np.array([[[0.0, 0.5, 1.0]]], np.float32)
    np.testing.assert_array_equal(pixels_to_float(bright), bright)
    with pytest.raises(ObservationError, match='found dtype int32'):
        pixels_to_float(dark.astype(np.int32))


def test_only_trailing_padding_of_the_prompt_is_cut() -> None:
    fields = _fields()
    fields['tokenized_prompt'] = np.arange(60, dtype=np.int32).reshape(2, 30)
    fields['tokenized_prompt_mask'] = np.arange(30) < np.array([[3], [9]])
    observation = make_observation(_CONFIG, **fields)
    assert observation.tokenized_prompt.shape == (2, PROMPT_BUCKET)
    np.testing.assert_array_equal(observation.tokenized_prompt, fields['tokenized_prompt'][:, :PROMPT_BUCKET])
    np.testing.assert_array_equal(observation.tokenized_prompt_mask.sum(axis=1), [3, 9])


def test_the_legacy_fusion_keeps_the_padding_it_reads() -> None:
    legacy = dataclasses.replace(_CONFIG, fusion='forcevla', legacy_unmasked_fusion=True)
    assert make_observation(legacy, **_fields()).tokenized_prompt.shape == (2, 30)


@given(st.integers(0, 200))
@settings(deadline=None)
def test_buckets_are_few_and_hold_their_prompt(num_tokens: int) -> None:
    length = prompt_bucket(num_tokens, 200)
    assert num_tokens <= length <= 200
    assert length - num_tokens < PROMPT_BUCKET or num_tokens == 0
    assert length % PROMPT_BUCKET == 0 or length == 200


def test_a_prompt_beyond_the_longest_bucket_is_refused() -> None:
    with pytest.raises(ObservationError, match='found 201 tokens, expected at most 200'):
        prompt_bucket(201, 200)

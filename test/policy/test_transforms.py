"""From frame to network and back: cameras, padding, and what is refused."""

import numpy as np
import pytest

from restac_ros.contract.schema import Contract
from restac_ros.policy.errors import PolicyError
from restac_ros.policy.transforms import CameraSlots, PadDimensions, check_vector

SLOTS = CameraSlots({'main': 'base_0_rgb', 'side': 'right_wrist_0_rgb'}, image_size=8)


def image(value: int = 7) -> np.ndarray:
    return np.full((8, 8, 3), value, np.uint8)


def test_cameras_go_to_the_slots_the_contract_declares(contract: Contract) -> None:
    slots = CameraSlots.from_contract(contract, 224)
    assert slots.slot_of == {
        'main': 'base_0_rgb',
        'handeye': 'left_wrist_0_rgb',
        'side': 'right_wrist_0_rgb',
    }


def test_a_missing_camera_is_hidden_by_its_mask() -> None:
    pixels, valid = SLOTS({'main': image()})
    assert {slot: bool(mask[0]) for slot, mask in valid.items()} == {
        'base_0_rgb': True,
        'right_wrist_0_rgb': False,
    }
    np.testing.assert_array_equal(pixels['base_0_rgb'], image()[None])
    assert pixels['right_wrist_0_rgb'].shape == (1, 8, 8, 3)


@pytest.mark.parametrize(
    ('images', 'message'),
    [
        ({'wrist': image()}, "unknown camera stream 'wrist'; known: main, side"),
        ({}, 'images: found none, expected some of main, side'),
        ({'main': image().astype(np.float32)}, r'images\[main\]: found float32 \(8, 8, 3\), expected uint8'),
        ({'main': image()[:4]}, r'images\[main\]: found uint8 \(4, 8, 3\), expected uint8 \(8, 8, 3\)'),
        ({'main': None}, r'images\[main\]: found NoneType'),
    ],
)
def test_bad_images_are_named(images: dict, message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        SLOTS(images)


def test_padding_and_its_inverse() -> None:
    pad = PadDimensions(5)
    padded = pad(np.array([[1.0, 2.0, 3.0]]))
    assert padded.dtype == np.float32
    np.testing.assert_array_equal(padded, [[1, 2, 3, 0, 0]])
    np.testing.assert_array_equal(pad.inverse(padded, 3), [[1, 2, 3]])
    with pytest.raises(PolicyError, match='found 6 dimensions, the network has 5'):
        pad(np.zeros(6))


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        (None, 'state: found None, expected 7 numbers'),
        (np.zeros(6, np.float32), r'state: found float32 \(6,\), expected float \(7,\)'),
        (np.zeros(7, np.int64), r'state: found int64 \(7,\), expected float \(7,\)'),
        (np.array([0, 0, np.nan, 0, 0, 0, 0]), 'state: found .*nan.*, expected finite numbers'),
    ],
)
def test_bad_vectors_are_named(values: np.ndarray | None, message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        check_vector('state', values)

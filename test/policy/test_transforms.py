"""From frame to network and back: inverses, wrapped angles, nothing written into its input."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from restac_ros.contract.schema import Contract
from restac_ros.framing.rotation import matrix_from_rotation, matrix_from_rotvec
from restac_ros.framing.values import state_change
from restac_ros.policy.errors import PolicyError
from restac_ros.policy.transforms import CameraSlots, DeltaActions, PadDimensions, check_vector

SLOTS = CameraSlots({'main': 'base_0_rgb', 'side': 'right_wrist_0_rgb'}, image_size=8)
CENTRE = (np.pi, 0.0, 0.0)


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


def poses(*shape: int) -> st.SearchStrategy[np.ndarray]:
    angles = arrays(np.float64, (*shape, 7), elements=st.floats(-1.2, 1.2))
    return angles.map(lambda x: x + np.array([0.5, 0, 0.4, np.pi, 0, 0, 0]))


@pytest.mark.parametrize('convention', ['rpy', 'rotvec'])
@pytest.mark.parametrize('kind', ['elementwise', 'so3'])
@given(actions=poses(5), state=poses())
def test_inverse_restores_the_target_pose(
    kind: str, convention: str, actions: np.ndarray, state: np.ndarray
) -> None:
    delta = DeltaActions(kind, convention, CENTRE)
    back = delta.inverse(delta(actions, state), state)
    np.testing.assert_allclose(back[:, [0, 1, 2, 6]], actions[:, [0, 1, 2, 6]], atol=1e-12)
    np.testing.assert_allclose(
        matrix_from_rotation(convention, back[:, 3:6]),
        matrix_from_rotation(convention, actions[:, 3:6]),
        atol=1e-9,
    )


def test_roll_near_half_a_turn_gives_small_deltas() -> None:
    state = np.array([0.5, 0, 0.4, np.pi - 0.01, 0, 0, 0.04])
    target = np.array([[0.5, 0, 0.4, -np.pi + 0.01, 0, 0, 0.02]])
    for kind in ('elementwise', 'so3'):
        delta = DeltaActions(kind, 'rpy', CENTRE)(target, state)
        np.testing.assert_allclose(delta[0], [0, 0, 0, 0.02, 0, 0, 0.02], atol=1e-12)
    back = DeltaActions('elementwise', 'rpy', CENTRE).inverse(delta, state)
    assert back[0, 3] == pytest.approx(np.pi + 0.01)  # on the branch, not at -pi + 0.01


def test_so3_delta_turns_the_current_orientation_in_the_base_frame() -> None:
    state = np.array([0, 0, 0, np.pi, 0.2, -0.4, 0])
    turn = np.array([0.1, -0.2, 0.3])
    moved = DeltaActions('so3', 'rpy', CENTRE).inverse(np.array([[0, 0, 0, *turn, 0]]), state)
    expected = matrix_from_rotvec(turn) @ matrix_from_rotation('rpy', state[3:6])
    np.testing.assert_allclose(matrix_from_rotation('rpy', moved[0, 3:6]), expected, atol=1e-12)


def test_elementwise_delta_is_the_data_sets_state_change(contract: Contract) -> None:
    rng = np.random.default_rng(0)
    new, old = rng.normal(0, 2, (2, 7))
    found = DeltaActions.from_contract(contract)(new, old)
    change = state_change(contract, new, old)
    np.testing.assert_allclose(found[:6], change[:6], atol=1e-12)
    assert found[6] == new[6]  # the gripper is absolute


def test_inputs_are_left_as_they_were() -> None:
    state, actions = np.ones(7), np.ones((3, 7))
    for values in (state, actions):
        values.flags.writeable = False
    delta = DeltaActions('elementwise', 'rpy', CENTRE)
    PadDimensions(32)(delta.inverse(delta(actions, state), state))


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

"""Messages of every supported kind, and the sentence that each wrong one is answered with."""

import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from restac_ros.framing.decode import decode_image, decode_joints, decode_pose
from restac_ros.framing.errors import DecodeError
from restac_ros.framing.values import decode_value, gripper_positions

RGB = np.random.default_rng(1).integers(0, 256, (6, 10, 3), dtype=np.uint8)
BGR = RGB[..., ::-1]
ALPHA = np.full((6, 10, 1), 7, np.uint8)
ENCODINGS = {
    'rgb8': RGB,
    'bgr8': BGR,
    'rgba8': np.concatenate([RGB, ALPHA], axis=-1),
    'bgra8': np.concatenate([BGR, ALPHA], axis=-1),
}


@pytest.fixture(scope='module')
def camera(edited_contract):
    """camera(key=value, ...) -> the main camera's stream, which accepts any encoding unless told."""

    def make(**changes):
        changes = {'encoding': None} | changes
        return edited_contract({f'streams.main.{k}': v for k, v in changes.items()}).stream('main')

    return make


# --------------------------------------------------------------------------------------------------- images


@pytest.mark.parametrize('padding', [0, 1, 5, 64])
@pytest.mark.parametrize('little_endian', [True, False])
@pytest.mark.parametrize('encoding', ENCODINGS)
def test_every_colour_encoding_gives_the_same_pixels(messages, camera, encoding, padding, little_endian):
    cdr = messages.image(ENCODINGS[encoding], encoding, padding=padding, little_endian=little_endian)
    for spec in (camera(), camera(encoding=encoding)):
        decoded = decode_image(spec, cdr)
        assert decoded.dtype == np.uint8
        np.testing.assert_array_equal(decoded, RGB)


@pytest.mark.parametrize('encoding', ['8UC3', 'passthrough'])
@pytest.mark.parametrize(('order', 'pixels'), [('rgb', RGB), ('bgr', BGR)])
@pytest.mark.parametrize('padding', [0, 3])
def test_undeclared_order_comes_from_the_contract(messages, camera, encoding, order, pixels, padding):
    cdr = messages.image(pixels, encoding, padding=padding)
    np.testing.assert_array_equal(decode_image(camera(channel_order=order), cdr), RGB)
    with pytest.raises(
        DecodeError, match=r'does not define the order of red and blue; declare channel_order: rgb or bgr'
    ):
        decode_image(camera(), cdr)


def test_declared_order_never_overrides_an_encoding_that_tells(messages, camera):
    np.testing.assert_array_equal(decode_image(camera(channel_order='bgr'), messages.image(RGB, 'rgb8')), RGB)


@pytest.mark.parametrize('padding', [0, 2])
def test_grey_is_repeated(messages, camera, padding):
    cdr = messages.image(RGB[..., :1], 'mono8', padding=padding)
    np.testing.assert_array_equal(decode_image(camera(), cdr), np.repeat(RGB[..., :1], 3, axis=-1))


@pytest.mark.parametrize('flag', [0, 1])
def test_byte_order_flag_means_nothing_for_bytes(messages, camera, flag):
    cdr = messages.image(RGB, 'rgb8', is_bigendian=flag)
    np.testing.assert_array_equal(decode_image(camera(), cdr), RGB)


def test_memoryview_and_bytes_are_alike(messages, camera):
    cdr = messages.image(BGR, 'bgr8')
    np.testing.assert_array_equal(decode_image(camera(), memoryview(cdr)), RGB)


@pytest.mark.parametrize(
    ('encoding', 'wrong', 'message'),
    [
        ('rgb8', {'step': 29}, r'step 29 and 180 bytes; expected step >= 30 and step \* 6 bytes'),
        ('rgb8', {'step': 31}, 'step 31 and 180 bytes'),
        ('rgb8', {'height': 5}, '10x5 rgb8 with step 30 and 180 bytes'),
        ('rgb8', {'data': np.zeros(0, np.uint8)}, 'step 30 and 0 bytes'),
        ('rgb8', {'height': 0, 'data': np.zeros(0, np.uint8)}, '10x0 px; expected 1 to 8192 a side'),
        ('rgb8', {'width': 2**31, 'step': 2**32 - 1}, '2147483648x6 px'),
        ('rgba8', {}, 'with step 30 and 180 bytes; expected step >= 40'),
        ('16UC1', {}, "encoding '16UC1', a depth image; expected one of rgb8, bgr8"),
        ('', {}, "encoding ''; expected one of"),
    ],
)
def test_impossible_images_are_refused(messages, camera, encoding, wrong, message):
    with pytest.raises(DecodeError, match=message) as caught:
        decode_image(camera(), messages.image(RGB, encoding, **wrong))
    assert str(caught.value).startswith('/cameras/main/color/image_raw: ')


def test_another_encoding_than_the_contracts_is_refused(messages, camera):
    expected = r"encoding 'bgr8'; the contract expects 'rgb8'; correct the driver, or set encoding: bgr8"
    with pytest.raises(DecodeError, match=expected):
        decode_image(camera(encoding='rgb8'), messages.image(BGR, 'bgr8'))


# ------------------------------------------------------------------------------------------ compressed images

COMPRESSED = {'type': 'sensor_msgs/msg/CompressedImage'}


def test_png_is_lossless_and_jpeg_close(messages, camera):
    np.testing.assert_array_equal(decode_image(camera(**COMPRESSED), messages.compressed(RGB, 'png')), RGB)
    smooth = np.tile(np.linspace(0, 255, 64, dtype=np.uint8)[:, None, None], (1, 64, 3))
    smooth[..., 0] = 200
    jpeg = messages.compressed(smooth, 'jpeg', quality=95)
    difference = decode_image(camera(**COMPRESSED), jpeg).astype(int) - smooth
    assert np.abs(difference).max() <= 6


def test_png_with_alpha_or_grey(messages, camera):
    alpha = messages.compressed(ENCODINGS['rgba8'], 'png')
    np.testing.assert_array_equal(decode_image(camera(**COMPRESSED), alpha), RGB)
    grey = decode_image(camera(**COMPRESSED), messages.compressed(RGB[..., 0], 'png'))
    np.testing.assert_array_equal(grey, np.repeat(RGB[..., :1], 3, axis=-1))


def test_declared_order_of_a_driver_that_compresses_swapped_colours(messages, camera):
    spec = camera(**COMPRESSED, channel_order='bgr')
    np.testing.assert_array_equal(decode_image(spec, messages.compressed(BGR, 'png')), RGB)


def test_wrong_compressed_images_are_refused(messages, camera):
    png = messages.compressed(RGB, 'png')
    with pytest.raises(DecodeError, match='PNG of 10x6 px, mode RGB; the contract expects jpeg'):
        decode_image(camera(**COMPRESSED, encoding='jpeg'), png)
    with pytest.raises(DecodeError, match="format 'png; depth': no JPEG or PNG: it begins with 6e 6f 6e"):
        decode_image(camera(**COMPRESSED), messages.compressed_bytes(b'none', 'png; depth'))
    with pytest.raises(DecodeError, match='mode I;16'):
        decode_image(camera(**COMPRESSED), messages.compressed(RGB[..., 0].astype(np.uint16), 'png'))
    with pytest.raises(DecodeError, match='no JPEG or PNG: it begins with 47 49 46'):
        decode_image(camera(**COMPRESSED), messages.compressed(RGB, 'gif'))


@pytest.mark.parametrize('file_format', ['png', 'jpeg'])
def test_truncated_files_are_refused(messages, camera, file_format):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    whole = messages.compressed(noise, file_format)
    start = whole.index(b'\x89PNG' if file_format == 'png' else b'\xff\xd8')
    for length in (1, 20, 100, (len(whole) - start) // 2):
        cut = messages.compressed_bytes(whole[start : start + length], file_format)
        with pytest.raises(DecodeError, match='not a whole JPEG or PNG'):
            decode_image(camera(**COMPRESSED), cut)


@pytest.mark.parametrize('side', [9000, 60000])
def test_size_is_refused_before_pixels_are_allocated(messages, camera, side):
    """A whole PNG header of too many pixels, with none of them behind it."""
    png = bytearray(messages.compressed(RGB, 'png'))
    header = png.index(b'IHDR')
    png[header + 4 : header + 12] = side.to_bytes(4, 'big') * 2
    png[header + 17 : header + 21] = zlib.crc32(png[header : header + 17]).to_bytes(4, 'big')
    with pytest.raises(DecodeError, match=r'at most 8192 px a side|exceeds limit'):
        decode_image(camera(**COMPRESSED), bytes(png))


# --------------------------------------------------------------------------------------------------- joints


def test_joints_are_found_by_name(messages, contract):
    spec = contract.stream('joints')
    names = ['fr3_finger_joint1', *reversed(spec.joints), 'other']
    cdr = messages.joints(names, [0.5, *range(7), 9.0], velocity=[1.0] * 9)
    np.testing.assert_array_equal(decode_joints(spec, cdr), [6, 5, 4, 3, 2, 1, 0])
    big = messages.joints(names, [0.5, *range(7), 9.0], little_endian=False)
    np.testing.assert_array_equal(decode_joints(spec, big), [6, 5, 4, 3, 2, 1, 0])


@pytest.mark.parametrize(
    ('names', 'positions', 'message'),
    [
        (
            ['a', 'fr3_finger_joint1'],
            [0, 0],
            r'no joint fr3_finger_joint2; the message has a, fr3_finger_joint1',
        ),
        ([], [], 'no joint fr3_finger_joint1, fr3_finger_joint2; the message has none; set joints'),
        (['fr3_finger_joint1', 'fr3_finger_joint2'], [0], '2 joint names but 1 positions'),
        (['fr3_finger_joint1', 'fr3_finger_joint2'], [0, np.nan], r'positions \[0.0, nan\]; expected finite'),
        (['fr3_finger_joint1', 'fr3_finger_joint2'], [0, np.inf], 'expected finite'),
        (['fr3_finger_joint1', 'fr3_finger_joint2'] * 2, [0] * 4, 'is named more than once'),
    ],
)
def test_unusable_joint_states_are_refused(messages, contract, names, positions, message):
    with pytest.raises(DecodeError, match=message):
        decode_joints(contract.stream('gripper'), messages.joints(names, positions))


@pytest.mark.parametrize('surplus', [4, 8, 12])
def test_padding_that_rclpy_leaves_behind_a_message_is_no_fault(messages, contract, surplus):
    spec = contract.stream('joints')
    cdr = messages.joints(list(spec.joints), range(7))
    np.testing.assert_array_equal(decode_joints(spec, cdr + bytes(surplus)), range(7))


def test_bytes_that_no_padding_explains_are_refused(messages, contract):
    spec = contract.stream('joints')
    with pytest.raises(DecodeError, match='size mismatch'):
        decode_joints(spec, messages.joints(list(spec.joints), range(7)) + bytes(40))


def test_a_joint_nobody_asks_for_may_be_anything(messages, contract):
    cdr = messages.joints(['x', 'x', 'fr3_finger_joint2', 'fr3_finger_joint1'], [np.nan, 0, 0.02, 0.01])
    np.testing.assert_array_equal(decode_joints(contract.stream('gripper'), cdr), [0.01, 0.02])


# ---------------------------------------------------------------------------------------------------- poses


@pytest.fixture(scope='module')
def pose_contract(edited_contract):
    stream = {
        'topic': '/current_pose',
        'type': 'geometry_msgs/msg/PoseStamped',
        'role': 'tool_pose',
        'frame_id': 'fr3_link0',
        'rate_hz': 1000,
        'max_age_ms': 50,
    }
    return edited_contract({'streams.joints': None, 'streams.tool': stream})


@pytest.mark.parametrize('little_endian', [True, False])
def test_pose_with_its_quaternion_in_ros_order(messages, pose_contract, little_endian):
    rotation = Rotation.from_euler('xyz', [3.0, 0.2, -1.0])
    cdr = messages.pose([0.4, -0.1, 0.3], rotation.as_quat() * 1.005, little_endian=little_endian)
    pose = decode_pose(pose_contract.stream('tool'), cdr)
    np.testing.assert_allclose(pose[:3, :3], rotation.as_matrix(), atol=1e-12)
    np.testing.assert_array_equal(pose[:3, 3], [0.4, -0.1, 0.3])
    np.testing.assert_array_equal(pose[3], [0, 0, 0, 1])


@pytest.mark.parametrize(
    ('xyz', 'quaternion', 'frame', 'message'),
    [
        ([0, 0, 0], [0, 0, 0, 0], 'fr3_link0', 'of norm 0; expected finite numbers and norm 1'),
        ([0, 0, 0], [0, 0, 0, 1.1], 'fr3_link0', 'of norm 1.1'),
        ([0, 0, 0], [0, 0, 0, np.nan], 'fr3_link0', 'of norm nan'),
        ([0, np.nan, 0], [0, 0, 0, 1], 'fr3_link0', 'expected finite'),
        ([0, 0, 0], [0, 0, 0, 1], 'world', "frame_id 'world'; the contract expects 'fr3_link0'"),
    ],
)
def test_impossible_poses_are_refused(messages, pose_contract, xyz, quaternion, frame, message):
    with pytest.raises(DecodeError, match=message):
        decode_pose(pose_contract.stream('tool'), messages.pose(xyz, quaternion, frame_id=frame))


# --------------------------------------------------------------------------------------------------- values


def test_opening_far_out_of_range_is_refused(messages, contract):
    assert decode_value(contract, 'gripper', messages.gripper(0.0801)) == pytest.approx(0.0801)
    with pytest.raises(
        DecodeError,
        match=r'opening 80 m; the contract declares 0 to 0.08 m; check joints, opening_m and the unit',
    ):
        decode_value(contract, 'gripper', messages.gripper(80.0))


@pytest.mark.parametrize(
    ('unit', 'closed', 'opened', 'position', 'opening_m'),
    [('rad', 0.8, 0.0, 0.6, 0.02125), ('percent', 0.0, 100.0, 25.0, 0.02125), ('mm', 0.0, 85.0, 85.0, 0.085)],
)
def test_a_grippers_joint_is_read_by_its_declared_scale(
    messages, edited_contract, unit, closed, opened, position, opening_m
):
    contract = edited_contract(
        {
            'gripper': {
                'opening_m': [0.0, 0.085],
                'joint': {'unit': unit, 'closed': closed, 'open': opened},
            },
            'streams.gripper.joints': ['robotiq_85_left_knuckle_joint'],
        }
    )
    cdr = messages.joints(['robotiq_85_left_knuckle_joint'], [position])
    assert decode_value(contract, 'gripper', cdr) == pytest.approx(opening_m)
    [back] = gripper_positions(contract, contract.streams['gripper'], opening_m)
    assert back == pytest.approx(position)


def test_a_message_with_some_of_the_joints_is_told_from_a_wrong_one(messages, contract):
    partial = messages.joints([f'fr3_joint{i}' for i in range(1, 5)], [0.0] * 4)
    with pytest.raises(DecodeError, match='only 4 of 7 joints; let one publisher send them together'):
        decode_joints(contract.streams['joints'], partial)


def test_values_are_read_only(messages, contract):
    value = decode_value(contract, 'joints', messages.arm(np.zeros(7)))
    with pytest.raises(ValueError, match='read-only'):
        value[0, 0] = 1.0


def test_tool_offset_is_applied_to_the_hand(messages, contract, edited_contract):
    shifted = edited_contract(
        {'robot.pose_tool_in_hand': {'xyz_m': [0.0, 0.0, 0.02], 'rpy_rad': [0.0, 0.0, 0.5]}}
    )
    cdr = messages.arm(np.array([0.1, -0.5, 0.2, -2.0, 0.1, 1.6, 0.7]))
    hand, tool = (decode_value(c, 'joints', cdr) for c in (contract, shifted))
    expected = np.eye(4)
    expected[:3, :3] = Rotation.from_euler('z', 0.5).as_matrix()
    expected[2, 3] = 0.02
    np.testing.assert_allclose(np.linalg.inv(hand) @ tool, expected, atol=1e-12)


# ------------------------------------------------------------------------------------------------ bad bytes


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_damaged_messages_raise_decode_errors_only(messages, contract, camera, data):
    name, cdr = data.draw(
        st.sampled_from(
            [
                ('main', messages.image(RGB, 'rgb8')),
                ('joints', messages.arm(np.zeros(7))),
                ('gripper', messages.gripper(0.04)),
                ('compressed', messages.compressed(RGB, 'png')),
                ('compressed', messages.compressed(RGB, 'jpeg')),
            ]
        )
    )
    damaged = bytearray(cdr[: data.draw(st.integers(0, len(cdr)))] if data.draw(st.booleans()) else cdr)
    for _ in range(data.draw(st.integers(0, 4))):
        if damaged:
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        if name == 'compressed':
            assert decode_image(camera(**COMPRESSED), bytes(damaged)).dtype == np.uint8
        else:
            decode_value(contract, name, bytes(damaged))
    except DecodeError as error:
        assert str(error).startswith('/')  # noqa: PT017 (both outcomes are right)

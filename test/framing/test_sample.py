"""Dating a message by nothing but its first bytes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rosbags.typesys import Stores, get_typestore

from restac_ros.contract.errors import ContractError
from restac_ros.framing.errors import DecodeError
from restac_ros.framing.sample import belongs, make_sample

STAMP = 1_760_000_000_123_456_789
RECEIVED = STAMP + 10_000_000
STORE = get_typestore(Stores.ROS2_JAZZY)
ARM_JOINTS = [f'fr3_joint{i}' for i in range(1, 8)]
FINGERS = ['fr3_finger_joint1', 'fr3_finger_joint2']


@pytest.mark.parametrize('little_endian', [True, False])
def test_stamp_of_every_message_type(messages, contract, little_endian):
    pixels = np.zeros((2, 2, 3), np.uint8)
    cdrs = {
        'main': messages.image(pixels, 'rgb8', STAMP, little_endian=little_endian),
        'joints': messages.joints(['fr3_joint1'], [0.0], STAMP, little_endian=little_endian),
    }
    for name, cdr in cdrs.items():
        for form in (cdr, memoryview(cdr)):
            sample = make_sample(contract, name, form, RECEIVED)
            assert sample[:3] == (name, STAMP, RECEIVED)
            assert not sample.zero_stamp
            assert sample.cdr is form


@pytest.mark.parametrize('little_endian', [True, False])
def test_a_message_without_any_of_a_streams_joints_is_none_of_its_messages(messages, contract, little_endian):
    fingers = messages.joints(FINGERS, [0.02, 0.02], STAMP, little_endian=little_endian)
    assert make_sample(contract, 'joints', fingers, RECEIVED) is None
    assert make_sample(contract, 'gripper', fingers, RECEIVED).stamp_ns == STAMP
    nobodys = messages.joints([], [], STAMP, little_endian=little_endian)
    assert make_sample(contract, 'gripper', nobodys, RECEIVED) is None


def test_part_of_a_name_or_the_frame_is_no_joint(messages, contract):
    alike = messages.joints(['fr3_joint10', 'my_fr3_joint1', 'fr3_joint'], [0.0] * 3, STAMP)
    assert make_sample(contract, 'joints', alike, RECEIVED) is None
    framed = STORE.deserialize_cdr(messages.joints(['wheel'], [0.0], STAMP), 'sensor_msgs/msg/JointState')
    framed.header.frame_id = 'fr3_joint1'
    cdr = bytes(STORE.serialize_cdr(framed, 'sensor_msgs/msg/JointState'))
    assert make_sample(contract, 'joints', cdr, RECEIVED) is None


@given(
    names=st.lists(st.sampled_from([*ARM_JOINTS, *FINGERS, 'wheel', 'fr3_joint1_stiffness']), max_size=12),
    frame=st.sampled_from(['', 'base', 'fr3_joint3']),
    little_endian=st.booleans(),
)
def test_whose_message_it_is_equals_what_its_names_say(contract, names, frame, little_endian):
    types = STORE.types
    stamp = types['builtin_interfaces/msg/Time'](1, 2)
    message = types['sensor_msgs/msg/JointState'](
        types['std_msgs/msg/Header'](stamp, frame), names, np.zeros(len(names)), np.zeros(0), np.zeros(0)
    )
    cdr = bytes(STORE.serialize_cdr(message, 'sensor_msgs/msg/JointState', little_endian=little_endian))
    for stream in ('joints', 'gripper'):
        spec = contract.streams[stream]
        assert belongs(spec, cdr) == bool(set(names) & set(spec.joints))
        assert belongs(spec, memoryview(cdr)) == belongs(spec, cdr)


def test_compressed_images_are_dated_alike(messages, contract):
    cdr = messages.compressed(np.zeros((2, 2, 3), np.uint8), 'png', STAMP)
    assert make_sample(contract, 'main', cdr, RECEIVED).stamp_ns == STAMP


def test_latency_leads_back_to_the_capture(messages, edited_contract):
    contract = edited_contract({'streams.joints.latency_ms': 2.5})
    cdr = messages.arm(np.zeros(7), STAMP)
    assert make_sample(contract, 'joints', cdr, RECEIVED).stamp_ns == STAMP - 2_500_000


def test_a_zero_stamp_counts_from_receipt_and_says_so(messages, contract, edited_contract):
    cdr = messages.arm(np.zeros(7), 0)
    sample = make_sample(contract, 'joints', cdr, RECEIVED)
    assert (sample.stamp_ns, sample.zero_stamp) == (RECEIVED, True)
    late = edited_contract({'streams.joints.latency_ms': 4})
    assert make_sample(late, 'joints', cdr, RECEIVED).stamp_ns == RECEIVED - 4_000_000


@pytest.mark.parametrize(
    ('cdr', 'message'),
    [
        (b'', 'found 0 bytes'),
        (
            bytes(11),
            'found 11 bytes beginning 00 00 00 00; expected CDR with a header, as of sensor_msgs',
        ),
        (b'\x00\x07\x00\x00' + bytes(20), 'beginning 00 07'),
        (b'\x00\x01\x00\x00' + b'\xff' * 20, 'header stamp -1 s'),
        (b'\x00\x01\x00\x00\x01\x00\x00\x00\x00\xca\x9a\x3b' + bytes(8), r'1 s \+ 1000000000 ns is no time'),
    ],
)
def test_bytes_that_are_no_stamped_message(contract, cdr, message):
    with pytest.raises(DecodeError, match=message) as caught:
        make_sample(contract, 'joints', cdr, RECEIVED)
    assert str(caught.value).startswith('/franka/joint_states: ')


def test_unknown_stream(contract):
    with pytest.raises(ContractError, match=r"unknown stream 'joint'; did you mean 'joints'\?"):
        make_sample(contract, 'joint', bytes(20), 0)


@given(cdr=st.binary(max_size=40))
def test_any_bytes_are_dated_or_refused(contract, cdr):
    try:
        sample = make_sample(contract, 'joints', cdr, RECEIVED)
    except DecodeError:
        return
    assert sample.stamp_ns >= 0

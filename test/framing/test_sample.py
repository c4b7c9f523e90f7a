"""Dating a message by nothing but its first bytes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from restac_ros.contract.errors import ContractError
from restac_ros.framing.errors import DecodeError
from restac_ros.framing.sample import make_sample

STAMP = 1_760_000_000_123_456_789
RECEIVED = STAMP + 10_000_000


@pytest.mark.parametrize('little_endian', [True, False])
def test_stamp_of_every_message_type(messages, contract, little_endian):
    pixels = np.zeros((2, 2, 3), np.uint8)
    cdrs = {
        'main': messages.image(pixels, 'rgb8', STAMP, little_endian=little_endian),
        'joints': messages.joints(['a'], [0.0], STAMP, little_endian=little_endian),
        'gripper': messages.pose([0, 0, 0], [0, 0, 0, 1], STAMP, little_endian=little_endian),
    }
    for name, cdr in cdrs.items():
        for form in (cdr, memoryview(cdr)):
            sample = make_sample(contract, name, form, RECEIVED)
            assert sample[:3] == (name, STAMP, RECEIVED)
            assert not sample.zero_stamp
            assert sample.cdr is form


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
            'found 11 bytes beginning 00 00 00 00; expected CDR with a header, as of sensor_msgs/msg/JointState',
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

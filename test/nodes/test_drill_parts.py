"""What a drill is made of: streams broken on purpose, an arm that follows, and a judge that sees through."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('rclpy')
pytest.importorskip('restac_ros.msg', reason='the messages are not built: `make build`')

from restac_ros.contract.load import load_contract
from restac_ros.contract.schema import Contract
from restac_ros.control.limits import MotionLimits
from restac_ros.framing.errors import DecodeError
from restac_ros.framing.values import decode_value
from restac_ros.geometry import quaternion as quat
from restac_ros.nodes.drill.drill_record import SetPoint, last_motion_ns, stalls_ns, violations
from restac_ros.nodes.drill.stream_faults import JUMP_NS, LATE_NS, StreamFaults
from restac_ros.nodes.drill.virtual_arm import VirtualArm
from restac_ros.nodes.source.patterns import pattern
from restac_ros.runtime.playback import Outgoing, read_stamp_ns, with_stamp

MS = 1_000_000
NOW = 10**18
DOWN = quat.from_rpy(np.array([3.1, 0.0, -0.4]))


@pytest.fixture(scope='module')
def contract(repository: Path) -> Contract:
    return load_contract(repository / 'config' / 'contract.yaml')


@pytest.fixture
def faults(contract: Contract) -> StreamFaults:
    return StreamFaults(contract)


def messages(contract: Contract, stream: str, count: int = 6) -> list[Outgoing]:
    cdr_at, topic = pattern(contract, stream), contract.streams[stream].topic
    return [Outgoing(i * MS, topic, with_stamp(cdr_at(i / 10), NOW + i * MS)) for i in range(count)]


def test_only_the_named_streams_are_broken_and_only_until_the_end(contract, faults) -> None:
    main, arm = messages(contract, 'main'), messages(contract, 'joints')
    faults.begin('missing', ['main'])
    assert [faults.apply(message) for message in main] == [None] * len(main)
    assert [faults.apply(message) for message in arm] == [message.cdr for message in arm]
    faults.end()
    assert [faults.apply(message) for message in main] == [message.cdr for message in main]


@pytest.mark.parametrize(
    ('kind', 'shift_ns'), [('late', -LATE_NS), ('clock ahead', JUMP_NS), ('clock back', -JUMP_NS)]
)
def test_stamps_are_moved_and_nothing_else(contract, faults, kind: str, shift_ns: int) -> None:
    faults.begin(kind, ['joints'])
    for message in messages(contract, 'joints'):
        found = faults.apply(message)
        assert read_stamp_ns(found) == read_stamp_ns(message.cdr) + shift_ns
        assert with_stamp(found, 7) == with_stamp(message.cdr, 7)


def test_frozen_is_the_first_content_with_new_stamps(contract, faults) -> None:
    sent = messages(contract, 'gelsight_left')
    faults.begin('frozen', ['gelsight_left'])
    found = [faults.apply(message) for message in sent]
    assert {with_stamp(cdr, 7) for cdr in found} == {with_stamp(sent[0].cdr, 7)}
    assert [read_stamp_ns(cdr) for cdr in found] == [read_stamp_ns(message.cdr) for message in sent]


def test_zero_stamps_and_every_other_message(contract, faults) -> None:
    sent = messages(contract, 'main')
    faults.begin('zero stamps', ['main'])
    assert [read_stamp_ns(faults.apply(message)) for message in sent] == [None] * len(sent)
    faults.begin('dropped', ['main'])
    assert [faults.apply(message) is None for message in sent] == [False, True] * 3


@pytest.mark.parametrize('stream', ['main', 'gelsight_left', 'joints', 'gripper'])
def test_what_is_re_encoded_cannot_be_read_by_this_contract(contract, faults, stream: str) -> None:
    faults.begin('re-encoded', [stream])
    message = messages(contract, stream, 1)[0]
    decode_value(contract, stream, message.cdr)
    with pytest.raises(DecodeError):
        decode_value(contract, stream, faults.apply(message))


def test_the_arm_is_where_it_was_sent(contract) -> None:
    """Through the very decoding and kinematics that the policy's frames go through."""
    arm = VirtualArm(contract)
    start = decode_value(contract, 'joints', arm.cdr('joints'))
    np.testing.assert_allclose(start[:3, 3], [0.5, 0.0, 0.4], atol=1e-4)
    position, turn = start[:3, 3].copy(), quat.from_matrix(start[:3, :3])
    for step in range(200):
        position += [0.0008, 0.0004 * np.cos(step / 30), -0.0004]
        turn = quat.normalise(quat.multiply(quat.from_rotvec(np.array([0.0, 0.002, 0.001])), turn))
        arm.follow(position, turn)
    found = decode_value(contract, 'joints', arm.cdr('joints'))
    np.testing.assert_allclose(found[:3, 3], position, atol=1e-4)
    gap = quat.difference(quat.from_matrix(found[:3, :3]), turn)
    np.testing.assert_allclose(gap, 0, atol=1e-3)
    assert arm.cdr('joints') != arm.cdr('joints'), 'an encoder has noise'


def test_the_arm_grips_and_has_no_eyes(contract) -> None:
    arm = VirtualArm(contract)
    arm.grip(0.03)
    assert decode_value(contract, 'gripper', arm.cdr('gripper')) == pytest.approx(0.03)
    assert arm.cdr('main') is None


def points(*positions: tuple[int, float]) -> list[SetPoint]:
    """(ms, x in m)."""
    return [SetPoint(ms * MS, np.array([x, 0.0, 0.3]), DOWN) for ms, x in positions]


def test_the_judge_sees_the_end_of_motion() -> None:
    assert last_motion_ns(points((0, 0.5), (10, 0.501), (20, 0.502), (30, 0.502), (40, 0.502))) == 20 * MS
    assert last_motion_ns(points((0, 0.5), (10, 0.5))) is None
    assert last_motion_ns([]) is None


def test_the_judge_adds_up_what_a_busy_machine_took() -> None:
    assert stalls_ns(points((0, 0), (10, 0), (24, 0), (134, 0)), 10 * MS) == 100 * MS


@pytest.mark.parametrize(
    ('found', 'words'),
    [
        (points((0, 0.5), (10, 0.5025), (20, 0.505)), []),
        (points((0, 0.5), (10, 0.504)), ['a step of 4.00 mm in 10.0 ms']),
        (points((0, 0.5), (1000, 0.76)), ['a step of 260.00 mm in 1000.0 ms']),
        (points((0, 0.1), (10, 0.1)), ['outside the workspace']),
        (points((0, float('nan'))), ['not finite']),
    ],
)  # fmt: skip
def test_the_judge_sees_what_must_not_be(contract, found: list[SetPoint], words: list[str]) -> None:
    said = violations(found, MotionLimits.from_contract(contract))
    assert len(said) == len(words)
    assert all(word in text for word, text in zip(words, said, strict=True))

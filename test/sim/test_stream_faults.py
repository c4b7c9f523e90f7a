"""Streams broken on purpose: each fault is what its name says, of the named streams, until it ends."""

from pathlib import Path

import pytest

pytest.importorskip('rclpy')
pytest.importorskip('restac_ros.msg', reason='the messages are not built: `make build`')

from restac_ros.contract.load import load_contract
from restac_ros.contract.schema import Contract
from restac_ros.framing.errors import DecodeError
from restac_ros.framing.stamp import read_stamp_ns, with_stamp
from restac_ros.framing.values import decode_value
from restac_ros.nodes.source.driver_messages import re_encoded
from restac_ros.nodes.source.patterns import pattern
from restac_ros.sim.stream_faults import JUMP_NS, LATE_NS, StreamFaults

MS = 1_000_000
NOW = 10**18


@pytest.fixture(scope='module')
def contract(repository: Path) -> Contract:
    return load_contract(repository / 'config' / 'contract.yaml')


@pytest.fixture
def faults(contract: Contract) -> StreamFaults:
    return StreamFaults(contract, lambda stream, cdr: re_encoded(contract, stream, cdr))


def messages(contract: Contract, stream: str, count: int = 6) -> list[bytes]:
    cdr_at = pattern(contract, stream)
    return [with_stamp(cdr_at(i / 10), NOW + i * MS) for i in range(count)]


def test_only_the_named_streams_are_broken_and_only_until_the_end(contract, faults) -> None:
    main, arm = messages(contract, 'main'), messages(contract, 'joints')
    faults.begin('missing', ['main'])
    assert [faults.apply('main', cdr) for cdr in main] == [None] * len(main)
    assert [faults.apply('joints', cdr) for cdr in arm] == arm
    faults.end()
    assert [faults.apply('main', cdr) for cdr in main] == main


@pytest.mark.parametrize(
    ('kind', 'shift_ns'), [('late', -LATE_NS), ('clock ahead', JUMP_NS), ('clock back', -JUMP_NS)]
)
def test_stamps_are_moved_and_nothing_else(contract, faults, kind: str, shift_ns: int) -> None:
    faults.begin(kind, ['joints'])
    for cdr in messages(contract, 'joints'):
        found = faults.apply('joints', cdr)
        assert read_stamp_ns(found) == read_stamp_ns(cdr) + shift_ns
        assert with_stamp(found, 7) == with_stamp(cdr, 7)


def test_frozen_is_the_first_content_with_new_stamps(contract, faults) -> None:
    sent = messages(contract, 'gelsight_left')
    faults.begin('frozen', ['gelsight_left'])
    found = [faults.apply('gelsight_left', cdr) for cdr in sent]
    assert {with_stamp(cdr, 7) for cdr in found} == {with_stamp(sent[0], 7)}
    assert [read_stamp_ns(cdr) for cdr in found] == [read_stamp_ns(cdr) for cdr in sent]


def test_zero_stamps_and_every_other_message(contract, faults) -> None:
    sent = messages(contract, 'main')
    faults.begin('zero stamps', ['main'])
    assert [read_stamp_ns(faults.apply('main', cdr)) for cdr in sent] == [None] * len(sent)
    faults.begin('dropped', ['main'])
    assert [faults.apply('main', cdr) is None for cdr in sent] == [False, True] * 3


@pytest.mark.parametrize('stream', ['main', 'gelsight_left', 'joints', 'gripper'])
def test_what_is_re_encoded_cannot_be_read_by_this_contract(contract, faults, stream: str) -> None:
    faults.begin('re-encoded', [stream])
    cdr = messages(contract, stream, 1)[0]
    decode_value(contract, stream, cdr)
    with pytest.raises(DecodeError):
        decode_value(contract, stream, faults.apply(stream, cdr))

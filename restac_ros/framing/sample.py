"""One received message, dated but not decoded: what live subscriptions and bags alike hand to the framer."""

import struct
from functools import cache
from typing import NamedTuple

from restac_ros.contract.schema import ArmJointsStream, Contract, GripperStream, Stream
from restac_ros.framing.errors import DecodeError
from restac_ros.framing.stamp import HEADER_BYTES, split_stamp

HEAD_BYTES = 16_384  # the times and, of joint states, the names: all that dating a sample needs
_LENGTH = {b'\x00\x00': struct.Struct('>I'), b'\x00\x01': struct.Struct('<I')}


class Sample(NamedTuple):
    """A message of one stream. `stamp_ns` is when it was captured, `receive_ns` when we had it.

    `zero_stamp` is set where the driver left its stamp unset, so that `stamp_ns` counts from receipt.
    """

    stream: str
    stamp_ns: int
    receive_ns: int
    cdr: bytes | memoryview
    zero_stamp: bool = False


def make_sample(contract: Contract, stream: str, cdr: bytes | memoryview, receive_ns: int) -> Sample | None:
    """Date one serialised message: its header's stamp, or its receipt, less the stream's declared latency.

    None for a joint state that names none of the stream's joints: it is another stream's message, as where
    arm and gripper publish on one topic.

    Raises:
        ContractError: the contract has no such stream.
        DecodeError: the bytes cannot be a stamped message.
    """
    spec = contract.stream(stream)
    try:
        seconds, nanoseconds = split_stamp(cdr)
    except ValueError as error:
        raise DecodeError(f'{spec.topic}: {error}, as of {spec.type}') from error
    if seconds < 0 or nanoseconds >= 10**9:
        found = f'{seconds} s + {nanoseconds} ns'
        raise DecodeError(f'{spec.topic}: header stamp {found} is no time; is the topic really {spec.type}?')
    if not belongs(spec, cdr):
        return None
    zero_stamp = seconds == 0 and nanoseconds == 0
    stamp_ns = receive_ns if zero_stamp else seconds * 10**9 + nanoseconds
    return Sample(stream, stamp_ns - spec.latency_ns, receive_ns, cdr, zero_stamp)


def belongs(spec: Stream, cdr: bytes | memoryview) -> bool:
    """Return whether a message is of this stream; of joint states, those that name one of its joints.

    True also for what cannot be read, which the decoder refuses. The names directly follow the header, each
    serialised as its length, its characters and a zero: searching for that costs a fraction of a microsecond,
    and a 1 kHz stream can bear it.
    """
    if not isinstance(spec, ArmJointsStream | GripperStream):
        return True
    endianness, content = bytes(cdr[:2]), bytes(cdr[:HEAD_BYTES])
    if endianness not in _LENGTH or len(content) < HEADER_BYTES + 4:
        return True
    begin = HEADER_BYTES + 4 + _LENGTH[endianness].unpack_from(content, HEADER_BYTES)[0]  # behind frame_id
    return begin > len(content) or any(
        content.find(name, begin) >= 0 for name in _encoded(endianness, spec.joints)
    )


@cache
def _encoded(endianness: bytes, names: tuple[str, ...]) -> tuple[bytes, ...]:
    """Strings as CDR holds them."""
    length = _LENGTH[endianness]
    return tuple(length.pack(len(name.encode()) + 1) + name.encode() + b'\0' for name in names)

"""One received message, dated but not decoded: what live subscriptions and bags alike hand to the framer."""

from typing import NamedTuple

from restac_ros.contract.schema import Contract
from restac_ros.framing.errors import DecodeError
from restac_ros.framing.stamp import split_stamp


class Sample(NamedTuple):
    """A message of one stream. `stamp_ns` is when it was captured, `receive_ns` when we had it.

    `zero_stamp` tells that the driver left its stamp unset, so that `stamp_ns` counts from receipt.
    """

    stream: str
    stamp_ns: int
    receive_ns: int
    cdr: bytes | memoryview
    zero_stamp: bool = False


def make_sample(contract: Contract, stream: str, cdr: bytes | memoryview, receive_ns: int) -> Sample:
    """Date one serialised message: its header's stamp, or its receipt, less the stream's declared latency.

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
    zero_stamp = seconds == 0 and nanoseconds == 0
    stamp_ns = receive_ns if zero_stamp else seconds * 10**9 + nanoseconds
    return Sample(stream, stamp_ns - spec.latency_ns, receive_ns, cdr, zero_stamp)

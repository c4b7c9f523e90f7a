"""Faults of drivers, applied to a stream message by message."""

from collections.abc import Callable, Collection
from typing import Literal

from restac_ros.contract.schema import Contract
from restac_ros.framing.stamp import read_stamp_ns, with_stamp

StreamFault = Literal[
    'missing',  # nothing is published
    'late',  # captured `LATE_NS` before it comes
    'frozen',  # the same content again and again, with new stamps
    'zero stamps',  # the driver leaves them unset
    're-encoded',  # an image in an encoding that the contract doesn't declare, joints of another name
    'dropped',  # every other message is lost
    'clock ahead',  # stamps of another machine's clock
    'clock back',
]
LATE_NS = 1_000_000_000
JUMP_NS = 5_000_000_000
_SHIFTS_NS = {'late': -LATE_NS, 'clock ahead': JUMP_NS, 'clock back': -JUMP_NS}


class StreamFaults:
    """Applies at most one fault at a time, to some streams of any source.

    `re_encode` changes a message of a stream so that it contradicts the contract.
    """

    def __init__(self, contract: Contract, re_encode: Callable[[str, bytes], bytes]) -> None:
        self._contract = contract
        self._re_encode = re_encode
        self._kind: StreamFault | None = None
        self._streams: frozenset[str] = frozenset()
        self._held: dict[str, bytes] = {}
        self._counts: dict[str, int] = {}

    def begin(self, kind: StreamFault, streams: Collection[str]) -> None:
        """Begin a fault of `streams`."""
        for name in streams:
            self._contract.stream(name)
        self._held, self._counts = {}, {}
        self._streams = frozenset(streams)
        self._kind = kind

    def end(self) -> None:
        """End the fault."""
        self._kind = None

    def apply(self, stream: str, cdr: bytes) -> bytes | None:
        """Return the message to publish in place of a stream's message; None for none."""
        if self._kind is None or stream not in self._streams:
            return cdr
        match self._kind:
            case 'missing':
                return None
            case 'dropped':
                count = self._counts[stream] = self._counts.get(stream, 0) + 1
                return cdr if count % 2 else None
            case 'zero stamps':
                return with_stamp(cdr, 0)
            case 'frozen':
                return with_stamp(self._held.setdefault(stream, cdr), read_stamp_ns(cdr) or 0)
            case 're-encoded':
                return self._re_encode(stream, cdr)
        return with_stamp(cdr, (read_stamp_ns(cdr) or 0) + _SHIFTS_NS[self._kind])

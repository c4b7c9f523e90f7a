"""Streams broken on purpose, message by message, as drivers break them on bad days."""

from collections.abc import Collection
from typing import Literal

from rclpy.serialization import deserialize_message, serialize_message

from restac_ros.contract.schema import Contract
from restac_ros.nodes.subscriptions import message_class
from restac_ros.runtime.playback import Outgoing, read_stamp_ns, with_stamp

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
OTHER_ENCODING = '16UC1'  # a depth image on a colour topic


class StreamFaults:
    """At most one fault at a time, of some streams. `apply` is called by the thread that publishes."""

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self._types = {spec.topic: spec.type for spec in contract.streams.values()}
        self._kind: StreamFault | None = None
        self._topics: frozenset[str] = frozenset()
        self._held: dict[str, bytes] = {}
        self._counts: dict[str, int] = {}

    def begin(self, kind: StreamFault, streams: Collection[str]) -> None:
        """From now on `streams` are broken in this way."""
        self._held, self._counts = {}, {}
        self._topics = frozenset(self._contract.stream(name).topic for name in streams)
        self._kind = kind

    def end(self) -> None:
        """Everything is well again."""
        self._kind = None

    def apply(self, message: Outgoing) -> bytes | None:
        """What is to be published in place of `message`; None for nothing."""
        topic, cdr = message.topic, message.cdr
        if self._kind is None or topic not in self._topics:
            return cdr
        match self._kind:
            case 'missing':
                return None
            case 'dropped':
                count = self._counts[topic] = self._counts.get(topic, 0) + 1
                return cdr if count % 2 else None
            case 'zero stamps':
                return with_stamp(cdr, 0)
            case 'frozen':
                return with_stamp(self._held.setdefault(topic, cdr), read_stamp_ns(cdr) or 0)
            case 're-encoded':
                return self._re_encoded(topic, cdr)
        return with_stamp(cdr, (read_stamp_ns(cdr) or 0) + _SHIFTS_NS[self._kind])

    def _re_encoded(self, topic: str, cdr: bytes) -> bytes:
        message = deserialize_message(cdr, message_class(self._types[topic]))
        if hasattr(message, 'encoding'):
            message.encoding = OTHER_ENCODING
        elif hasattr(message, 'format'):
            message.format, message.data = 'none', b''
        elif hasattr(message, 'name'):
            message.name = [f'other_{name}' for name in message.name]
        else:
            message.header.frame_id = 'elsewhere'
        return serialize_message(message)

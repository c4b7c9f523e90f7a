"""Header stamps of serialised messages, read and written without deserialising anything.

Every message type in a contract begins with std_msgs/Header, whose stamp directly follows the four bytes of
the CDR encapsulation (OMG DDSI-RTPS 2.3, 10.2).
"""

import struct

_LAYOUTS = {b'\x00\x00': struct.Struct('>iI'), b'\x00\x01': struct.Struct('<iI')}
_OFFSET = 4
HEADER_BYTES = 12  # encapsulation and stamp


def split_stamp(cdr: bytes | memoryview) -> tuple[int, int]:
    """Return seconds and nanoseconds of a message's header, unchecked.

    Raises:
        ValueError: the bytes cannot be a message that begins with a header.
    """
    layout = _LAYOUTS.get(bytes(cdr[:2]))
    if layout is None or len(cdr) < HEADER_BYTES:
        raise ValueError(
            f'found {len(cdr)} bytes beginning {bytes(cdr[:4]).hex(" ")}; expected CDR with a header'
        )
    seconds, nanoseconds = layout.unpack_from(cdr, _OFFSET)
    return seconds, nanoseconds


def read_stamp_ns(cdr: bytes | memoryview) -> int | None:
    """Header stamp of a message; None when it is unset (zero). Raises as `split_stamp`."""
    seconds, nanoseconds = split_stamp(cdr)
    return seconds * 10**9 + nanoseconds or None


def with_stamp(cdr: bytes, stamp_ns: int) -> bytes:
    """The same message with another header stamp."""
    layout = _LAYOUTS[bytes(cdr[:2])]
    return b''.join((cdr[:_OFFSET], layout.pack(*divmod(stamp_ns, 10**9)), cdr[HEADER_BYTES:]))

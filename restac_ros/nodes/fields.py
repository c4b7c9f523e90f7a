"""Conversion of values to message fields, clipped to the range of the field."""

from builtin_interfaces.msg import Time

LAST_NS = (2**31 - 1) * 10**9 + 999_999_999  # the largest stamp that a message can hold
LAST_UNSIGNED = 2**64 - 1


def stamp(time_ns: int) -> Time:
    """Return a stamp in ns since 1970 as a message, the nearest one that a message can hold."""
    seconds, nanoseconds = divmod(min(max(time_ns, 0), LAST_NS), 10**9)
    return Time(sec=seconds, nanosec=nanoseconds)


def stamp_as_ns(time: Time) -> int:
    """Return a message's stamp in ns since 1970."""
    return time.sec * 10**9 + time.nanosec


def unsigned(value: int) -> int:
    """Return the nearest number that a uint64 field can hold: for counts, ages and durations."""
    return min(max(int(value), 0), LAST_UNSIGNED)

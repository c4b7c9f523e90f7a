"""Plain values -> fields of messages; the one place where a value is kept inside the range of its field."""

from builtin_interfaces.msg import Time

LAST_NS = (2**31 - 1) * 10**9 + 999_999_999  # the largest stamp that a message can hold
LAST_UNSIGNED = 2**64 - 1


def stamp(time_ns: int) -> Time:
    """Return a stamp in ns since 1970 as a message; what lies outside its range becomes the nearest inside."""
    seconds, nanoseconds = divmod(min(max(time_ns, 0), LAST_NS), 10**9)
    return Time(sec=seconds, nanosec=nanoseconds)


def stamp_ns(time: Time) -> int:
    """Return a message's stamp in ns since 1970."""
    return time.sec * 10**9 + time.nanosec


def unsigned(value: int) -> int:
    """Return a count, an age or a duration for a uint64 field; what lies outside becomes the nearest inside."""
    return min(max(int(value), 0), LAST_UNSIGNED)

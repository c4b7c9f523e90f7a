"""Errors of decoding."""


class DecodeError(ValueError):
    """A message cannot be read as its contract says; the text names topic, finding, expectation, remedy."""


class UnsupportedError(DecodeError):
    """A whole message of a kind that no message of this stream may be: every other will be refused alike."""

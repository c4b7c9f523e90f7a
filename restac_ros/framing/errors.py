"""Why a message has no value."""


class DecodeError(ValueError):
    """A message cannot be read as its contract says; the text names topic, finding, expectation, remedy."""

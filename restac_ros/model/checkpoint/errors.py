"""The one error of this package."""


class CheckpointError(ValueError):
    """A checkpoint that cannot be read, written or used; the message names file, fault and remedy."""

"""What the network refuses, apart from the network: whoever catches it need not load JAX."""


class ObservationError(ValueError):
    """An input that the policy refuses; the message names the field, what was found and what was expected."""

"""Why a policy refuses to load or to act."""

from restac_ros.model.errors import ObservationError


class PolicyError(ValueError):
    """A policy that cannot run as asked; the message names what, what was found, expected, and a remedy."""


class NonFiniteError(PolicyError):
    """A stage of the network gave NaN or infinity; nothing of that call may be used."""


CALL_REFUSED = (PolicyError, ObservationError)
"""What the policy's three calls raise where they give no result."""

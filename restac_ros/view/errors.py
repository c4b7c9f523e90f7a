"""Why something cannot be drawn."""


class ViewError(ValueError):
    """A message cannot be drawn truthfully; the text names finding, expectation and remedy."""

"""Errors of training that a user can mend."""


class TrainingError(ValueError):
    """Data, configuration or checkpoints that cannot be trained on; the message names what to change."""

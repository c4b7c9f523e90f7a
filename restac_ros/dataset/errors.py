"""Errors of recordings and data sets; every message names the file, what was found and the remedy."""


class BagError(ValueError):
    """A bag cannot be read, or is not what its reader needs."""


class JournalError(RuntimeError):
    """A recording cannot be started, continued, closed or recovered."""


class ConversionError(ValueError):
    """A bag holds no episode that could be labelled truthfully."""


class DatasetError(ValueError):
    """An episode cannot be appended to a data set, or the data set is not in the state it claims."""


class EngineError(RuntimeError):
    """Recordings cannot be converted where it was asked for: a worker died, or there is no such cluster."""

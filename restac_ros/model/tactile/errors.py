"""What the tactile layer raises; every message names the thing, what was found and what was expected."""


class TactileConfigError(ValueError):
    """A configuration that cannot describe an encoder."""


class TactileInputError(ValueError):
    """An input that an encoder must not guess about."""


class TactileFileError(ValueError):
    """A checkpoint that was refused or is damaged."""


class TactileCheckpointError(TactileFileError):
    """A readable checkpoint that is not a Unit-Align of the sizes it states; nothing is loaded from it."""

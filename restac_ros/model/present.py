"""Values that some policies lack and others cannot do without."""


def present[T](value: T | None, name: str) -> T:
    """Return `value`.

    Raises:
        ValueError: it is None, which only a policy that does not read it may be given.
    """
    if value is None:
        raise ValueError(f'{name}: found None, expected an array: this policy reads it')
    return value

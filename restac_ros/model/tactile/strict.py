"""Base of the frozen configuration dataclasses: strict JSON form and checks that name the field."""

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, Self

from restac_ros.model.tactile.errors import TactileConfigError

RETIRED: dict[str, Any] = {'torchscript_sha256': None, 'restart_below': 0.0}
"""Options that were removed, each with the value by which checkpoints record that it was not used."""


@dataclasses.dataclass(frozen=True)
class StrictConfig:
    """JSON form of a frozen dataclass: tuples become lists; unknown, missing or mistyped keys raise."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain dicts, lists and scalars, ready for `json.dumps`."""
        return _plain(dataclasses.asdict(self))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], where: str = '') -> Self:
        """Rebuild from `to_dict`'s result. `where` prefixes the field names in messages.

        Raises:
            TactileConfigError: unknown or missing key, wrong type, or a value out of range.
        """
        where = where or cls.__name__
        if not isinstance(data, Mapping):
            raise TactileConfigError(f'{where}: expected a mapping, found {type(data).__name__}')
        data = {key: value for key, value in data.items() if key not in RETIRED or value != RETIRED[key]}
        names = [field.name for field in dataclasses.fields(cls)]
        unknown = sorted(set(data) - set(names))
        missing = [name for name in names if name not in data]
        if unknown or missing:
            found = f'unknown keys {unknown}, missing keys {missing}'
            raise TactileConfigError(f'{where}: {found}; known: {names}')
        hints = typing.get_type_hints(cls)
        return cls(**{name: _typed(data[name], hints[name], f'{where}.{name}') for name in names})


def check(ok: bool, config: Any, field: str, expected: str) -> None:
    """Raise TactileConfigError naming `field` and its value, unless `ok`."""
    if not ok:
        found = getattr(config, field)
        raise TactileConfigError(f'{type(config).__name__}.{field}: found {found!r}, expected {expected}')


def check_positive(config: Any, *fields: str) -> None:
    """Raise unless every field is above zero."""
    for field in fields:
        check(getattr(config, field) > 0, config, field, 'a positive number')


def check_rate(config: Any, field: str) -> None:
    """Raise unless the field is in [0, 1)."""
    check(0 <= getattr(config, field) < 1, config, field, 'at least 0 and below 1')


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _typed(value: Any, hint: Any, where: str) -> Any:
    """Return `value` as the annotated type, or raise: no coercion but list to tuple and int to float."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        ok = value in args and isinstance(value, str)
    elif origin in (types.UnionType, typing.Union):
        options = [option for option in args if option is not type(None)]
        return None if value is None else _typed(value, options[0], where)
    elif origin is tuple:
        if not isinstance(value, list | tuple) or (args[-1] is not ... and len(value) != len(args)):
            raise TactileConfigError(f'{where}: found {value!r}, expected a list like {hint}')
        return tuple(_typed(item, args[0], f'{where}[{i}]') for i, item in enumerate(value))
    elif isinstance(hint, type) and issubclass(hint, StrictConfig):
        return hint.from_dict(value, where)
    elif hint is float:
        ok = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        value = float(value) if ok else value
    else:
        ok = type(value) is hint
    if not ok:
        raise TactileConfigError(f'{where}: found {value!r}, expected {getattr(hint, "__name__", hint)}')
    return value

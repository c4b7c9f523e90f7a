"""Settings that an earlier version stored, completed by the fields that it did not know."""

import json
import typing
from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict, fields, is_dataclass
from typing import Any

from restac_ros.model.config import ModelConfig
from restac_ros.model.tactile.config import TactileConfig
from restac_ros.training.config import TrainConfig
from restac_ros.training.tactile.config import CodebookConfig

_KINDS = {'model': ModelConfig, 'network': TactileConfig, 'codebook': CodebookConfig}
"""What `TrainConfig` has no field for, by the names under which runs store it."""


_UNKNOWN_BEFORE = ('selection', 'init_content', 'unit_align_content', 'tokenizer_content', 'statistics')
"""Digests of content, which runs of earlier versions did not store: there is nothing to compare."""


def completed_settings(stored: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return stored settings of a run, those that are asked for but absent at their defaults.

    A default means what a version without the field did: such a run was begun with it.

    Args:
        stored: as JSON gives them.
        asked: those of now, as JSON gives them.
    """
    found = _completed(stored, asked, TrainConfig)
    for name, kind in _KINDS.items():
        if isinstance(found.get(name), Mapping) and isinstance(asked.get(name), Mapping):
            found[name] = _completed(found[name], asked[name], kind)
    return {name: asked[name] for name in _UNKNOWN_BEFORE if name in asked} | found


def _completed(stored: Mapping[str, Any], asked: Mapping[str, Any], kind: type) -> dict[str, Any]:
    hints, found = typing.get_type_hints(kind), dict(stored)
    for field in fields(kind):
        name = field.name
        if name not in asked:
            continue
        inner = _dataclass_in(hints[name])
        if name not in found:
            found |= _default(field)
        elif inner and isinstance(found[name], Mapping) and isinstance(asked[name], Mapping):
            found[name] = _completed(found[name], asked[name], inner)
    return found


def _default(field: Field[Any]) -> dict[str, Any]:
    """The field's default by its name, as JSON gives it; empty for a field that is required."""
    value = field.default if field.default_factory is MISSING else field.default_factory()
    if value is MISSING:
        return {}
    plain = asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
    return {field.name: json.loads(json.dumps(plain))}


def _dataclass_in(hint: Any) -> type | None:
    """The dataclass that a field's type is, or that stands beside None in it."""
    choices = (hint, *typing.get_args(hint))
    return next((one for one in choices if isinstance(one, type) and is_dataclass(one)), None)

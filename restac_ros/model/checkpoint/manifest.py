"""Manifests: what a directory of ours holds, which libraries wrote it, and JSON files of bounded size."""

import importlib.metadata
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from restac_ros.git_lfs import what_it_is
from restac_ros.model.checkpoint.errors import CheckpointError
from restac_ros.model.checkpoint.files import inventory, read_small

MAX_JSON_BYTES = 16 << 20
_VERSIONED = ('jax', 'flax', 'orbax-checkpoint', 'numpy')


def write_manifest(path: Path, form: str, version: int, about: Mapping[str, Any]) -> None:
    """Write the last file of a new directory: format, size and checksum of every other file, `about`."""
    files = inventory(path.parent, skip=path.name)
    write_json_object(path, {'format': form, 'format_version': version, 'files': files, **about})


def read_manifest(path: Path, form: str, version: int) -> dict[str, Any]:
    """Read a manifest that `write_manifest` wrote with 'versions' and 'origin' in `about`.

    Raises:
        CheckpointError: another format or version, or damaged.
    """
    manifest = read_json_object(path)
    found = (manifest.get('format'), manifest.get('format_version'))
    if found != (form, version):
        raise CheckpointError(
            f'{path}: format {found[0]!r} version {found[1]!r}; expected {form!r} version '
            f'{version}. Update restac_ros to read newer checkpoints'
        )
    well_formed = all(isinstance(manifest.get(key), dict) for key in ('files', 'versions', 'origin')) and all(
        isinstance(entry, dict) and {'size', 'crc32'} <= entry.keys() for entry in manifest['files'].values()
    )
    if not well_formed:
        raise CheckpointError(f'{path}: damaged: files, versions or origin are not as written')
    return manifest


def current_versions() -> dict[str, str]:
    """Versions of this package and of the libraries that decide what a checkpoint means."""
    versions = {name: importlib.metadata.version(name) for name in _VERSIONED}
    try:
        versions['restac_ros'] = importlib.metadata.version('restac_ros')
    except importlib.metadata.PackageNotFoundError:
        versions['restac_ros'] = 'source tree'
    return versions


def read_json_object(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        CheckpointError: absent, too large, or no JSON object.
    """
    try:
        value = json.loads(read_small(path, MAX_JSON_BYTES))
    except ValueError as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(
            f'{path}: not readable JSON: {error} ({what_it_is(path)}). Copy the checkpoint again'
        ) from error
    if not isinstance(value, dict):
        raise CheckpointError(f'{path}: found a JSON {type(value).__name__}, expected an object')
    return value


def write_json_object(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object with sorted keys; NaN is refused."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + '\n', encoding='utf-8')

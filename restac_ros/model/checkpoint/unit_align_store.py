"""A trained Unit-Align of ours: a directory of parameters and sizes, read without PyTorch.

- `params/`: orbax
- `tactile_config.json`: TactileConfig
- `unit_align.json`: format, versions, origin, health, and size and checksum of every other file
"""

from collections.abc import Mapping
from pathlib import Path

from flax import nnx

from restac_ros.model.checkpoint.errors import CheckpointError
from restac_ros.model.checkpoint.files import replaced_directory, verify
from restac_ros.model.checkpoint.manifest import (
    current_versions,
    read_json_object,
    read_manifest,
    write_json_object,
    write_manifest,
)
from restac_ros.model.checkpoint.network import check_leaves, to_params
from restac_ros.model.checkpoint.orbax_layout import OrbaxParams, write_orbax
from restac_ros.model.checkpoint.params import Params
from restac_ros.model.checkpoint.provenance import Origin
from restac_ros.model.tactile.config import TactileConfig
from restac_ros.model.tactile.errors import TactileConfigError
from restac_ros.model.tactile.unit_align import UnitAlign

UNIT_ALIGN_MANIFEST = 'unit_align.json'
_FORMAT, _FORMAT_VERSION = 'restac_ros unit_align', 1
_CONFIG, _PARAMS = 'tactile_config.json', 'params'


def save_unit_align(
    path: Path, config: TactileConfig, params: Params, origin: Origin, health: Mapping[str, float]
) -> None:
    """Write a directory; it appears complete or not at all, in place of one that is there.

    Args:
        path: directory.
        config: sizes.
        params: every leaf of the UnitAlign by slash-joined name.
        origin: how it was trained.
        health: what was measured at the end of its training.

    Raises:
        CheckpointError: a value cannot be stored.
    """
    with replaced_directory(path) as partial:
        write_orbax(partial / _PARAMS, params)
        write_json_object(partial / _CONFIG, config.to_dict())
        about = {'origin': origin.to_dict(), 'health': dict(health), 'versions': current_versions()}
        write_manifest(partial / UNIT_ALIGN_MANIFEST, _FORMAT, _FORMAT_VERSION, about)


def read_unit_align(path: Path) -> tuple[TactileConfig, Params]:
    """Return sizes and leaves of a directory that `save_unit_align` wrote.

    Raises:
        CheckpointError: another directory, incomplete or damaged; the message names the file.
    """
    path = Path(path).absolute()
    if not (path / UNIT_ALIGN_MANIFEST).is_file():
        raise CheckpointError(
            f'{path}: found no {UNIT_ALIGN_MANIFEST}, expected the unit_align directory of a run of '
            "`restac-ros train-tactile`, a policy's checkpoint, or a Lightning checkpoint file"
        )
    manifest = read_manifest(path / UNIT_ALIGN_MANIFEST, _FORMAT, _FORMAT_VERSION)
    verify(path, manifest['files'], checksums=True)
    try:
        config = TactileConfig.from_dict(read_json_object(path / _CONFIG), _CONFIG)
    except TactileConfigError as error:
        raise CheckpointError(f'{path}: {error}') from error
    stored = OrbaxParams(path / _PARAMS)
    state = nnx.split(nnx.eval_shape(lambda: UnitAlign(config, nnx.Rngs(0))))[1]
    expected = {name: leaf.shape for name, leaf in to_params(state).items()}
    check_leaves(expected, stored.shapes, source=str(path), stated_by=_CONFIG)
    return config, stored.read()

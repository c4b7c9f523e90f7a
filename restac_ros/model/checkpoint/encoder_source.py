"""Reads a tactile encoder wherever one is stored: a training's directory, a policy, a Lightning file."""

from dataclasses import replace
from pathlib import Path

from flax import nnx

from restac_ros.model.checkpoint.errors import CheckpointError
from restac_ros.model.checkpoint.network import TACTILE_PART, to_params
from restac_ros.model.checkpoint.orbax_layout import OrbaxParams
from restac_ros.model.checkpoint.params import Params
from restac_ros.model.checkpoint.store import MANIFEST, PARAMS, load_info
from restac_ros.model.checkpoint.unit_align_store import read_unit_align
from restac_ros.model.tactile.config import TactileConfig


def unit_align_params(path: Path) -> tuple[TactileConfig, Params]:
    """Sizes and leaves (as parts of a policy) of a Unit-Align encoder.

    Args:
        path: directory that `train-tactile` wrote, checkpoint of a policy that has one, or a Lightning
            checkpoint file.

    Raises:
        CheckpointError: a policy without one, see `load_info` and `read_unit_align`.
        TactileCheckpointError, TactileFileError: see `load_unit_align`.
    """
    if (path / MANIFEST).is_file():
        return _of_policy(path)
    if path.is_dir():
        config, leaves = read_unit_align(path)
    else:
        from restac_ros.model.tactile.unit_align_checkpoint import load_unit_align

        encoder, _ = load_unit_align(path)
        config, leaves = encoder.config, to_params(nnx.state(encoder))
    return config, {f'{TACTILE_PART}/{name}': leaf for name, leaf in leaves.items()}


def _of_policy(path: Path) -> tuple[TactileConfig, Params]:
    config = load_info(path).config.tactile
    if config is None or config.trains:
        found = 'no tactile encoder' if config is None else f'an encoder of kind {config.kind!r}'
        raise CheckpointError(f'{path}: found a policy with {found}, expected one with a trained Unit-Align')
    stored = OrbaxParams(path / PARAMS)
    names = [name for name in stored.shapes if name.startswith(f'{TACTILE_PART}/')]
    # Whether a policy leaves out the codes is its run's choice, not the encoder's.
    return replace(config, kind='unit_align'), stored.read(names)

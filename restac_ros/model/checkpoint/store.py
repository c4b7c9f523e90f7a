"""Our own checkpoint: one directory with everything a policy needs to run.

- `params/`: orbax, in openpi's layout (openpi can read it)
- `assets/restac_ros/norm_stats.json`: normalisation statistics, in openpi's layout
- `model_config.json`: ModelConfig
- `contract.yaml`: the contract the weights were trained under
- `calibration.json`: what was measured for the gate (mean and standard deviation of logvar)
- `tokenizer.model`: SentencePiece file, optional
- `action_tokens/`: the FAST tokenizer of a network that generates actions by one
- `checkpoint.json`: format, versions, origin, and size and checksum of every other file
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from restac_ros.model.checkpoint.errors import CheckpointError
from restac_ros.model.checkpoint.files import new_directory, read_small, replaced_directory, verify
from restac_ros.model.checkpoint.int8_leaves import check_scales, with_scales, without_scales
from restac_ros.model.checkpoint.manifest import (
    MAX_JSON_BYTES,
    current_versions,
    read_json_object,
    read_manifest,
    write_json_object,
    write_manifest,
)
from restac_ros.model.checkpoint.network import check_leaves, leaf_shapes
from restac_ros.model.checkpoint.orbax_layout import OrbaxParams, write_orbax
from restac_ros.model.checkpoint.params import AS_STORED, CastRule, Leaf, Params
from restac_ros.model.checkpoint.provenance import GateCalibration, Origin
from restac_ros.model.config import ModelConfig
from restac_ros.model.tactile.errors import TactileConfigError

FORMAT = 'restac_ros checkpoint'
_FORMAT_VERSION = 1
MANIFEST = 'checkpoint.json'
CONFIG = 'model_config.json'
CONTRACT = 'contract.yaml'
CALIBRATION = 'calibration.json'
TOKENIZER = 'tokenizer.model'
ACTION_TOKENS = 'action_tokens'
NORM_STATS = 'assets/restac_ros/norm_stats.json'
PARAMS = 'params'

_LOGVAR = 'logvar'  # entry of calibration.json
_MAX_CONTRACT_BYTES = 1 << 20
_MAX_TOKENIZER_BYTES = 64 << 20


@dataclass(frozen=True)
class CheckpointInfo:
    """Everything of a checkpoint but its parameters.

    Attributes:
        config: the model's sizes and switches.
        contract_text: YAML of the robot contract the weights were trained under.
        norm_stats: openpi's JSON layout, {'norm_stats': {'state': {'q01': [...], ...}, 'actions': ...}}.
        calibration: what was measured for the gate; None for a model without one, or not measured.
        tokenizer: SentencePiece model, where the checkpoint brings its own.
        action_tokens: contents of the files of a FAST tokenizer, by name.
        origin: how it was made.
        versions: of this package and of the libraries that wrote it.
    """

    config: ModelConfig
    contract_text: str
    norm_stats: Mapping[str, Any]
    origin: Origin
    calibration: GateCalibration | None = None
    tokenizer: bytes | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    action_tokens: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint in memory. `params` maps leaf names to arrays."""

    path: Path
    info: CheckpointInfo
    params: Params

    @classmethod
    def on_device(cls, path: Path, info: CheckpointInfo) -> 'Checkpoint':
        """Read the parameters of a checkpoint, whose files `load_info` has checked, onto the device.

        Raises:
            CheckpointError: as `load_params`.
        """
        return cls(path, info, load_params(path, info.config, consume=jax.device_put))


def save_checkpoint(path: Path, params: Params, info: CheckpointInfo, *, replace: bool = False) -> None:
    """Write a checkpoint directory; it appears complete or not at all.

    Args:
        path: directory to make.
        params: every leaf.
        info: everything else.
        replace: put it in the place of one that is there.

    Raises:
        CheckpointError: `path` exists and is not to be replaced, or a value cannot be stored.
    """
    with replaced_directory(path) if replace else new_directory(path) as partial:
        write_orbax(partial / PARAMS, with_scales(params))
        write_json_object(partial / CONFIG, info.config.to_dict())
        write_json_object(partial / NORM_STATS, info.norm_stats)
        calibration = info.calibration
        write_json_object(partial / CALIBRATION, {_LOGVAR: calibration.to_dict()} if calibration else {})
        (partial / CONTRACT).write_text(info.contract_text, encoding='utf-8')
        if info.tokenizer is not None:
            (partial / TOKENIZER).write_bytes(info.tokenizer)
        for name, content in info.action_tokens.items():
            (partial / ACTION_TOKENS).mkdir(exist_ok=True)
            (partial / ACTION_TOKENS / name).write_bytes(content)
        about = {'origin': info.origin.to_dict(), 'versions': dict(info.versions) or current_versions()}
        write_manifest(partial / MANIFEST, FORMAT, _FORMAT_VERSION, about)


def load_info(path: Path, *, checksums: bool = True) -> CheckpointInfo:
    """Read everything but the parameters, after checking that every file is complete.

    Args:
        path: the checkpoint directory.
        checksums: also compare the contents of the parameters, which reads gigabytes; their sizes, and all
            other files, are always compared.

    Raises:
        CheckpointError: no checkpoint of ours, of another format version, incomplete or damaged; the
            message names the file.
    """
    path = Path(path).absolute()
    manifest = _read_manifest(path)
    for name, expected in manifest['files'].items():
        verify(path, {name: expected}, checksums=checksums or not name.startswith(f'{PARAMS}/'))
    try:
        config = ModelConfig.from_dict(read_json_object(path / CONFIG), f'{CONFIG}: model')
        origin = Origin.from_stored(manifest['origin'], f'{MANIFEST}: origin')
        measured = read_json_object(path / CALIBRATION).get(_LOGVAR)
        calibration = (
            GateCalibration.from_stored(measured, f'{CALIBRATION}: {_LOGVAR}')
            if measured is not None
            else None
        )
    except TactileConfigError as error:
        raise CheckpointError(f'{path}: {error}') from error
    has_tokenizer = TOKENIZER in manifest['files']
    return CheckpointInfo(
        config=config,
        contract_text=read_small(path / CONTRACT, _MAX_CONTRACT_BYTES).decode('utf-8'),
        norm_stats=read_json_object(path / NORM_STATS),
        origin=origin,
        calibration=calibration,
        tokenizer=read_small(path / TOKENIZER, _MAX_TOKENIZER_BYTES) if has_tokenizer else None,
        versions=manifest['versions'],
        action_tokens={
            name.removeprefix(f'{ACTION_TOKENS}/'): read_small(path / name, _MAX_TOKENIZER_BYTES)
            for name in manifest['files']
            if name.startswith(f'{ACTION_TOKENS}/')
        },
    )


def checkpoint_fingerprint(path: Path) -> str:
    """First 12 hex digits of the manifest's SHA-256; the manifest holds the checksums of all other files.

    Raises:
        CheckpointError: no checkpoint of ours.
    """
    _read_manifest(path)
    return hashlib.sha256(read_small(path / MANIFEST, MAX_JSON_BYTES)).hexdigest()[:12]


class StoredParams:
    """The parameters of a checkpoint whose files `load_info` has checked, opened but not read.

    Those stored as 8-bit integers stay so; with `integer_products` they are multiplied as integers, too.

    Raises:
        CheckpointError: leaves that are not those of `config`.
    """

    def __init__(
        self, path: Path, config: ModelConfig, *, cast: CastRule = AS_STORED, integer_products: bool = False
    ) -> None:
        self._stored, self._cast, self._integer_products = OrbaxParams(path / PARAMS), cast, integer_products
        self.source = str(self._stored.directory)
        scales = check_scales(self._stored.arrays, self.source)
        shapes = {name: shape for name, shape in self._stored.shapes.items() if name not in scales}
        check_leaves(leaf_shapes(config), shapes, source=self.source)

    @property
    def shapes(self) -> Params:
        """Every leaf as a `jax.ShapeDtypeStruct`, which serves wherever nothing is computed."""
        shapes: dict[str, Any] = {
            name: jax.ShapeDtypeStruct(array.shape, self._cast(name, array.dtype))
            for name, array in self._stored.arrays.items()
        }
        return without_scales(shapes, integer_products=self._integer_products)

    def read(self, consume: Callable[[np.ndarray], Leaf] | None = None) -> Params:
        """Return every leaf; `consume` is applied to each as it arrives, such as a transfer to the device.

        Raises:
            CheckpointError: unreadable content.
        """
        params = self._stored.read(cast=self._cast, consume=consume)
        return without_scales(params, integer_products=self._integer_products)


def load_params(
    path: Path,
    config: ModelConfig,
    *,
    cast: CastRule = AS_STORED,
    consume: Callable[[np.ndarray], Leaf] | None = None,
) -> Params:
    """Read the parameters of a checkpoint; see `StoredParams`.

    Raises:
        CheckpointError: leaves that are not those of `config` (before any is read), or unreadable ones.
    """
    return StoredParams(path, config, cast=cast).read(consume)


def _read_manifest(path: Path) -> dict[str, Any]:
    if not path.is_dir():
        raise CheckpointError(
            f'{path}: no such checkpoint directory. Make one with '
            f"'restac-ros init-checkpoint --preset tiny --to {path}', or give the path of a trained one"
        )
    if not (path / MANIFEST).is_file():
        raise CheckpointError(
            f'{path}: no {MANIFEST} here, so this is not a checkpoint of restac_ros. Weights of openpi and '
            "LeRobot are converted with 'restac-ros import-checkpoint'"
        )
    return read_manifest(path / MANIFEST, FORMAT, _FORMAT_VERSION)

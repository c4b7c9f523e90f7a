"""The encoder that a configuration describes."""

from pathlib import Path

from flax import nnx

from restac_ros.model.tactile.cnn import CnnEncoder
from restac_ros.model.tactile.config import TactileConfig
from restac_ros.model.tactile.errors import TactileConfigError
from restac_ros.model.tactile.interface import TactileEncoder
from restac_ros.model.tactile.torchscript import TorchScriptEncoder
from restac_ros.model.tactile.unit_align import UnitAlign


def make_tactile_encoder(
    config: TactileConfig,
    rngs: nnx.Rngs,
    *,
    torchscript_path: Path | None = None,
    trust_torchscript: bool = False,
) -> TactileEncoder:
    """Return a freshly initialised encoder; kind 'torchscript' opens its file instead.

    `trust_torchscript` says that the code in `torchscript_path` may be executed. It comes from whoever
    starts the program, never from a checkpoint.

    Raises:
        TactileConfigError: kind 'torchscript' without a path, or a path for another kind.
        UntrustedTorchScriptError, TactileFileError: see TorchScriptEncoder.
    """
    if (config.kind == 'torchscript') != (torchscript_path is not None):
        raise TactileConfigError(
            f'tactile.kind: found {config.kind!r} with torchscript_path {torchscript_path!s}, '
            "expected a path for kind 'torchscript' and only for it"
        )
    match config.kind:
        case 'unit_align':
            return UnitAlign(config, rngs)
        case 'cnn':
            return CnnEncoder(config, rngs)
        case 'torchscript':
            return TorchScriptEncoder(config, torchscript_path, trust_torchscript)

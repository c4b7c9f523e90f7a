"""The encoder that a configuration describes."""

from flax import nnx

from restac_ros.model.tactile.cnn import CnnEncoder
from restac_ros.model.tactile.config import TactileConfig
from restac_ros.model.tactile.interface import TactileEncoder
from restac_ros.model.tactile.unit_align import UnitAlign


def make_tactile_encoder(config: TactileConfig, rngs: nnx.Rngs) -> TactileEncoder:
    """Return a freshly initialised encoder."""
    return CnnEncoder(config, rngs) if config.trains else UnitAlign(config, rngs)

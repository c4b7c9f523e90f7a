"""Placeholders for what must be measured on data: normalisation from the contract's limits, codes of noise.

Every value made here carries `NOT_MEASURED` in its source, and a policy that runs on it logs a warning.
"""

import jax
import numpy as np
from flax import nnx
from jaxtyping import UInt8

from restac_ros.contract.schema import Contract
from restac_ros.framing.values import STATE_DIM
from restac_ros.model.config import ModelConfig
from restac_ros.model.observation import CAMERA_SLOTS
from restac_ros.model.tactile.interface import TactileCode
from restac_ros.policy.normalization import NOT_MEASURED, NormStats, Quantiles

SAMPLES = 16

_ROTATION_SPREAD_RAD = 1.0
_DELTA_SHARE = 0.25  # of what the speed limits allow over the horizon


def stats_from_limits(contract: Contract, config: ModelConfig) -> NormStats:
    """Ranges of state and delta actions as the contract's workspace and speed limits suggest."""
    box, rotation = contract.limits.workspace_m, contract.rotation
    opening = contract.gripper.opening_m
    low = [*box.min, *(c - _ROTATION_SPREAD_RAD for c in rotation.branch_centre_rad), opening[0]]
    high = [*box.max, *(c + _ROTATION_SPREAD_RAD for c in rotation.branch_centre_rad), opening[1]]
    horizon_s = config.action_horizon / contract.fps
    step_m = _DELTA_SHARE * contract.limits.speed_m_s * horizon_s
    step_rad = _DELTA_SHARE * contract.limits.speed_rad_s * horizon_s
    reach = np.array([step_m] * 3 + [step_rad] * 3)
    return NormStats(
        state=Quantiles(tuple(low), tuple(high)),
        actions=Quantiles((*-reach, opening[0]), (*reach, opening[1])),
        source=f'{NOT_MEASURED}; derived from the limits of contract {contract.name!r}',
    )


def encode_noise(config: ModelConfig, graph: nnx.GraphDef, state: nnx.State, seed: int) -> TactileCode:
    """Tactile codes of random coarse-grained images, B = SAMPLES."""
    rng = np.random.default_rng(seed)
    size, (rows, columns, _) = config.image_size, config.tactile_shape
    views = {slot: _coarse_noise(rng, size, size, config.siglip.patch_size * 2) for slot in CAMERA_SLOTS}
    tactile = _coarse_noise(rng, rows, columns, 16)
    action_prev = rng.normal(0, 0.01, (SAMPLES, STATE_DIM)).astype(np.float32)

    @jax.jit
    def encode(state: nnx.State, views: dict, tactile: jax.Array, action_prev: jax.Array) -> TactileCode:
        model = nnx.merge(graph, state)
        return model.encode_tactile(tactile, model.encode_views(views), action_prev)

    return jax.device_get(encode(state, views, tactile, action_prev))


def codebook_around(code: TactileCode, draws: np.ndarray) -> np.ndarray:
    """Codebook rows spread like the measured events, so that a random encoder uses more than one code.

    `draws` are standard normal numbers [codes, dims].
    """
    return np.asarray(code.h_event.mean(axis=0) + code.h_event.std(axis=0) * draws)


def _coarse_noise(
    rng: np.random.Generator, rows: int, columns: int, cell: int
) -> UInt8[np.ndarray, 'N rows columns 3']:
    """Random colours in square cells; pixel noise would average out in every encoder."""
    shape = (SAMPLES, -(-rows // cell), -(-columns // cell), 3)
    cells = rng.integers(0, 256, shape, dtype=np.uint8)
    return cells.repeat(cell, axis=1).repeat(cell, axis=2)[:, :rows, :columns]

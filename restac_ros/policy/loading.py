"""A checkpoint's parameters onto the device, and its checksums, at once."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax

from restac_ros.model.checkpoint.params import CastRule, Params
from restac_ros.model.checkpoint.store import CheckpointInfo, load_info, load_params
from restac_ros.model.config import ModelConfig
from restac_ros.policy.arithmetic import Arithmetic


def read_checked(
    path: Path, config: ModelConfig, cast: CastRule, arithmetic: Arithmetic, *, checksums: bool
) -> tuple[CheckpointInfo, Params]:
    """Read the parameters onto the device while checksums are compared, so that files are read once."""
    with ThreadPoolExecutor(max_workers=1) as beside:
        checked = beside.submit(load_info, path, checksums=checksums)
        try:
            params = load_params(
                path,
                config,
                cast=cast,
                consume=jax.device_put,
                integer_products=arithmetic.integer_products,
            )
        finally:  # a wrong checksum is named rather than what it led to
            info = checked.result()
    return info, params

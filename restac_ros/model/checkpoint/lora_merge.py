"""A checkpoint whose low-rank adapters are added to the weights: the same function, fewer products.

The adapted weight is w + scale * a b (Hu et al. 2021, arXiv 2106.09685), in openpi's variants of it.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from restac_ros.model.checkpoint.errors import CheckpointError
from restac_ros.model.checkpoint.files import check_absent
from restac_ros.model.checkpoint.int8_leaves import refuse_int8
from restac_ros.model.checkpoint.network import check_leaves, leaf_shapes
from restac_ros.model.checkpoint.orbax_layout import OrbaxParams
from restac_ros.model.checkpoint.params import Params
from restac_ros.model.checkpoint.store import PARAMS, load_info, save_checkpoint
from restac_ros.model.config import ModelConfig
from restac_ros.model.gemma import EINSUMS
from restac_ros.model.lora import merged_einsum, merged_matrix

_FACTORS = ('lora_a', 'lora_b')


def merge_lora(path: Path, to: Path, progress: Callable[[str, int, int], None]) -> list[str]:
    """Write a checkpoint without adapters that computes what the one at `path` does.

    Sums are float32, then rounded to the dtype that the weight is stored in; one leaf is in memory beside
    the result.

    Args:
        path: checkpoint with adapters.
        to: directory to make.
        progress: called with what is under way, the leaves done and all.

    Returns:
        The leaves that an adapter was merged into.

    Raises:
        CheckpointError: no adapters, integers, an unreadable checkpoint, or `to` exists.
    """
    path = Path(path).absolute()
    check_absent(to)
    info = load_info(path)
    config = without_adapters(info.config)
    if config == info.config:
        raise CheckpointError(f'{path}: found no adapters in {info.config.paligemma}, expected some to merge')
    stored = OrbaxParams(path / PARAMS)
    refuse_int8({name: array.dtype for name, array in stored.arrays.items()}, str(path))
    check_leaves(leaf_shapes(info.config), stored.shapes, source=str(stored.directory))
    names, params, merged = list(leaf_shapes(config)), Params(), list[str]()
    for done, name in enumerate(names):
        progress('merging', done, len(names))
        leaf = np.asarray(stored.read([name])[name])
        if factors := _factor_names(name, stored):
            a, b = (np.asarray(stored.read([factor])[factor]) for factor in factors)
            _merge_into(leaf, a, b, name, info.config)
            merged.append(name)
        params[name] = leaf
    progress('writing', len(names), len(names))
    origin = replace(info.origin, made_by='merge-lora', weights=str(path))
    save_checkpoint(to, params, replace(info, config=config, origin=origin, versions={}))
    return merged


def without_adapters(config: ModelConfig) -> ModelConfig:
    """Return the configuration of the merged network."""
    experts = {
        name: replace(getattr(config, name), lora_attention=None, lora_mlp=None)
        for name in ('paligemma', 'action_expert')
    }
    return replace(config, **experts)


def _factor_names(name: str, stored: OrbaxParams) -> list[str]:
    """Names of the adapter's two factors; none for a leaf without adapter."""
    prefix = f'{name.removesuffix("/w")}/' if name.endswith('/w') else f'{name}_'
    return [f'{prefix}{factor}' for factor in _FACTORS if f'{prefix}{factor}' in stored.arrays]


def _merge_into(leaf: np.ndarray, a: np.ndarray, b: np.ndarray, name: str, config: ModelConfig) -> None:
    """Add an adapter to the weight of all layers, layer by layer."""
    part = name.split('/')[-2] if name.endswith('/w') else ''
    expert = config.action_expert if part.endswith('_1') else config.paligemma
    for layer in range(len(leaf)):
        weight, factors = (
            jnp.asarray(leaf[layer], jnp.float32),
            (jnp.asarray(a[layer]), jnp.asarray(b[layer])),
        )
        if part and expert.lora_attention is not None:
            equation = EINSUMS[part.removesuffix('_1')]
            leaf[layer] = merged_einsum(equation, weight, *factors, expert.lora_attention.scale)
        else:
            leaf[layer] = merged_matrix(weight, *factors)

"""A network's parameters from published base weights, with new values for what they lack."""

from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np

from restac_ros.model.checkpoint.errors import CheckpointError
from restac_ros.model.checkpoint.huggingface import INDEX, WEIGHTS, HuggingFaceParams
from restac_ros.model.checkpoint.int8_leaves import refuse_int8
from restac_ros.model.checkpoint.merge import NEW_LEAVES, plan_merge
from restac_ros.model.checkpoint.network import TACTILE_PART, initial_params, leaf_shapes
from restac_ros.model.checkpoint.orbax_layout import OrbaxParams
from restac_ros.model.checkpoint.params import AS_STORED, CastRule, Leaf, Params, Shapes
from restac_ros.model.checkpoint.report import LoadReport
from restac_ros.model.checkpoint.sizes import POSITIONS, resampled_positions
from restac_ros.model.config import ModelConfig

_EMBEDDING = 'PaliGemma/llm/embedder/input_embedding'
_SAMPLED_ROWS = 1024


def merge_base_weights(
    config: ModelConfig,
    source: Path,
    seed: int,
    *,
    encoder: Mapping[str, Leaf] | None = None,
    encoder_origin: str = '',
    cast: CastRule = AS_STORED,
    new_leaves: str = NEW_LEAVES,
) -> tuple[Params, LoadReport]:
    """Return every leaf of `config` on JAX's CPU device, and where each came from.

    Args:
        config: the network.
        source: openpi's params directory (orbax), a LeRobot pi05 directory or a safetensors file.
        seed: of the leaves that nothing brings.
        encoder: leaves of the tactile encoder; they replace the source's, whose sizes may be others.
        encoder_origin: where these are from, for the report.
        cast: dtype in memory.
        new_leaves: pattern of leaves that the source may lack.

    Raises:
        CheckpointError: the source is damaged, has no text embeddings, or is of another architecture or size;
            names the leaves.
    """
    own = dict(encoder or {})
    shapes = leaf_shapes(config)
    base = _open_base(source, shapes)
    if isinstance(base, OrbaxParams):
        refuse_int8({name: array.dtype for name, array in base.arrays.items()}, str(source))
    stored = dict(base.shapes)
    if _EMBEDDING not in stored and any(name.startswith('PaliGemma/llm/') for name in stored):
        raise _no_embeddings(source, 'found none')
    resample = POSITIONS in stored and stored[POSITIONS] != shapes[POSITIONS]
    if resample:  # images of another size: the patches' positions are interpolated
        stored[POSITIONS] = shapes[POSITIONS]
    replaced = rf'^{TACTILE_PART}/' if own else None
    plan = plan_merge(shapes, stored, source=str(source), new_leaves=new_leaves, keep_own=replaced)
    params = base.read(plan.load, cast, on_host_device)
    if _EMBEDDING in params:
        _check_embeddings(np.asarray(params[_EMBEDDING]), source)
    if resample:
        params[POSITIONS] = on_host_device(resampled_positions(params[POSITIONS], shapes[POSITIONS]))
    fresh = [name for name in plan.keep if name not in own]
    params |= initial_params(config, fresh, seed, cast=cast, consume=on_host_device)
    params |= {name: on_host_device(leaf) for name, leaf in own.items()}
    origins = dict.fromkeys(plan.load, str(source)) | dict.fromkeys(own, encoder_origin)
    if resample:
        origins[POSITIONS] = f'{source}, interpolated from {base.shapes[POSITIONS][1]} patches'
    dropped = {name: base.shapes[name] for name in plan.drop} | dict(base.unused)
    ordered = {name: params[name] for name in shapes}
    return ordered, LoadReport.of(ordered, origins, dropped)


def _check_embeddings(leaf: np.ndarray, source: Path) -> None:
    """Refuse a file that keeps zeros in the place of the text embeddings: any prompt would read alike."""
    rows = leaf[:: max(1, len(leaf) // _SAMPLED_ROWS)] != 0
    if (empty := np.mean(~rows.any(axis=1))) > 0.5:
        raise _no_embeddings(source, f'found zeros in {empty:.0%} of their rows')


def _no_embeddings(source: Path, found: str) -> CheckpointError:
    return CheckpointError(
        f"{source}: text embeddings ({_EMBEDDING}): {found}, expected trained ones. LeRobot's copies of "
        "pi0.5 are said to lack them: start from openpi's own params, see docs/train.md"
    )


def on_host_device(leaf: Leaf) -> jax.Array:
    """Move a leaf to JAX's CPU device, from where orbax writes with bounded memory.

    Raises:
        CheckpointError: JAX was told to do without its CPU device.
    """
    try:
        device = jax.local_devices(backend='cpu')[0]
    except RuntimeError as error:
        found = jax.config.jax_platforms
        raise CheckpointError(
            f"JAX_PLATFORMS: found {found!r}, expected '{found},cpu' or nothing: weights are read by way of "
            'the CPU'
        ) from error
    return jax.device_put(leaf, device)


def is_safetensors(source: Path) -> bool:
    """Whether weights are in Hugging Face's layout, not in orbax's."""
    return source.suffix == '.safetensors' or any((source / name).is_file() for name in (WEIGHTS, INDEX))


def _open_base(source: Path, shapes: Shapes) -> OrbaxParams | HuggingFaceParams:
    """The reader for what lies at `source`."""
    source = Path(source).expanduser()
    if not source.exists():
        raise CheckpointError(f'{source}: no such file or directory')
    return HuggingFaceParams(source, shapes) if is_safetensors(source) else OrbaxParams(source)

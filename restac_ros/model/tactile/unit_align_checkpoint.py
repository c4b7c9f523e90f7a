"""Unit-Align from a PyTorch Lightning checkpoint: every tensor by exact name and shape, or an error.

`tensor_table` is the whole correspondence between the file's names and ours.
"""

import dataclasses
import difflib
from collections import Counter
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import nnx

from restac_ros.model.tactile.config import TactileConfig
from restac_ros.model.tactile.errors import TactileCheckpointError, TactileConfigError
from restac_ros.model.tactile.hyper_parameters import config_from_hyper_parameters, hyper_parameters_of
from restac_ros.model.tactile.unit_align import UnitAlign
from restac_ros.model.tactile.vector_quantizer import Codebook

PREFIXES = ('prophet_encoder.', 'obs_encoder.', 'quant_conv.', 'event_encoder.', 'residual_vq.')
"""Parts of the file that are loaded; others (decoder, losses) serve training only and are reported."""

type LeafPath = tuple[str | int, ...]


class TorchLayout(Enum):
    """Torch's axes in our order."""

    SAME = ()
    LINEAR = (1, 0)  # out, in -> in, out
    CONV = (2, 3, 1, 0)  # out, in, row, column -> row, column, in, out

    def from_torch(self, value: np.ndarray) -> np.ndarray:
        """Return the array as ours."""
        return value.transpose(self.value) if self.value else value

    def to_torch(self, value: np.ndarray) -> np.ndarray:
        """Return an array of ours as torch's."""
        return value.transpose(np.argsort(self.value)) if self.value else value

    def torch_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape that torch gives an array of our shape."""
        return tuple(shape[i] for i in np.argsort(self.value)) if self.value else shape


class Target(NamedTuple):
    """Where a tensor goes; path None: must be there, is not used (batch counters)."""

    path: LeafPath | None
    layout: TorchLayout = TorchLayout.SAME


@dataclasses.dataclass(frozen=True)
class TactileLoadReport:
    """The leaves read from a checkpoint, and those ignored."""

    path: Path
    lightning_version: str
    loaded: dict[str, tuple[int, int]]  # prefix -> tensors, values
    ignored: dict[str, int]  # prefix -> tensors
    ignored_hyper_parameters: list[str]

    def __str__(self) -> str:
        lines = [f'{self.path} (PyTorch Lightning {self.lightning_version})']
        lines += [
            f'  loaded   {name:<18} {n:>4} tensors {values:>12,} values'
            for name, (n, values) in self.loaded.items()
        ]
        lines += [f'  ignored  {name:<18} {n:>4} tensors' for name, n in self.ignored.items()]
        lines += [f'  ignored  hyper-parameter {name}' for name in self.ignored_hyper_parameters]
        return '\n'.join(lines)


def load_unit_align(path: str | Path) -> tuple[UnitAlign, TactileLoadReport]:
    """Return the module with the checkpoint's weights, and what was loaded and ignored.

    Raises:
        FileNotFoundError: no such file.
        TactileFileError: damaged, or asks for pickled objects (see `lightning.read_lightning`).
        TactileCheckpointError: names, shapes, types or sizes that are not a Unit-Align's, all listed.
    """
    from restac_ros.model.tactile import lightning  # torch is loaded only where a torch file is opened

    path = Path(path)
    file = lightning.read_lightning(path)
    ours = {name: value for name, value in file.tensors.items() if name.startswith(PREFIXES)}
    try:
        config, ignored = config_from_hyper_parameters(file.hyper_parameters, ours)
        module = unit_align_from_tensors(config, ours)
    except (TactileConfigError, TactileCheckpointError) as error:
        raise TactileCheckpointError(f'{path}: {error}') from error
    sizes = {p: [value.size for name, value in ours.items() if name.startswith(p)] for p in PREFIXES}
    report = TactileLoadReport(
        path=path,
        lightning_version=file.version,
        loaded={prefix: (len(values), sum(values)) for prefix, values in sizes.items()},
        ignored=dict(Counter(name.split('.')[0] + '.' for name in file.tensors if name not in ours)),
        ignored_hyper_parameters=ignored,
    )
    return module, report


def unit_align_from_tensors(config: TactileConfig, tensors: Mapping[str, np.ndarray]) -> UnitAlign:
    """Return the module holding `tensors`, which are named and laid out as torch does.

    Raises:
        TactileCheckpointError: lists every missing, unexpected, misshapen, non-float or non-finite tensor.
    """
    table = tensor_table(config)
    graph, abstract = nnx.split(nnx.eval_shape(lambda: UnitAlign(config, nnx.Rngs(0))))
    leaves: dict[Any, Any] = dict(nnx.to_flat_state(abstract))
    _check_tensors(tensors, table, leaves)
    for name, target in table.items():
        if target.path is not None:
            value = jnp.asarray(target.layout.from_torch(tensors[name]))
            leaves[target.path] = leaves[target.path].replace(value)
    return nnx.merge(graph, nnx.from_flat_state(leaves))


def save_lightning(path: Path, module: UnitAlign, steps: int) -> None:
    """Write a Lightning checkpoint in the published layout, which `load_unit_align` reads back.

    Args:
        path: file to write; one that is there is replaced.
        module: with its weights.
        steps: that it was trained for.

    Raises:
        OSError: it cannot be written.
    """
    from restac_ros.model.tactile import lightning

    leaves = dict(nnx.to_flat_state(nnx.state(module)))
    tensors = {
        name: np.array(steps, np.int64)
        if target.path is None
        else np.ascontiguousarray(target.layout.to_torch(np.asarray(leaves[target.path].get_value())))
        for name, target in tensor_table(module.config).items()
    }
    lightning.write_lightning(path, tensors, hyper_parameters_of(module.config), steps)


def tensor_table(config: TactileConfig) -> dict[str, Target]:
    """Return the place in a UnitAlign of this size for every tensor name of a checkpoint."""
    entries: list[tuple[str, Target]] = []
    for part in (_prophet_entries, _encoder_entries, _event_entries):
        entries += part(config)
    entries += _weights('quant_conv', ('quant_conv',), TorchLayout.CONV)
    for name in Codebook._fields:
        entries.append((f'residual_vq.{name}', Target(('quantizer', name))))
    return dict(entries)


type _Entries = Iterator[tuple[str, Target]]


def _prophet_entries(config: TactileConfig) -> _Entries:
    """The backbone is torchvision's ResNet-18 as a plain sequence: 0 and 1 the stem, 4 to 7 the stages."""
    backbone = 'prophet_encoder.visual_backbone'
    yield from _weights(f'{backbone}.0', ('prophet', 'backbone', 'conv_in'), TorchLayout.CONV, bias=False)
    yield from _batch_norm(f'{backbone}.1', ('prophet', 'backbone', 'norm_in'))
    for i in range(8):
        stage, block = divmod(i, 2)
        name, path = f'{backbone}.{4 + stage}.{block}', ('prophet', 'backbone', 'blocks', i)
        for n in (1, 2):
            yield from _weights(f'{name}.conv{n}', (*path, f'conv{n}'), TorchLayout.CONV, bias=False)
            yield from _batch_norm(f'{name}.bn{n}', (*path, f'norm{n}'))
        if stage > 0 and block == 0:
            yield from _weights(
                f'{name}.downsample.0', (*path, 'shortcut_conv'), TorchLayout.CONV, bias=False
            )
            yield from _batch_norm(f'{name}.downsample.1', (*path, 'shortcut_norm'))
    yield from _weights('prophet_encoder.action_mlp.0', ('prophet', 'action_in'), TorchLayout.LINEAR)
    for i in range(config.prophet.num_fusion_layers):
        name, layer = 'prophet_encoder.fusion_body', ('prophet', 'fusion', i)
        yield from _weights(f'{name}.{4 * i}', (*layer, 'linear'), TorchLayout.LINEAR)
        yield from _norm(f'{name}.{4 * i + 1}', (*layer, 'norm'))
    for head in ('head_mu', 'head_logvar'):
        yield from _weights(f'prophet_encoder.{head}', ('prophet', head), TorchLayout.LINEAR)


def _encoder_entries(config: TactileConfig) -> _Entries:
    encoder = config.encoder
    widths = encoder.widths
    yield from _weights('obs_encoder.conv_in', ('encoder', 'conv_in'), TorchLayout.CONV)
    for i, width in enumerate(widths):
        name, path = f'obs_encoder.down.{i}', ('encoder', 'levels', i)
        for j in range(encoder.num_res_blocks):
            shortcut = j == 0 and width != (widths[i - 1] if i else encoder.ch)
            yield from _residual_block(f'{name}.block.{j}', (*path, 'blocks', j), shortcut)
            if encoder.resolution // 2**i in encoder.attn_resolutions:
                yield from _attention(f'{name}.attn.{j}', (*path, 'attentions', j))
        if i < len(widths) - 1:
            yield from _weights(f'{name}.downsample.conv', (*path, 'downsample'), TorchLayout.CONV)
    yield from _residual_block('obs_encoder.mid.block_1', ('encoder', 'mid_block1'), shortcut=False)
    yield from _attention('obs_encoder.mid.attn_1', ('encoder', 'mid_attention'))
    yield from _residual_block('obs_encoder.mid.block_2', ('encoder', 'mid_block2'), shortcut=False)
    yield from _norm('obs_encoder.norm_out', ('encoder', 'norm_out'))
    yield from _weights('obs_encoder.conv_out', ('encoder', 'conv_out'), TorchLayout.CONV)


def _event_entries(config: TactileConfig) -> _Entries:
    yield from _weights('event_encoder.head.0', ('event_encoder', 'conv_in'), TorchLayout.CONV)
    for i in range(config.event.num_blocks):
        yield from _residual_block(f'event_encoder.body.{i}', ('event_encoder', 'blocks', i), shortcut=False)
    yield from _weights('event_encoder.pre_pool', ('event_encoder', 'conv_out'), TorchLayout.CONV)


def _residual_block(name: str, path: LeafPath, shortcut: bool) -> _Entries:
    for n in (1, 2):
        yield from _norm(f'{name}.norm{n}', (*path, f'norm{n}'))
        yield from _weights(f'{name}.conv{n}', (*path, f'conv{n}'), TorchLayout.CONV)
    if shortcut:
        yield from _weights(f'{name}.nin_shortcut', (*path, 'shortcut'), TorchLayout.CONV)


def _attention(name: str, path: LeafPath) -> _Entries:
    yield from _norm(f'{name}.norm', (*path, 'norm'))
    for theirs, ours in {'q': 'query', 'k': 'key', 'v': 'value', 'proj_out': 'out'}.items():
        yield from _weights(f'{name}.{theirs}', (*path, ours), TorchLayout.CONV)


def _weights(name: str, path: LeafPath, layout: TorchLayout, bias: bool = True) -> _Entries:
    yield f'{name}.weight', Target((*path, 'kernel'), layout)
    if bias:
        yield f'{name}.bias', Target((*path, 'bias'))


def _norm(name: str, path: LeafPath) -> _Entries:
    yield f'{name}.weight', Target((*path, 'scale'))
    yield f'{name}.bias', Target((*path, 'bias'))


def _batch_norm(name: str, path: LeafPath) -> _Entries:
    yield from _norm(name, path)
    yield f'{name}.running_mean', Target((*path, 'mean'))
    yield f'{name}.running_var', Target((*path, 'var'))
    yield f'{name}.num_batches_tracked', Target(None)


def _check_tensors(
    tensors: Mapping[str, np.ndarray], table: Mapping[str, Target], leaves: Mapping[LeafPath, nnx.Variable]
) -> None:
    missing, unexpected = sorted(set(table) - set(tensors)), sorted(set(tensors) - set(table))
    faults = [f'missing {name}{_closest(name, unexpected)}' for name in missing]
    faults += [f'unexpected {name}' for name in unexpected]
    for name in sorted(set(table) & set(tensors)):
        path, layout = table[name]
        shape = () if path is None else layout.torch_shape(leaves[path].shape)
        faults += _value_faults(name, tensors[name], shape)
    if faults:
        raise TactileCheckpointError(
            f'not a Unit-Align of these sizes, nothing loaded; {len(faults)} faults:'
            + ''.join(f'\n  {fault}' for fault in faults)
        )


def _value_faults(name: str, value: np.ndarray, shape: tuple[int, ...]) -> Iterator[str]:
    if value.shape != shape:
        yield f'{name}: found shape {value.shape}, expected {shape}'
    elif name.endswith('.num_batches_tracked'):
        return
    elif value.dtype != np.float32:
        yield f'{name}: found type {value.dtype}, expected a floating-point type'
    elif not np.isfinite(value).all():
        yield f'{name}: {value.size - np.isfinite(value).sum()} values are NaN or infinite'


def _closest(name: str, candidates: list[str]) -> str:
    near = difflib.get_close_matches(name, candidates, n=1, cutoff=0.7)
    return f' (the file has {near[0]}: renamed?)' if near else ''

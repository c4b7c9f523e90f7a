"""Reading LeRobot's `pi05` safetensors."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

import ml_dtypes  # noqa: F401  (registers bfloat16 with numpy, in which safetensors returns it)
import numpy as np
from safetensors import SafetensorError, safe_open

from restac_ros.git_lfs import what_it_is
from restac_ros.model.checkpoint.errors import CheckpointError
from restac_ros.model.checkpoint.files import read_small
from restac_ros.model.checkpoint.huggingface_names import (
    EMBEDDING,
    PI05_TENSORS,
    TIED_HEAD,
    UNUSED,
    Tensor,
    canonical,
)
from restac_ros.model.checkpoint.orbax_layout import read_leaves
from restac_ros.model.checkpoint.params import (
    AS_STORED,
    CastRule,
    Leaf,
    Params,
    Shapes,
    check_leaf_size,
    shorten,
)

WEIGHTS = 'model.safetensors'
INDEX = 'model.safetensors.index.json'

_MAX_INDEX_BYTES = 16 << 20
_DTYPES: dict[str, np.dtype] = {
    'F32': np.dtype(np.float32),
    'F16': np.dtype(np.float16),
    'BF16': np.dtype('bfloat16'),
}


class HuggingFaceParams:
    """The leaves of a LeRobot or converted openpi checkpoint, opened but not read.

    Args:
        path: the safetensors file, or the directory of `model.safetensors` or its index of shards.
        model: shapes of the model's leaves; heads cannot be separated in PyTorch's layout without them.

    Raises:
        CheckpointError: no such file, damaged, tensors of another shape, or a leaf with some layers missing.

    Attributes:
        shapes: complete leaves under their JAX names.
        unused: other tensors, under PyTorch names, and their shapes.
    """

    def __init__(self, path: Path, model: Shapes) -> None:
        self.path = Path(path).absolute()
        self._files: dict[str, tuple[Path, str]] = {}
        for file in _weight_files(self.path):
            for stored in _tensor_names(file):
                self._files[canonical(stored)] = (file, stored)
        if EMBEDDING not in self._files and TIED_HEAD in self._files:
            self._files[EMBEDDING] = self._files[TIED_HEAD]
        self.shapes = self._complete_leaves(model)
        used = {
            name for t in PI05_TENSORS if t.leaf in self.shapes for name, _ in t.places(self.shapes[t.leaf])
        }
        unused = [name for name in self._files if name not in used and not UNUSED.search(name)]
        self.unused = {name: self._stored_shape(name) for name in sorted(unused)}

    def read(
        self,
        names: Iterable[str] | None = None,
        cast: CastRule = AS_STORED,
        consume: Callable[[np.ndarray], Leaf] | None = None,
    ) -> Params:
        """Read leaves under their JAX names, largest first; arguments as in `OrbaxParams.read`.

        Raises:
            CheckpointError: a name that is not stored, or damaged content.
        """
        return read_leaves(self.path, self.shapes, lambda name: self._read_leaf(name, cast), names, consume)

    def _read_leaf(self, leaf: str, cast: CastRule) -> np.ndarray:
        shape = self.shapes[leaf]
        out = np.empty(0)
        for tensor in _TENSORS_OF[leaf]:
            for name, index in tensor.places(shape):
                value = self._read_tensor(name)
                if out.shape != shape:
                    out = np.empty(shape, cast(leaf, value.dtype))
                out[index] = tensor.to_jax(value, shape)
        return out

    def _read_tensor(self, name: str) -> np.ndarray:
        """Read one tensor; the file is mapped for it alone, so that no other page stays in memory."""
        file, stored = self._files[name]
        try:
            with safe_open(file, 'np') as tensors:
                return tensors.get_tensor(stored)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f'{file}: tensor {stored!r} cannot be read: {error}') from error

    def _stored_shape(self, name: str) -> tuple[int, ...]:
        file, stored = self._files[name]
        with safe_open(file, 'np') as tensors:
            return tuple(tensors.get_slice(stored).get_shape())

    def _complete_leaves(self, model: Shapes) -> dict[str, tuple[int, ...]]:
        found: dict[str, tuple[int, ...]] = {}
        missing: list[str] = []
        wrong: list[str] = []
        for leaf, tensors in _TENSORS_OF.items():
            if leaf not in model:
                continue
            places = [(name, t) for t in tensors for name, _ in t.places(tuple(model[leaf]))]
            absent = [name for name, _ in places if name not in self._files]
            if len(absent) == len(places):
                continue
            missing += absent
            wrong += self._wrong_shapes([p for p in places if p[0] in self._files], tuple(model[leaf]))
            found[leaf] = tuple(model[leaf])
        if missing or wrong:
            raise CheckpointError(
                f'{self.path}: does not fit the model: {len(missing)} tensors missing ({shorten(missing)}), '
                f'{len(wrong)} of another shape ({shorten(wrong)}). Choose the preset of this size'
            )
        return found

    def _wrong_shapes(self, places: list[tuple[str, Tensor]], shape: tuple[int, ...]) -> list[str]:
        by_file: dict[Path, list[tuple[str, str, Tensor]]] = defaultdict(list)
        for name, tensor in places:
            file, stored = self._files[name]
            by_file[file].append((name, stored, tensor))
        wrong = []
        for file, entries in by_file.items():
            with safe_open(file, 'np') as tensors:
                for name, stored, tensor in entries:
                    view = tensors.get_slice(stored)
                    found, dtype = tuple(view.get_shape()), view.get_dtype()
                    if dtype not in _DTYPES:
                        wrong.append(f'{name} has dtype {dtype}, expected one of {sorted(_DTYPES)}')
                    elif found != tensor.torch_shape(shape):
                        wrong.append(f'{name} is {found}, expected {tensor.torch_shape(shape)}')
                    else:
                        check_leaf_size(str(file), name, found, _DTYPES[dtype].itemsize)
        return wrong


_TENSORS_OF: dict[str, list[Tensor]] = defaultdict(list)
for _tensor in PI05_TENSORS:
    _TENSORS_OF[_tensor.leaf].append(_tensor)


def _weight_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if (path / WEIGHTS).is_file():
        return [path / WEIGHTS]
    index = path / INDEX
    if not index.is_file():
        raise CheckpointError(
            f'{path}: neither {WEIGHTS} nor {INDEX} here; give the directory of a LeRobot policy'
        )
    content = read_small(index, _MAX_INDEX_BYTES)
    try:
        shards = sorted(set(json.loads(content)['weight_map'].values()))
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise CheckpointError(f'{index}: not a safetensors index: {error!r}') from error
    for shard in shards:
        if Path(shard).name != shard or not (path / shard).is_file():
            raise CheckpointError(f'{index}: names {shard!r}, which is no file in this directory')
    return [path / shard for shard in shards]


def _tensor_names(file: Path) -> list[str]:
    try:
        with safe_open(file, 'np') as tensors:
            return list(tensors.keys())
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f'{file}: not a complete safetensors file: {error} ({what_it_is(file)}). '
            'Download or copy it again'
        ) from error

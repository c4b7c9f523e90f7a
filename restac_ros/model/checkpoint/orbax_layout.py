"""openpi's orbax layout: leaf paths are ('params', ..., 'value') on disk, without both ends in memory."""

import ast
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

import jax
import numpy as np
from flax import traverse_util

from restac_ros.git_lfs import what_it_is
from restac_ros.model.checkpoint.array_store import StoredArray, open_array, open_store
from restac_ros.model.checkpoint.errors import CheckpointError
from restac_ros.model.checkpoint.files import check_absent, read_small
from restac_ros.model.checkpoint.params import AS_STORED, CastRule, Leaf, Params, Shapes, shorten

WRITE_CHUNK_BYTES = 16 << 20
"""Chunk size of what we write, so that every reader can load it with bounded memory."""

_ROOT, _VALUE = 'params', 'value'
_MAX_METADATA_BYTES = 64 << 20


class OrbaxParams:
    """The leaves of an orbax checkpoint, opened but not read.

    Args:
        path: the `params` directory, or the step directory that holds it.

    Raises:
        CheckpointError: no orbax checkpoint there, or damaged metadata.
    """

    def __init__(self, path: Path) -> None:
        self.directory = find_params_directory(path)
        metadata = _read_metadata(self.directory)
        store = open_store(self.directory)
        zarr3 = bool(metadata.get('use_zarr3', False))
        self.arrays: dict[str, StoredArray] = {}
        for path_keys in _leaf_paths(metadata, self.directory):
            name = '/'.join(_strip(path_keys))
            key = '.'.join(path_keys)
            self.arrays[name] = open_array(store, self.directory, key, name, zarr3=zarr3)
        if not self.arrays:
            raise CheckpointError(f'{self.directory}: the checkpoint lists no parameters')

    unused: Mapping[str, tuple[int, ...]] = MappingProxyType({})
    """Tensors without a leaf's name; orbax has none."""

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every stored leaf."""
        return {name: array.shape for name, array in self.arrays.items()}

    def read(
        self,
        names: Iterable[str] | None = None,
        cast: CastRule = AS_STORED,
        consume: Callable[[np.ndarray], Leaf] | None = None,
    ) -> Params:
        """Read leaves in the dtypes that `cast` says; the other arguments as of `read_leaves`.

        Raises:
            CheckpointError: a name that is not stored, or damaged content.
        """

        def read_leaf(name: str) -> np.ndarray:
            array = self.arrays[name]
            return array.read(cast(name, array.dtype))

        return read_leaves(self.directory, self.shapes, read_leaf, names, consume)


def read_leaves(
    source: Path,
    shapes: Shapes,
    read_leaf: Callable[[str], np.ndarray],
    names: Iterable[str] | None = None,
    consume: Callable[[np.ndarray], Leaf] | None = None,
) -> Params:
    """Read leaves, largest first, one at a time.

    The largest leaf is read while nothing else is in memory, which keeps the peak near the final size.

    Args:
        source: where they are stored, for messages.
        shapes: of all that are.
        read_leaf: reads one by its name.
        names: which leaves; all by default.
        consume: applied to each leaf as it arrives, for example a transfer to the device.

    Raises:
        CheckpointError: a name that is not stored.
    """
    wanted = list(shapes) if names is None else list(names)
    if unknown := [name for name in wanted if name not in shapes]:
        raise CheckpointError(f'{source}: no leaves {shorten(unknown)}')
    params: Params = {}
    for name in sorted(wanted, key=lambda name: (-int(np.prod(shapes[name])), name)):
        leaf = read_leaf(name)
        params[name] = consume(leaf) if consume else leaf
    return {name: params[name] for name in wanted}


def find_params_directory(path: Path) -> Path:
    """Return the absolute orbax directory at `path` or at `path/params`.

    Raises:
        CheckpointError: neither holds one.
    """
    path = Path(path).absolute()
    for candidate in (path, path / 'params'):
        if (candidate / '_METADATA').is_file():
            return candidate
    raise CheckpointError(
        f'{path}: no orbax checkpoint here (looked for _METADATA in it and in its "params" directory); '
        'give the directory of one training step, for example .../29999'
    )


def write_orbax(directory: Path, params: Params) -> None:
    """Write `params` into the new directory in openpi's layout.

    Leaves on the host are first copied to JAX's CPU device, since orbax bounds its own memory only for
    device arrays; hand over `jax.Array`s to save a model that fills half the memory.

    Raises:
        CheckpointError: the directory exists, or a value is no array.
    """
    check_absent(directory)
    import orbax.checkpoint as ocp  # a quarter of a second that reading does without

    flat = {(_ROOT, *name.split('/'), _VALUE): _on_device(name, leaf) for name, leaf in params.items()}
    tree = traverse_util.unflatten_dict(flat)
    save_args = jax.tree.map(lambda _: ocp.SaveArgs(chunk_byte_size=WRITE_CHUNK_BYTES), tree)
    processes = ocp.options.MultiprocessingOptions()
    if jax.process_count() > 1:  # this one writes everything; orbax would wait for the others
        me = jax.process_index()
        processes = ocp.options.MultiprocessingOptions(
            primary_host=me, active_processes={me}, barrier_sync_key_prefix='one_writes'
        )
    handler = ocp.PyTreeCheckpointHandler(
        use_ocdbt=True, use_zarr3=False, save_concurrent_gb=1, multiprocessing_options=processes
    )
    with ocp.Checkpointer(handler, multiprocessing_options=processes) as checkpointer:
        checkpointer.save(directory.absolute(), ocp.args.PyTreeSave(tree, save_args=save_args))


def _on_device(name: str, leaf: Leaf) -> Leaf:
    if isinstance(leaf, jax.Array):
        return leaf
    if isinstance(leaf, np.ndarray) and jax.process_count() > 1:
        return leaf  # of several processes' devices, orbax writes no array that one of them has alone
    if not isinstance(leaf, np.ndarray):
        raise CheckpointError(f'leaf {name!r} is a {type(leaf).__name__}; expected a numpy or JAX array')
    with jax.enable_x64(True):  # int64 counters of torch checkpoints keep their width
        return jax.device_put(leaf, jax.local_devices(backend='cpu')[0])


def _read_metadata(directory: Path) -> dict:
    path = directory / '_METADATA'
    content = read_small(path, _MAX_METADATA_BYTES)
    try:
        metadata = json.loads(content)
        if not isinstance(metadata['tree_metadata'], dict):
            raise TypeError('tree_metadata is not a mapping')
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f'{path}: damaged or not written by orbax: {error!r}; {what_it_is(path)}'
        ) from error
    return metadata


def _leaf_paths(metadata: dict, directory: Path) -> list[tuple[str, ...]]:
    """Key paths of all leaves; orbax writes each as the text of a tuple of strings."""
    paths = []
    for text in metadata['tree_metadata']:
        try:
            keys = tuple(str(key) for key in ast.literal_eval(text))
        except (ValueError, SyntaxError, TypeError) as error:
            raise CheckpointError(f'{directory / "_METADATA"}: unreadable leaf path {text!r}') from error
        paths.append(keys)
    return paths


def _strip(keys: tuple[str, ...]) -> tuple[str, ...]:
    start = 1 if keys[0] == _ROOT else 0
    end = len(keys) - 1 if keys[-1] == _VALUE else len(keys)
    return keys[start:end]

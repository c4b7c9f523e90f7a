"""openpi's orbax layout: read leaf by leaf, in either dtype, with bounded memory; damage is named."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
import tensorstore as ts
import zstandard
from flax import traverse_util

from restac_ros.model.checkpoint import array_store
from restac_ros.model.checkpoint.errors import CheckpointError
from restac_ros.model.checkpoint.orbax_layout import OrbaxParams, write_orbax
from restac_ros.model.checkpoint.params import CastRule, check_leaf_size


@pytest.fixture(scope='module')
def golden_params(golden_dir: Path) -> dict[str, np.ndarray]:
    with np.load(golden_dir / 'openpi_pi05_tiny.npz', allow_pickle=False) as data:
        return {key.removeprefix('params/'): data[key] for key in data.files if key.startswith('params/')}


@pytest.fixture
def written(tmp_path: Path, golden_params: dict[str, np.ndarray]) -> Path:
    write_orbax(tmp_path / 'params', golden_params)
    return tmp_path / 'params'


def assert_same(found: dict, expected: dict) -> None:
    assert found.keys() == expected.keys()
    for name, leaf in expected.items():
        assert found[name].dtype == leaf.dtype, name
        np.testing.assert_array_equal(found[name], leaf, err_msg=name)


def test_openpis_checkpoint_holds_the_golden_parameters(
    golden_dir: Path, golden_params: dict[str, np.ndarray]
) -> None:
    stored = OrbaxParams(golden_dir / 'openpi_pi05_tiny_checkpoint')
    assert_same(stored.read(), golden_params)


def test_what_we_write_orbax_reads_under_openpis_paths(
    written: Path, golden_params: dict[str, np.ndarray]
) -> None:
    with ocp.PyTreeCheckpointer() as checkpointer:
        tree = checkpointer.restore(written)
    flat = traverse_util.flatten_dict(tree)
    assert all(path[0] == 'params' and path[-1] == 'value' for path in flat)
    assert_same({'/'.join(path[1:-1]): np.asarray(leaf) for path, leaf in flat.items()}, golden_params)


@pytest.mark.parametrize('stream', [True, False], ids=['streamed', 'by chunk'])
@pytest.mark.parametrize('stored', ['float32', 'bfloat16'])
@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_both_roads_cast_alike(
    tmp_path: Path,
    golden_params: dict[str, np.ndarray],
    dtype: str,
    stored: str,
    stream: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(array_store, 'STREAM_ABOVE_BYTES', 0 if stream else 1 << 40)
    on_disk = {name: leaf.astype(jnp.dtype(stored)) for name, leaf in golden_params.items()}
    write_orbax(tmp_path / 'params', on_disk)
    expected = {name: leaf.astype(jnp.dtype(dtype)) for name, leaf in on_disk.items()}
    assert_same(OrbaxParams(tmp_path).read(cast=CastRule(dtype)), expected)


def test_the_newer_array_format_is_read(tmp_path: Path, golden_params: dict[str, np.ndarray]) -> None:
    flat = {('params', *name.split('/'), 'value'): leaf for name, leaf in golden_params.items()}
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler(use_ocdbt=True, use_zarr3=True)) as checkpointer:
        checkpointer.save(tmp_path / 'params', ocp.args.PyTreeSave(traverse_util.unflatten_dict(flat)))
    assert_same(OrbaxParams(tmp_path).read(), golden_params)


def test_arrays_of_many_chunks(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    leaf = rng.standard_normal((7, 301, 93)).astype(np.float32)
    tree = {'params': {'w': {'value': leaf}}}
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        args = {'params': {'w': {'value': ocp.SaveArgs(chunk_byte_size=50_000)}}}
        checkpointer.save(tmp_path / 'params', ocp.args.PyTreeSave(tree, save_args=args))
    stored = OrbaxParams(tmp_path)
    assert stored.arrays['w'].chunks != leaf.shape
    assert_same(stored.read(), {'w': leaf})


def test_integer_leaves_keep_their_dtype_and_touch_stays_float32(tmp_path: Path) -> None:
    params = {
        'tactile/counter': np.array(1000, np.int64),
        'tactile/w': np.array([1 / 3], np.float32),
        'gate/threshold': np.array(1 / 3, np.float32),
        'PaliGemma/llm/layers/mlp/gating_einsum': np.array([1 / 3], np.float32),
    }
    write_orbax(tmp_path / 'params', params)
    found = OrbaxParams(tmp_path).read(cast=CastRule('bfloat16'))
    assert {name: leaf.dtype.name for name, leaf in found.items()} == {
        'tactile/counter': 'int64',
        'tactile/w': 'float32',
        'gate/threshold': 'float32',
        'PaliGemma/llm/layers/mlp/gating_einsum': 'bfloat16',
    }
    assert found['tactile/counter'] == 1000


def test_only_the_wanted_leaves_are_read(written: Path) -> None:
    stored = OrbaxParams(written)
    assert list(stored.read(['time_mlp_in/bias'])) == ['time_mlp_in/bias']
    with pytest.raises(CheckpointError, match='no leaves time_mlp_in/biases'):
        stored.read(['time_mlp_in/biases'])


def test_an_existing_directory_is_not_overwritten(written: Path) -> None:
    with pytest.raises(CheckpointError, match='already exists'):
        write_orbax(written, {})


def test_a_directory_without_checkpoint_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r'no orbax checkpoint here .* directory of one training step'):
        OrbaxParams(tmp_path)


def test_damaged_metadata_names_its_file(written: Path) -> None:
    (written / '_METADATA').write_text('{"tree_metadata": ')
    with pytest.raises(CheckpointError, match='_METADATA: damaged'):
        OrbaxParams(written)


def test_leaf_paths_are_read_as_data_never_as_code(written: Path) -> None:
    (written / '_METADATA').write_text('{"tree_metadata": {"__import__(\'os\').getcwd()": {}}}')
    with pytest.raises(CheckpointError, match='unreadable leaf path'):
        OrbaxParams(written)


def test_a_truncated_manifest_names_its_file(written: Path) -> None:
    manifest = written / 'manifest.ocdbt'
    manifest.write_bytes(manifest.read_bytes()[:-7])
    with pytest.raises(CheckpointError, match='params'):
        OrbaxParams(written).read()


@pytest.mark.parametrize('stream', [True, False], ids=['streamed', 'by chunk'])
def test_truncated_content_names_directory_and_leaf(
    written: Path, stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(array_store, 'STREAM_ABOVE_BYTES', 0 if stream else 1 << 40)
    largest = max((p for p in written.rglob('*') if p.is_file()), key=lambda p: p.stat().st_size)
    largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])
    with pytest.raises(CheckpointError, match=rf'{written}.*(damaged or incomplete|no readable header)'):
        OrbaxParams(written).read()


def test_missing_content_names_directory_and_leaf(written: Path) -> None:
    shutil.rmtree(written / 'ocdbt.process_0', ignore_errors=True)
    for data in written.glob('d/*'):
        data.unlink()
    with pytest.raises(CheckpointError, match=str(written)):
        OrbaxParams(written).read()


def test_absurd_sizes_are_refused_before_allocating() -> None:
    with pytest.raises(CheckpointError, match=r'shape \(1048576, 1048576\) would take 4096.0 GiB'):
        check_leaf_size('here', 'w', (1 << 20, 1 << 20), 4)


MEASURE = """
import sys
from pathlib import Path
from restac_ros.model.checkpoint.orbax_layout import OrbaxParams
from restac_ros.model.checkpoint.params import CastRule, num_bytes

def peak_kib():
    lines = Path('/proc/self/status').read_text().splitlines()
    return int(next(line for line in lines if line.startswith('VmHWM')).split()[1])

stored = OrbaxParams(Path(sys.argv[1]))
stored.read(['small'], CastRule(sys.argv[2]))
Path('/proc/self/clear_refs').write_text('5')  # start the high-water mark anew
before = peak_kib()
params = stored.read(cast=CastRule(sys.argv[2]))
print((peak_kib() - before) / 1024 - num_bytes(params) / 2**20)
"""


@pytest.mark.skipif(not Path('/proc/self/clear_refs').exists(), reason='needs Linux /proc')
@pytest.mark.parametrize(
    ('dtype', 'chunked'),
    [('float32', False), ('bfloat16', False), ('bfloat16', True)],
    ids=['float32, one chunk per leaf', 'bfloat16, one chunk per leaf', 'bfloat16, our chunks'],
)
def test_loading_takes_a_constant_amount_besides_the_parameters(
    tmp_path: Path, dtype: str, chunked: bool
) -> None:
    """At full size (6.7 GB) the bound asked for is 1.2 times the parameters, 1300 MiB besides them.

    Here the largest leaf takes 128 MiB as stored, and any read that holds it twice breaks the bound.
    """
    rng = np.random.default_rng(0)
    rows = rng.integers(-1000, 1000, (8, 1 << 19)).astype(np.float32)  # 16 MiB
    params = {name: np.tile(rows, (copies, 1)) for name, copies in {'a/w': 8, 'b/w': 2, 'c/w': 1}.items()}
    params['small'] = rows[0, :10]
    if chunked:
        write_orbax(tmp_path / 'params', params)
    else:
        flat = {('params', *name.split('/'), 'value'): leaf for name, leaf in params.items()}
        with ocp.PyTreeCheckpointer() as checkpointer:
            checkpointer.save(tmp_path / 'params', traverse_util.unflatten_dict(flat))
    command = [sys.executable, '-c', MEASURE, str(tmp_path), dtype]
    # glibc keeps freed blocks in the arena of whichever thread had them, 40 to 80 MiB more on a busy machine:
    # with a fixed threshold it returns large ones at once, and what is measured is what the reader holds.
    environment = {**os.environ, 'MALLOC_MMAP_THRESHOLD_': str(1 << 20)}
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    besides_mib = float(run.stdout)
    assert -10 < besides_mib < 64


@pytest.mark.parametrize('says_its_size', [True, False])
def test_a_chunk_that_unpacks_to_more_than_its_array_is_refused_first(
    says_its_size: bool, written: Path
) -> None:
    name = 'action_in_proj/kernel'
    store = ts.KvStore.open({'driver': 'ocdbt', 'base': written.as_uri()}).result()
    bomb = zstandard.ZstdCompressor(write_content_size=says_its_size).compress(bytes(64 << 20))
    key = f'params.{name.replace("/", ".")}.value/0.0'
    assert store.read(key).result().state == 'value'
    store.write(key, bomb).result()
    with pytest.raises(CheckpointError, match=r'chunk 0.0 unpacks to \d+ bytes or more, \d+ expected'):
        OrbaxParams(written).read([name])

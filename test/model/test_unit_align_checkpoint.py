"""What the Unit-Align loader refuses, and in which words."""

import argparse
import copy
import pickle
import zipfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flax import nnx

from restac_ros.model.checkpoint.errors import CheckpointError
from restac_ros.model.checkpoint.provenance import Origin
from restac_ros.model.checkpoint.unit_align_store import read_unit_align, save_unit_align
from restac_ros.model.tactile import lightning
from restac_ros.model.tactile.config import TactileConfig
from restac_ros.model.tactile.errors import TactileCheckpointError, TactileFileError
from restac_ros.model.tactile.hyper_parameters import config_from_hyper_parameters
from restac_ros.model.tactile.lightning import read_lightning, write_lightning
from restac_ros.model.tactile.unit_align import UnitAlign
from restac_ros.model.tactile.unit_align_checkpoint import (
    load_unit_align,
    tensor_table,
)

HYPER_PARAMETERS: dict[str, Any] = {
    'use_event_encoder': True,
    'ddconfig': {
        'double_z': False,
        'z_channels': 3,
        'resolution': 4,
        'in_channels': 3,
        'out_ch': 3,
        'ch': 32,
        'ch_mult': [1, 1],
        'num_res_blocks': 1,
        'attn_resolutions': [],
        'dropout': 0.0,
    },
    'prophet_config': {
        'action_dim': 7,
        'num_views': 1,
        'latent_shape': [3, 2, 2],
        'bottleneck_resolution': [2, 2],
        'hidden_dims': [4],
        'mid_dim': 4,
        'visual_pretrained': True,
    },
    'residual_vq_config': {'n_e': 5, 'e_dim': 8},
}


def small_config() -> TactileConfig:
    """Sizes of HYPER_PARAMETERS with a backbone of width 2 and an event encoder of width 8."""
    widths = {
        'prophet_encoder.visual_backbone.0.weight': np.zeros((2, 3, 7, 7)),
        'event_encoder.head.0.weight': np.zeros((8, 6, 3, 3)),
    }
    return config_from_hyper_parameters(HYPER_PARAMETERS, widths).config


@pytest.fixture(scope='module')
def tensors() -> dict[str, torch.Tensor]:
    config = small_config()
    leaves = dict(nnx.to_flat_state(nnx.split(nnx.eval_shape(lambda: UnitAlign(config, nnx.Rngs(0))))[1]))
    rng = np.random.default_rng(0)
    found = {}
    for name, (path, layout) in tensor_table(config).items():
        shape = () if path is None else layout.torch_shape(leaves[path].shape)
        found[name] = torch.tensor(7) if path is None else torch.from_numpy(
            rng.standard_normal(shape).astype(np.float32))  # fmt: skip
    return found


class Saved:
    """A checkpoint's content, to be bent out of shape and written."""

    def __init__(self, folder: Path, tensors: dict[str, torch.Tensor]):
        self.path = folder / 'unit_align.ckpt'
        self.tensors = dict(tensors)
        self.hyper_parameters = copy.deepcopy(HYPER_PARAMETERS)
        self.others: dict[str, Any] = {'pytorch-lightning_version': '2.4.0'}

    def write(self) -> Path:
        content = {'state_dict': self.tensors, 'hyper_parameters': self.hyper_parameters} | self.others
        torch.save(content, self.path)
        return self.path


@pytest.fixture
def saved(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> Saved:
    return Saved(tmp_path, tensors)


def refusal(saved: Saved) -> str:
    with pytest.raises(TactileCheckpointError) as caught:
        load_unit_align(saved.write())
    assert str(saved.path) in str(caught.value)
    return str(caught.value)


def test_a_whole_checkpoint_loads_and_the_report_says_what(saved: Saved) -> None:
    saved.tensors |= {'decoder.w': torch.ones(3), 'decoder.b': torch.ones(1), 'loss.log_scale': torch.ones(1)}
    saved.hyper_parameters['prophet_config']['spare'] = 3
    saved.others |= {'epoch': 3, 'optimizer_states': [{'state': {}}]}
    module, report = load_unit_align(saved.write())
    assert module.config == small_config()
    assert report.ignored == {'decoder.': 2, 'loss.': 1}
    assert report.ignored_hyper_parameters == ['prophet_config.spare']
    assert report.loaded['residual_vq.'] == (3, 5 * 8 + 5 + 5 * 8)
    assert sum(count for count, _ in report.loaded.values()) == len(tensor_table(module.config))
    text = str(report)
    assert 'residual_vq.' in text
    assert 'decoder.' in text
    assert 'prophet_config.spare' in text


def test_the_codebook_has_the_size_in_the_checkpoint(saved: Saved) -> None:
    saved.hyper_parameters['residual_vq_config']['n_e'] = 9
    saved.tensors |= {
        'residual_vq.embed': torch.ones(9, 8),
        'residual_vq.embed_avg': torch.ones(9, 8),
        'residual_vq.cluster_size': torch.ones(9),
    }
    module, _ = load_unit_align(saved.write())
    assert module.quantizer.embed[...].shape == (9, 8)
    saved.hyper_parameters['residual_vq_config']['n_e'] = 5
    assert 'states 5 codes of 8, but residual_vq.embed has shape (9, 8)' in refusal(saved)


def test_half_precision_weights_become_float32(saved: Saved) -> None:
    exact = saved.tensors['quant_conv.weight'].bfloat16()
    saved.tensors['quant_conv.weight'] = exact
    module, _ = load_unit_align(saved.write())
    found = np.asarray(module.quant_conv.kernel[...])
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found.transpose(3, 2, 0, 1), exact.float().numpy())


@pytest.mark.parametrize('name', ['residual_vq.embedding.weight', 'residual_vq.codebook', 'vq.embed'])
def test_defect_14_a_codebook_of_another_name_raises(saved: Saved, name: str) -> None:
    """The published loader kept a random codebook here, without a word."""
    saved.tensors[name] = saved.tensors.pop('residual_vq.embed')
    message = refusal(saved)
    assert 'missing residual_vq.embed' in message
    if name.startswith('residual_vq.'):
        assert f'unexpected {name}' in message


def test_all_faults_are_listed_at_once(saved: Saved) -> None:
    del saved.tensors['obs_encoder.norm_out.bias'], saved.tensors['prophet_encoder.head_mu.weight']
    saved.tensors['obs_encoder.norm_out.beta'] = torch.ones(32)
    saved.tensors['quant_conv.weight'] = torch.ones(3, 3)
    saved.tensors['quant_conv.bias'] = torch.tensor([1.0, float('nan'), float('inf')])
    saved.tensors['residual_vq.cluster_size'] = torch.ones(5, dtype=torch.int32)
    message = refusal(saved)
    for part in [
        '6 faults',
        'missing obs_encoder.norm_out.bias (the file has obs_encoder.norm_out.beta: renamed?)',
        'missing prophet_encoder.head_mu.weight\n',
        'unexpected obs_encoder.norm_out.beta',
        'quant_conv.weight: found shape (3, 3), expected (3, 3, 1, 1)',
        'quant_conv.bias: 2 values are NaN or infinite',
        'residual_vq.cluster_size: found type int32',
    ]:
        assert part in message


@pytest.mark.parametrize(
    ('section', 'key', 'value', 'part'),
    [
        ('ddconfig', 'double_z', True, 'ddconfig.double_z: found True, expected False'),
        ('ddconfig', 'ch', 'wide', "ddconfig.ch: found 'wide', expected int"),
        ('ddconfig', 'ch_mult', 4, 'ddconfig.ch_mult: found 4'),
        ('ddconfig', 'ch', 40, 'EncoderConfig.ch_mult'),
        ('ddconfig', 'z_channels', 4, 'latent_shape: found [3, 2, 2]'),
        ('prophet_config', 'visual_backbone', 'resnet50', "found 'resnet50', expected 'resnet18'"),
        ('prophet_config', 'history_len', 2, 'history_len: found 2, expected 1'),
        ('prophet_config', 'view_fusion', 'sum', "view_fusion: found 'sum'"),
        ('prophet_config', 'latent_shape', [3, 16], 'expected three sizes'),
        ('residual_vq_config', 'use_ema', False, 'use_ema: found False, expected True'),
        ('residual_vq_config', 'beta', None, 'commitment: found None, expected float'),
    ],
)
def test_sizes_that_are_not_computed_here_raise(
    saved: Saved, section: str, key: str, value: object, part: str
) -> None:
    saved.hyper_parameters[section][key] = value
    assert part in refusal(saved)


@pytest.mark.parametrize('value', [False, None, 1])
def test_a_checkpoint_without_event_encoder_raises(saved: Saved, value: object) -> None:
    saved.hyper_parameters['use_event_encoder'] = value
    assert 'use_event_encoder' in refusal(saved)


def test_missing_sections_and_keys_raise(saved: Saved) -> None:
    del saved.hyper_parameters['ddconfig']['ch']
    assert "ddconfig: missing ['ch']" in refusal(saved)
    del saved.hyper_parameters['ddconfig']
    assert 'hyper_parameters.ddconfig: found None' in refusal(saved)


class WritesAFile:
    """What a hostile checkpoint holds: an object whose unpickling runs a function of its choice."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple:
        return open, (str(self.path), 'w')


def test_a_file_that_needs_pickle_is_refused_and_nothing_in_it_runs(saved: Saved, tmp_path: Path) -> None:
    trace = tmp_path / 'executed'
    saved.others['callbacks'] = WritesAFile(trace)
    with pytest.raises(TactileFileError, match='refused, since it needs') as caught:
        load_unit_align(saved.write())
    assert not trace.exists()
    message = str(caught.value)
    for part in (str(saved.path), 'open', 'can execute code', 'weights_only=False', 'Where you trust'):
        assert part in message


def test_the_refused_object_is_named(saved: Saved) -> None:
    saved.others['hyper_parameters'] = argparse.Namespace(ch=128)
    with pytest.raises(TactileFileError, match=r'the Python object argparse\.Namespace'):
        load_unit_align(saved.write())


@pytest.mark.parametrize('kept', [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_named(saved: Saved, kept: float) -> None:
    path = saved.write()
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])
    with pytest.raises(TactileFileError, match='truncated, damaged or not a PyTorch zip file') as caught:
        load_unit_align(path)
    assert str(path) in str(caught.value)


def test_a_flipped_byte_is_found(saved: Saved) -> None:
    path = saved.write()
    data = bytearray(path.read_bytes())
    at = bytes(data).index(saved.tensors['residual_vq.embed'].numpy().tobytes())
    data[at + 5] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(TactileFileError, match=r'record .* is damaged'):
        load_unit_align(path)


def test_files_that_are_something_else_are_refused(tmp_path: Path, saved: Saved) -> None:
    with pytest.raises(FileNotFoundError):
        read_lightning(tmp_path / 'absent.ckpt')
    plain = tmp_path / 'plain.ckpt'
    plain.write_bytes(pickle.dumps({'state_dict': {}}))
    with pytest.raises(TactileFileError, match='not a PyTorch zip file'):
        read_lightning(plain)
    torch.save(torch.ones(3), plain)
    with pytest.raises(TactileFileError, match="found Tensor, expected a dict 'state_dict'"):
        read_lightning(plain)
    torch.save({'model': {}}, plain)
    with pytest.raises(TactileFileError, match=r"found \['model'\], expected a dict 'state_dict'"):
        read_lightning(plain)
    with zipfile.ZipFile(plain, 'w') as archive:
        archive.writestr('readme.txt', 'not tensors')
    with pytest.raises(TactileFileError, match='not a readable PyTorch checkpoint'):
        read_lightning(plain)


def test_an_archive_that_unpacks_to_much_more_is_refused(tmp_path: Path) -> None:
    bomb = tmp_path / 'bomb.ckpt'
    with zipfile.ZipFile(bomb, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('archive/data/0', bytes((1 << 26) + 1))
    with pytest.raises(TactileFileError, match=r'compressed records of 67108865 bytes'):
        read_lightning(bomb)


def test_a_tensor_larger_than_its_storage_is_refused(saved: Saved) -> None:
    saved.tensors['decoder.huge'] = torch.ones(1).expand(1 << 40)
    with pytest.raises(TactileFileError, match=r"'decoder.huge'.*exceeds the stored values"):
        load_unit_align(saved.write())


def test_what_is_not_a_dense_tensor_is_refused(saved: Saved) -> None:
    saved.tensors['loss.extra'] = 3.0
    with pytest.raises(TactileFileError, match=r"'loss.extra'\]: found float, expected a dense tensor"):
        load_unit_align(saved.write())


def test_what_is_written_depends_on_the_content_alone(tmp_path: Path) -> None:
    for name in ('a', 'b'):
        write_lightning(tmp_path / name, {'w': np.ones(3, np.float32)}, {'size': 3}, 5)
    assert (tmp_path / 'a').read_bytes() == (tmp_path / 'b').read_bytes()
    np.testing.assert_array_equal(read_lightning(tmp_path / 'a').tensors['w'], np.ones(3))
    assert {path.name for path in tmp_path.iterdir()} == {'a', 'b'}


def test_a_full_disk_is_said_as_the_system_says_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lightning, 'replaced', lambda _: nullcontext(Path('/dev/full')))
    with pytest.raises(OSError, match='No space left on device') as caught:
        write_lightning(tmp_path / 'a', {'w': np.ones(100_000, np.float32)}, {'size': 3}, 5)
    assert caught.value.filename == str(tmp_path / 'a')


def test_leaves_of_another_encoder_are_named_before_they_are_read(tmp_path: Path) -> None:
    strange = {'quantizer/embed': np.zeros(3, np.float32), 'more': np.zeros(1, np.float32)}
    save_unit_align(tmp_path / 'unit_align', small_config(), strange, Origin('test'), {})
    with pytest.raises(CheckpointError) as caught:
        read_unit_align(tmp_path / 'unit_align')
    told = str(caught.value)
    assert told.startswith(f'{tmp_path}/unit_align: parameters do not fit tactile_config.json: ')
    assert '1 unexpected: more' in told
    assert 'quantizer/embed is (3,), expected (5, 8)' in told

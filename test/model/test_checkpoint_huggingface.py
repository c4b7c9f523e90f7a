"""LeRobot's pi05 safetensors: names and layouts both ways, checked against PyTorch's own arithmetic."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from lerobot_file import write_huggingface
from restac_ros.model.checkpoint.errors import CheckpointError
from restac_ros.model.checkpoint.huggingface import HuggingFaceParams
from restac_ros.model.checkpoint.huggingface_names import (
    EMBEDDING,
    PI05_TENSORS,
    PREFIX,
    TIED_HEAD,
    canonical,
)
from restac_ros.model.checkpoint.params import CastRule

LANGUAGE = 'model.paligemma_with_expert.paligemma.model.language_model.layers.1.'
EXPERT = 'model.paligemma_with_expert.gemma_expert.model.layers.1.'
VISION = 'model.paligemma_with_expert.paligemma.model.vision_tower.vision_model.'


@pytest.fixture(scope='module')
def params(golden_dir: Path) -> dict[str, np.ndarray]:
    with np.load(golden_dir / 'openpi_pi05_tiny.npz', allow_pickle=False) as data:
        return {key.removeprefix('params/'): data[key] for key in data.files if key.startswith('params/')}


@pytest.fixture(scope='module')
def shapes(params: dict[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    return {name: leaf.shape for name, leaf in params.items()}


@pytest.fixture(scope='module')
def lerobot_file(params: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('lerobot') / 'model.safetensors'
    write_huggingface(path, params)
    return path


@pytest.fixture(scope='module')
def tensors(lerobot_file: Path) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in load_file(lerobot_file).items()}


def test_every_leaf_survives_the_round_trip(lerobot_file: Path, params: dict, shapes: dict) -> None:
    stored = HuggingFaceParams(lerobot_file, shapes)
    assert stored.unused == {}
    found = stored.read()
    assert found.keys() == params.keys()
    for name, leaf in params.items():
        np.testing.assert_array_equal(found[name], leaf, err_msg=name)


def test_the_table_covers_the_full_size_tree(golden_dir: Path) -> None:
    leaves = json.loads((golden_dir / 'openpi_param_trees.json').read_text())['pi05_2b_300m']['leaves']
    shapes = {name: tuple(entry[0]) for name, entry in leaves.items()}
    assert {tensor.leaf for tensor in PI05_TENSORS} == shapes.keys()
    names = [name for tensor in PI05_TENSORS for name, _ in tensor.places(shapes[tensor.leaf])]
    assert len(names) == len(set(names)) == 811  # the published file: these and an unused expert head
    values = sum(
        int(np.prod(tensor.torch_shape(shapes[tensor.leaf])))
        for tensor in PI05_TENSORS
        for _ in tensor.places(shapes[tensor.leaf])
    )
    assert values == 3_353_433_872


def test_attention_projections_compute_the_same(params: dict, tensors: dict) -> None:
    """The twin: PyTorch's linear layers on one side, the einsums of the JAX model on the other."""
    rng = np.random.default_rng(0)
    for module, suffix in ((LANGUAGE, ''), (EXPERT, '_1')):
        q_w = params[f'PaliGemma/llm/layers/attn/q_einsum{suffix}/w'][1]
        kv_w = params[f'PaliGemma/llm/layers/attn/kv_einsum{suffix}/w'][1]
        o_w = params[f'PaliGemma/llm/layers/attn/attn_vec_einsum{suffix}/w'][1]
        heads, width, head_dim = q_w.shape
        x = rng.standard_normal((2, 5, width)).astype(np.float32)
        states = torch.from_numpy(x)
        q = torch.nn.functional.linear(states, tensors[f'{module}self_attn.q_proj.weight'])
        expected = np.einsum('BTD,NDH->BTNH', x, q_w)
        np.testing.assert_allclose(q.view(2, 5, heads, head_dim), expected, atol=1e-5)
        for part, short in enumerate('kv'):
            projected = torch.nn.functional.linear(states, tensors[f'{module}self_attn.{short}_proj.weight'])
            np.testing.assert_allclose(projected, np.einsum('BTD,DH->BTH', x, kv_w[part, 0]), atol=1e-5)
        encoded = rng.standard_normal((2, 5, heads, head_dim)).astype(np.float32)
        o = torch.nn.functional.linear(
            torch.from_numpy(encoded).flatten(2), tensors[f'{module}self_attn.o_proj.weight']
        )
        np.testing.assert_allclose(o, np.einsum('BTNH,NHD->BTD', encoded, o_w), atol=1e-5)


def test_feed_forward_and_adaptive_norms_compute_the_same(params: dict, tensors: dict) -> None:
    rng = np.random.default_rng(1)
    gating = params['PaliGemma/llm/layers/mlp_1/gating_einsum'][1]
    x = rng.standard_normal((3, gating.shape[1])).astype(np.float32)
    for part, name in enumerate(('gate_proj', 'up_proj')):
        y = torch.nn.functional.linear(torch.from_numpy(x), tensors[f'{EXPERT}mlp.{name}.weight'])
        np.testing.assert_allclose(y, x @ gating[part], atol=1e-5)
    for leaf, name in (
        ('pre_attention_norm_1', 'input_layernorm'),
        ('pre_ffw_norm_1', 'post_attention_layernorm'),
    ):
        kernel = params[f'PaliGemma/llm/layers/{leaf}/Dense_0/kernel'][1]
        bias = params[f'PaliGemma/llm/layers/{leaf}/Dense_0/bias'][1]
        y = torch.nn.functional.linear(
            torch.from_numpy(x),
            tensors[f'{EXPERT}{name}.dense.weight'],
            tensors[f'{EXPERT}{name}.dense.bias'],
        )
        np.testing.assert_allclose(y, x @ kernel + bias, atol=1e-5)


def test_vision_patches_and_attention_compute_the_same(params: dict, tensors: dict) -> None:
    rng = np.random.default_rng(2)
    kernel = params['PaliGemma/img/embedding/kernel']
    size = kernel.shape[0]
    image = rng.standard_normal((1, 2 * size, 3 * size, 3)).astype(np.float32)
    patches = image.reshape(1, 2, size, 3, size, 3).transpose(0, 1, 3, 2, 4, 5)
    expected = np.einsum('BRChwi,hwio->BRCo', patches, kernel)
    found = torch.nn.functional.conv2d(
        torch.from_numpy(image).permute(0, 3, 1, 2),
        tensors[f'{VISION}embeddings.patch_embedding.weight'],
        stride=size,
    )
    np.testing.assert_allclose(found.permute(0, 2, 3, 1), expected, atol=1e-4)
    leaf = 'PaliGemma/img/Transformer/encoderblock/MultiHeadDotProductAttention_0'
    w, b = params[f'{leaf}/query/kernel'][2], params[f'{leaf}/query/bias'][2]
    x = rng.standard_normal((4, w.shape[0])).astype(np.float32)
    layer = f'{VISION}encoder.layers.2.self_attn.'
    q = torch.nn.functional.linear(
        torch.from_numpy(x), tensors[f'{layer}q_proj.weight'], tensors[f'{layer}q_proj.bias']
    )
    np.testing.assert_allclose(q.view(4, *b.shape), np.einsum('TD,DNH->TNH', x, w) + b, atol=1e-5)


def test_older_and_newer_module_nestings_are_one_name() -> None:
    tower = 'paligemma_with_expert.paligemma.model.vision_tower.vision_model.post_layernorm.bias'
    assert canonical(f'model.{tower}') == tower
    assert canonical(tower.replace('vision_model.', '')) == tower
    assert canonical(tower.replace('paligemma.model.', 'paligemma.')) == tower
    old = 'paligemma_with_expert.paligemma.language_model.model.layers.3.mlp.up_proj.weight'
    new = 'paligemma_with_expert.paligemma.model.language_model.layers.3.mlp.up_proj.weight'
    assert canonical(old) == new
    assert canonical('paligemma_with_expert.paligemma.language_model.lm_head.weight') == TIED_HEAD


def test_embedding_comes_from_either_tied_name(
    lerobot_file: Path, params: dict, shapes: dict, tmp_path: Path
) -> None:
    arrays = load_file(lerobot_file)
    assert PREFIX + EMBEDDING not in arrays
    arrays[EMBEDDING] = arrays.pop(PREFIX + TIED_HEAD)
    save_file(arrays, tmp_path / 'model.safetensors')
    found = HuggingFaceParams(tmp_path, shapes).read(['PaliGemma/llm/embedder/input_embedding'])
    np.testing.assert_array_equal(*found.values(), params['PaliGemma/llm/embedder/input_embedding'])


def test_shards_with_an_index_and_half_precision(
    lerobot_file: Path, params: dict, shapes: dict, tmp_path: Path
) -> None:
    arrays = {name: array.astype(np.float16) for name, array in load_file(lerobot_file).items()}
    names = sorted(arrays)
    weight_map = {}
    for part in range(2):
        shard = f'model-0000{part + 1}-of-00002.safetensors'
        save_file({name: arrays[name] for name in names[part::2]}, tmp_path / shard)
        weight_map |= dict.fromkeys(names[part::2], shard)
    (tmp_path / 'model.safetensors.index.json').write_text(json.dumps({'weight_map': weight_map}))
    found = HuggingFaceParams(tmp_path, shapes).read(cast=CastRule('float32'))
    for name, leaf in params.items():
        assert found[name].dtype == np.float32
        np.testing.assert_array_equal(found[name], leaf.astype(np.float16).astype(np.float32))


def test_bfloat16_files_are_read(lerobot_file: Path, params: dict, shapes: dict, tmp_path: Path) -> None:
    half = CastRule('bfloat16')
    arrays = {name: array.astype(half(name, array.dtype)) for name, array in load_file(lerobot_file).items()}
    save_file(arrays, tmp_path / 'model.safetensors')
    found = HuggingFaceParams(tmp_path, shapes).read()
    for name, leaf in params.items():
        np.testing.assert_array_equal(found[name], leaf.astype(half(name, leaf.dtype)), err_msg=name)


def test_an_index_may_not_lead_outside(tmp_path: Path, shapes: dict) -> None:
    (tmp_path / 'model.safetensors.index.json').write_text('{"weight_map": {"a": "../secret.safetensors"}}')
    with pytest.raises(CheckpointError, match='no file in this directory'):
        HuggingFaceParams(tmp_path, shapes)


def test_a_truncated_file_is_named(lerobot_file: Path, shapes: dict, tmp_path: Path) -> None:
    broken = tmp_path / 'model.safetensors'
    broken.write_bytes(lerobot_file.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=rf'{broken}: not a complete safetensors file'):
        HuggingFaceParams(tmp_path, shapes)


def test_a_missing_layer_is_named(lerobot_file: Path, shapes: dict, tmp_path: Path) -> None:
    arrays = load_file(lerobot_file)
    del arrays[f'{EXPERT}mlp.up_proj.weight']
    save_file(arrays, tmp_path / 'model.safetensors')
    with pytest.raises(CheckpointError, match=r'1 tensors missing \(.*layers\.1\.mlp\.up_proj\.weight\)'):
        HuggingFaceParams(tmp_path, shapes)


def test_another_size_is_named_with_both_shapes(lerobot_file: Path, shapes: dict) -> None:
    inner, width = shapes['action_in_proj/kernel']
    wider = dict(shapes) | {'action_in_proj/kernel': (inner, width + 1)}
    message = rf'action_in_proj\.weight is \({width}, {inner}\), expected \({width + 1}, {inner}\)'
    with pytest.raises(CheckpointError, match=message):
        HuggingFaceParams(lerobot_file, wider)


def test_unknown_tensors_are_listed_and_unused_heads_are_not(
    lerobot_file: Path, shapes: dict, tmp_path: Path
) -> None:
    arrays = load_file(lerobot_file) | {
        'model.state_proj.weight': np.zeros((2, 2), np.float32),
        'model.paligemma_with_expert.gemma_expert.lm_head.weight': np.zeros((2, 2), np.float32),
    }
    save_file(arrays, tmp_path / 'model.safetensors')
    assert HuggingFaceParams(tmp_path, shapes).unused == {'state_proj.weight': (2, 2)}

"""From files to a running network: openpi's checkpoint computes openpi's numbers on every road."""

import json
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

from checkpoints import load_checkpoint
from lerobot_file import write_huggingface
from restac_ros.model.checkpoint.errors import CheckpointError
from restac_ros.model.checkpoint.huggingface import HuggingFaceParams
from restac_ros.model.checkpoint.network import assemble, initial_params, leaf_shapes, to_params
from restac_ros.model.checkpoint.orbax_layout import OrbaxParams
from restac_ros.model.checkpoint.provenance import Origin
from restac_ros.model.checkpoint.store import CheckpointInfo, save_checkpoint
from restac_ros.model.config import GemmaConfig, ModelConfig, SiglipConfig
from restac_ros.model.presets import PRESETS


@pytest.fixture(scope='module')
def golden(golden_dir: Path) -> dict[str, np.ndarray]:
    with np.load(golden_dir / 'openpi_pi05_tiny.npz', allow_pickle=False) as data:
        return {key: data[key] for key in data.files}


@pytest.fixture(scope='module')
def params(golden: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {key.removeprefix('params/'): leaf for key, leaf in golden.items() if key.startswith('params/')}


@pytest.fixture(scope='module')
def config(golden: dict[str, np.ndarray], params: dict[str, np.ndarray]) -> ModelConfig:
    """Sizes of the golden model, read off its leaves."""

    def expert(suffix: str) -> GemmaConfig:
        depth, heads, width, head_dim = params[f'PaliGemma/llm/layers/attn/q_einsum{suffix}/w'].shape
        mlp_dim = params[f'PaliGemma/llm/layers/mlp{suffix}/linear'].shape[1]
        return GemmaConfig(width, depth, mlp_dim, num_heads=heads, num_kv_heads=1, head_dim=head_dim)

    block = 'PaliGemma/img/Transformer/encoderblock'
    depth, width, heads, _ = params[f'{block}/MultiHeadDotProductAttention_0/query/kernel'].shape
    mlp_dim = params[f'{block}/MlpBlock_0/Dense_0/bias'].shape[1]
    _, horizon, action_dim = golden['in/actions'].shape
    return ModelConfig(
        paligemma=expert(''),
        action_expert=expert('_1'),
        siglip=SiglipConfig(width=width, depth=depth, mlp_dim=mlp_dim, num_heads=heads),
        vocab_size=params['PaliGemma/llm/embedder/input_embedding'].shape[0],
        image_size=golden['in/images/base_0_rgb'].shape[1],
        max_prompt_tokens=golden['in/tokenized_prompt'].shape[1],
        action_dim=action_dim,
        action_horizon=horizon,
        dtype='float32',
        state_input='none',
    )


def sample(config: ModelConfig, params: dict, golden: dict[str, np.ndarray]) -> np.ndarray:
    graph, state = assemble(config, params, source='test')
    slots = [key.removeprefix('in/images/') for key in golden if key.startswith('in/images/')]

    @jax.jit
    def run(state: nnx.State, images: dict, masks: dict) -> jax.Array:
        model = nnx.merge(graph, state)
        cache = model.encode_prefix(
            images, masks, golden['in/tokenized_prompt'], golden['in/tokenized_prompt_mask']
        )
        plan = model.plan_sampling(10)
        return model.sample_actions(cache, None, golden['in/state'], golden['in/sample_noise'], plan)[0]

    images = {slot: golden[f'in/images/{slot}'] for slot in slots}
    return np.asarray(run(state, images, {slot: golden[f'in/image_masks/{slot}'] for slot in slots}))


def test_openpis_checkpoint_samples_openpis_actions(
    golden_dir: Path, config: ModelConfig, golden: dict[str, np.ndarray]
) -> None:
    stored = OrbaxParams(golden_dir / 'openpi_pi05_tiny_checkpoint')
    np.testing.assert_allclose(sample(config, stored.read(), golden), golden['out/sample_actions'], atol=1e-4)


def test_weights_that_went_through_lerobots_layout_and_our_directory_do_too(
    tmp_path: Path, config: ModelConfig, params: dict, golden: dict[str, np.ndarray]
) -> None:
    write_huggingface(tmp_path / 'model.safetensors', params)
    read = HuggingFaceParams(tmp_path, leaf_shapes(config)).read()
    save_checkpoint(tmp_path / 'ours', read, CheckpointInfo(config, 'contract', {}, Origin('a test')))
    checkpoint = load_checkpoint(tmp_path / 'ours')
    assert checkpoint.info.config == config
    found = sample(config, checkpoint.params, golden)
    np.testing.assert_allclose(found, golden['out/sample_actions'], atol=1e-4)


@pytest.mark.parametrize('variant', ['pi05_2b_300m', 'pi05_2b_lora_300m_lora'])
def test_full_size_leaves_are_openpis(golden_dir: Path, variant: str) -> None:
    leaves = json.loads((golden_dir / 'openpi_param_trees.json').read_text())[variant]['leaves']
    config = PRESETS['pi05']
    if 'lora' in variant:
        lora = PRESETS['pi05_restac_token_in_ae_lora']
        config = replace(config, paligemma=lora.paligemma, action_expert=lora.action_expert)
    assert leaf_shapes(config) == {name: tuple(entry[0]) for name, entry in leaves.items()}


def test_a_model_is_assembled_from_the_arrays_themselves() -> None:
    config = PRESETS['tiny']
    params = initial_params(config, leaf_shapes(config), 0)
    _, state = assemble(config, params, source='test')
    assert all(leaf is params[name] for name, leaf in to_params(state).items())


def test_every_misfit_is_named(config: ModelConfig, params: dict) -> None:
    strange = dict(params) | {'gate/threshold': np.zeros(()), 'time_mlp_in/bias': np.zeros(3)}
    del strange['action_in_proj/bias']
    with pytest.raises(CheckpointError) as error:
        assemble(config, strange, source='here')
    width = config.action_expert.width
    assert str(error.value) == (
        'here: parameters do not fit model_config.json: 1 missing: action_in_proj/bias; 1 unexpected: '
        f'gate/threshold; 1 of another shape: time_mlp_in/bias is (3,), expected ({width},)'
    )

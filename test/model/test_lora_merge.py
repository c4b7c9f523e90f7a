"""A checkpoint whose adapters are merged computes what it did."""

from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

from golden import load_into_model
from restac_ros.model.checkpoint.errors import CheckpointError
from restac_ros.model.checkpoint.lora_merge import merge_lora, without_adapters
from restac_ros.model.checkpoint.network import initial_params, leaf_shapes
from restac_ros.model.checkpoint.provenance import Origin
from restac_ros.model.checkpoint.store import CheckpointInfo, load_info, load_params, save_checkpoint
from restac_ros.model.config import GemmaConfig, LoraConfig, ModelConfig, SiglipConfig

_ATTENTION, _MLP = LoraConfig(rank=2, alpha=6.0), LoraConfig(rank=3, alpha=3.0)
_CONFIG = ModelConfig(
    paligemma=GemmaConfig(24, 2, 40, 4, 2, 8, lora_attention=_ATTENTION, lora_mlp=_MLP),
    action_expert=GemmaConfig(16, 2, 32, 4, 2, 8, lora_attention=_ATTENTION),
    siglip=SiglipConfig(width=16, depth=1, mlp_dim=24, num_heads=2),
    vocab_size=50,
    image_size=28,
    max_prompt_tokens=16,
    action_dim=5,
    action_horizon=4,
    dtype='float32',
)


def _save(path: Path, config: ModelConfig) -> None:
    params = initial_params(config, leaf_shapes(config), 0, everything=True)
    for name, leaf in params.items():
        if 'lora' in name:
            leaf *= 30  # adapters that matter
    save_checkpoint(path, params, CheckpointInfo(config, 'contract', {}, Origin('test', seed=0)))


def test_merged_equals_unmerged(tmp_path: Path) -> None:
    """Keys and values of the prefix within 1e-5 of their scale; the expert's weights within 1e-6."""
    _save(tmp_path / 'adapted', _CONFIG)
    merged = merge_lora(tmp_path / 'adapted', tmp_path / 'merged', lambda *_: None)
    assert len(merged) == 2 * 3 + 2  # attention of both experts, the feed-forward block of one
    config = load_info(tmp_path / 'merged').config
    assert config == without_adapters(_CONFIG)
    rng = np.random.default_rng(1)
    images = {'base_0_rgb': rng.integers(0, 256, (1, 28, 28, 3), np.uint8)}
    tokens = rng.integers(0, 50, (1, 16), np.int32)

    def run(path: Path, config: ModelConfig, *, plain: bool = False) -> tuple:
        params = load_params(path, config)
        if plain:
            params = {name: np.zeros_like(leaf) if 'lora' in name else leaf for name, leaf in params.items()}
        graph, state = nnx.split(load_into_model(config, params))

        @jax.jit
        def encode(state: nnx.State) -> tuple:
            model = nnx.merge(graph, state)
            mask = np.ones((1, 16), bool)
            cache = model.encode_prefix(images, {'base_0_rgb': np.array([True])}, tokens, mask)
            return cache.keys, cache.values, model.plan_sampling(2).expert

        return encode(state)

    adapted, plain = run(tmp_path / 'adapted', _CONFIG), run(tmp_path / 'adapted', _CONFIG, plain=True)
    result = run(tmp_path / 'merged', config)
    for ours, theirs, unadapted in zip(result[:2], adapted[:2], plain[:2], strict=True):
        scale = np.abs(theirs).max()
        assert np.abs(ours - theirs).max() < 1e-5 * scale
        assert np.abs(theirs - unadapted).max() > 1e-2 * scale  # the adapters do something
    for ours, theirs in zip(jax.tree.leaves(result[2]), jax.tree.leaves(adapted[2]), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_a_checkpoint_without_adapters_is_refused(tmp_path: Path) -> None:
    config = replace(without_adapters(_CONFIG), siglip=replace(_CONFIG.siglip, mlp_dim=8))
    _save(tmp_path / 'plain', config)
    with pytest.raises(CheckpointError, match='found no adapters'):
        merge_lora(tmp_path / 'plain', tmp_path / 'merged', lambda *_: None)
    with pytest.raises(CheckpointError, match='already exists'):
        merge_lora(tmp_path / 'plain', tmp_path / 'plain', lambda *_: None)

"""A network with touch that compiles in seconds."""

from dataclasses import replace

from restac_ros.model.config import GemmaConfig, ModelConfig, SiglipConfig
from restac_ros.model.tactile.config import CNN, CnnConfig

MICRO = ModelConfig(
    paligemma=GemmaConfig(32, 2, 48, num_heads=2, num_kv_heads=1, head_dim=16),
    action_expert=GemmaConfig(16, 2, 24, num_heads=2, num_kv_heads=1, head_dim=16),
    siglip=SiglipConfig(width=16, depth=1, mlp_dim=24, num_heads=2, patch_size=56),
    vocab_size=512,
    max_prompt_tokens=64,
    action_dim=9,
    action_horizon=5,
    dtype='float32',
    fusion='token_in_ae',
    fusion_dim=16,
    tactile=replace(CNN, cnn=CnnConfig(tactile_widths=(4, 8), view_widths=(4, 8), hidden_dim=16)),
)

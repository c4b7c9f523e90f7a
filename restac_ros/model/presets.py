"""Named model configurations: the published sizes, one for benchmarks, one for two cores."""

from dataclasses import replace

from restac_ros.model.config import GemmaConfig, LoraConfig, ModelConfig, SiglipConfig
from restac_ros.model.tactile.config import CNN, CNN_MAP, UNIT_ALIGN, UNIT_ALIGN_TINY

_GEMMA_2B = GemmaConfig(2048, 18, 16_384, num_heads=8, num_kv_heads=1, head_dim=256)
_GEMMA_300M = GemmaConfig(1024, 18, 4096, num_heads=8, num_kv_heads=1, head_dim=256)


def _with_lora(config: GemmaConfig, rank: int) -> GemmaConfig:
    lora = LoraConfig(rank=rank, alpha=float(rank))
    return replace(config, lora_attention=lora, lora_mlp=lora)


GEMMA_VARIANTS: dict[str, GemmaConfig] = {
    'dummy': GemmaConfig(64, 4, 128, num_heads=8, num_kv_heads=1, head_dim=16),
    'gemma_2b': _GEMMA_2B,
    'gemma_300m': _GEMMA_300M,
    'gemma_2b_lora': _with_lora(_GEMMA_2B, 16),
    'gemma_300m_lora': _with_lora(_GEMMA_300M, 32),
}
"""openpi's Gemma variants, by openpi's names."""

SIGLIP_SO400M = SiglipConfig(width=1152, depth=27, mlp_dim=4304, num_heads=16)
"""SigLIP So400m/14, the only vision encoder openpi ships."""

_PI05 = ModelConfig(
    paligemma=GEMMA_VARIANTS['gemma_2b'],
    action_expert=GEMMA_VARIANTS['gemma_300m'],
    siglip=SIGLIP_SO400M,
    state_input='prompt',
)
_RESTAC = replace(_PI05, fusion='forcevla', state_input='token', tactile=UNIT_ALIGN)
_TOKEN_IN_AE = replace(_RESTAC, fusion='token_in_ae')

_MID = ModelConfig(
    paligemma=GemmaConfig(512, 8, 2048, num_heads=8, num_kv_heads=1, head_dim=64),
    action_expert=GemmaConfig(256, 8, 1024, num_heads=8, num_kv_heads=1, head_dim=64),
    siglip=SiglipConfig(width=384, depth=12, mlp_dim=1536, num_heads=6),
    dtype='float32',
    fusion='token_in_ae',
    fusion_dim=256,
    tactile=UNIT_ALIGN_TINY,
)
_TINY = ModelConfig(
    paligemma=GemmaConfig(64, 2, 128, num_heads=4, num_kv_heads=1, head_dim=16),
    action_expert=GemmaConfig(32, 2, 96, num_heads=4, num_kv_heads=1, head_dim=16),
    siglip=SiglipConfig(width=32, depth=2, mlp_dim=64, num_heads=2),
    vocab_size=2048,
    max_prompt_tokens=96,
    action_horizon=16,
    dtype='float32',
    fusion='token_in_ae',
    fusion_dim=32,
    tactile=UNIT_ALIGN_TINY,
)
# What learns from random weights on two cores: an encoder that trains with the policy, few camera tokens, no
# padded action dimensions, and an expert wide enough to carry all of a noisy action through its norms.
_TINY_CNN = replace(
    _TINY,
    action_expert=replace(_TINY.action_expert, width=128, mlp_dim=256),
    siglip=replace(_TINY.siglip, patch_size=112),
    action_dim=7,
    tactile=CNN,
)
# For the simulated cell: smaller patches, so that the housing's place is seen; chunks of half a second, so
# that a millimetre of search is no small share of an action; touch by the whole imprint, whose place the
# grasp fixes.
_CELL = replace(
    _TINY_CNN,
    siglip=SiglipConfig(width=64, depth=2, mlp_dim=128, num_heads=4, patch_size=28),
    max_prompt_tokens=32,
    action_horizon=8,
    tactile=CNN_MAP,
)


def _adapted(config: ModelConfig) -> ModelConfig:
    """The same with low-rank adapters in both experts."""
    experts = GEMMA_VARIANTS['gemma_2b_lora'], GEMMA_VARIANTS['gemma_300m_lora']
    return replace(config, paligemma=experts[0], action_expert=experts[1])


PRESETS: dict[str, ModelConfig] = {
    'pi05': _PI05,
    'pi05_lora': _adapted(_PI05),
    'pi05_restac': _RESTAC,
    'pi05_restac_lora': _adapted(_RESTAC),
    'pi05_restac_token_in_ae': _TOKEN_IN_AE,
    'pi05_restac_token_in_ae_lora': _adapted(_TOKEN_IN_AE),
    'mid': _MID,
    'mid_forcevla': replace(_MID, fusion='forcevla'),
    'tiny': _TINY,
    'tiny_forcevla': replace(_TINY, fusion='forcevla'),
    'tiny_no_touch': replace(_TINY, fusion='none', tactile=None),
    'tiny_cnn': _TINY_CNN,
    'tiny_cnn_forcevla': replace(_TINY_CNN, fusion='forcevla'),
    'tiny_cnn_no_touch': replace(_TINY_CNN, fusion='none', tactile=None),
    'cell': _CELL,
    'cell_forcevla': replace(_CELL, fusion='forcevla'),
    'cell_no_touch': replace(_CELL, fusion='none', tactile=None),
}
"""`pi05*` are the published sizes; `mid` is for benchmarks; `tiny` runs at tens of Hz on two cores."""

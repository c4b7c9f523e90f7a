"""How much arithmetic the calls need at least: matrix products only, from the configuration."""

from restac_ros.model.config import GemmaConfig, ModelConfig


def siglip_flop(config: ModelConfig) -> float:
    """One camera image through SigLIP and its projection."""
    vit, tokens = config.siglip, (config.image_size // config.siglip.patch_size) ** 2
    layer = 4 * vit.width**2 + 2 * tokens * vit.width + 2 * vit.width * vit.mlp_dim
    ends = 3 * vit.patch_size**2 * vit.width + vit.width * config.paligemma.width
    return 2.0 * tokens * (vit.depth * layer + ends)


def prefix_flop(config: ModelConfig, cameras: int, prompt_tokens: int) -> float:
    """Expert 0 over cameras and prompt. Of the last layer only keys and values are needed for acting."""
    tokens = _prefix_tokens(config, cameras, prompt_tokens)
    expert = config.paligemma
    keys_values = 2 * expert.width * expert.num_kv_heads * expert.head_dim
    whole = (expert.depth - 1) * _layer(expert, tokens)
    return 2.0 * tokens * (whole + keys_values)


def act_flop(config: ModelConfig, cameras: int, prompt_tokens: int, num_steps: int) -> float:
    """Euler steps of the action expert on a cached prefix."""
    context = (config.fusion == 'token_in_ae') + (config.state_input == 'token')
    tokens = config.action_horizon + context
    expert, keys = config.action_expert, _prefix_tokens(config, cameras, prompt_tokens) + tokens
    ends = 2 * config.action_dim * expert.width * config.action_horizon / tokens
    return 2.0 * num_steps * tokens * (expert.depth * _layer(expert, keys) + ends)


def _prefix_tokens(config: ModelConfig, cameras: int, prompt_tokens: int) -> int:
    return cameras * (config.image_size // config.siglip.patch_size) ** 2 + prompt_tokens


def _layer(expert: GemmaConfig, keys: int) -> int:
    """Multiply-adds of one layer for one query token."""
    heads = expert.num_heads * expert.head_dim
    projections = 2 * expert.width * heads + 2 * expert.width * expert.num_kv_heads * expert.head_dim
    return projections + 2 * keys * heads + 3 * expert.width * expert.mlp_dim

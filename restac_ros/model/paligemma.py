"""The vision-language part of pi0.5: SigLIP and the two experts of Gemma."""

from flax import nnx

from restac_ros.model.config import ModelConfig
from restac_ros.model.gemma import Gemma
from restac_ros.model.siglip import Siglip


class PaliGemma(nnx.Module):
    """Vision encoder and language experts, under openpi's names."""

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs) -> None:
        self.img = Siglip(config.siglip, config.image_size, config.paligemma.width, config.dtype, rngs=rngs)
        self.llm = Gemma(
            (config.paligemma, config.action_expert),
            config.vocab_size,
            config.dtype,
            adaptive=config.time_conditioning == 'adarms',
            rngs=rngs,
        )

"""Sizes and switches of the policy network, as frozen dataclasses with a strict JSON round trip.

A checkpoint carries its `ModelConfig`; what the network computes follows from it and the parameters alone.
Named configurations are in `restac_ros.model.presets`.
"""

import typing
from dataclasses import dataclass
from typing import Literal

from restac_ros.model.tactile.config import TactileConfig
from restac_ros.model.tactile.strict import StrictConfig, check, check_positive

Dtype = Literal['float32', 'bfloat16']
Fusion = Literal['none', 'forcevla', 'token_in_ae']
GateKind = Literal['necessity', 'scaled_necessity', 'learnable', 'factorized', 'off']
StateInput = Literal['token', 'prompt', 'none']
TimeConditioning = Literal['adarms', 'concat']


@dataclass(frozen=True)
class LoraConfig(StrictConfig):
    """Low-rank adapter of one weight (Hu et al. 2021, arXiv 2106.09685)."""

    rank: int
    alpha: float

    def __post_init__(self) -> None:
        check_positive(self, 'rank', 'alpha')

    @property
    def scale(self) -> float:
        """Factor on the adapter's output: openpi applies it in attention, not in the feed-forward block."""
        return self.alpha / self.rank


@dataclass(frozen=True)
class GemmaConfig(StrictConfig):
    """One Gemma expert. Both experts of a policy share depth, heads, key-value heads and head size."""

    width: int
    depth: int
    mlp_dim: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    lora_attention: LoraConfig | None = None
    lora_mlp: LoraConfig | None = None

    def __post_init__(self) -> None:
        check_positive(self, 'width', 'depth', 'mlp_dim', 'num_heads', 'num_kv_heads', 'head_dim')
        check(
            self.num_heads % self.num_kv_heads == 0 and self.num_kv_heads < self.num_heads,
            self,
            'num_kv_heads',
            f'a proper divisor of num_heads = {self.num_heads} (openpi packs q, k and v otherwise)',
        )
        check(self.head_dim % 2 == 0, self, 'head_dim', 'an even number, for rotary embeddings')


@dataclass(frozen=True)
class SiglipConfig(StrictConfig):
    """The vision transformer that turns each camera image into (image_size / patch_size)^2 tokens."""

    width: int
    depth: int
    mlp_dim: int
    num_heads: int
    patch_size: int = 14

    def __post_init__(self) -> None:
        check_positive(self, 'width', 'depth', 'mlp_dim', 'num_heads', 'patch_size')
        check(self.width % self.num_heads == 0, self, 'width', f'a multiple of num_heads = {self.num_heads}')


@dataclass(frozen=True)
class LogvarCalibration(StrictConfig):
    """Mean and standard deviation of the prophet's log variance over calibration data.

    The gate's input is (logvar - mean) / std. Published encoders report logvar near -9.5, where an
    uncalibrated necessity gate is closed for ever.
    """

    mean: float
    std: float

    def __post_init__(self) -> None:
        check_positive(self, 'std')


@dataclass(frozen=True)
class ModelConfig(StrictConfig):
    """Everything that decides the policy's parameter tree and arithmetic.

    Attributes:
        dtype: compute dtype of SigLIP and Gemma; parameters keep their own.
        time_conditioning: 'adarms' is pi0.5 (flow time modulates every norm of the action expert), 'concat'
            is pi0 (flow time is concatenated to the action tokens; state has its own projection).
        fusion: 'none' is plain pi0.5; 'forcevla' adds a gated correction to the action expert's output;
            'token_in_ae' gives the action expert one surprise token.
        state_input: 'token' puts the state into the suffix as one token, so the prefix cache stays valid
            while the arm moves; 'prompt' leaves it to the tokenised prompt; 'none' leaves it out.
        legacy_unmasked_fusion: the published 'forcevla' attention, which reads padded positions too.
        logvar_calibration: statistics that standardise logvar before the gate; None leaves it raw.
        tactile: the tactile encoder inside the policy; None when touch is encoded elsewhere.
    """

    paligemma: GemmaConfig
    action_expert: GemmaConfig
    siglip: SiglipConfig
    vocab_size: int = 257_152
    image_size: int = 224
    max_prompt_tokens: int = 200
    action_dim: int = 32
    action_horizon: int = 50
    dtype: Dtype = 'bfloat16'
    time_conditioning: TimeConditioning = 'adarms'
    fusion: Fusion = 'none'
    gate: GateKind = 'necessity'
    state_input: StateInput = 'token'
    fusion_dim: int = 512
    fusion_heads: int = 8
    legacy_unmasked_fusion: bool = False
    use_sparse_loss: bool = False
    sparse_loss_weight: float = 0.01
    logvar_calibration: LogvarCalibration | None = None
    tactile: TactileConfig | None = None

    def __post_init__(self) -> None:
        for name, hint in typing.get_type_hints(ModelConfig).items():
            if typing.get_origin(hint) is Literal:
                choices = typing.get_args(hint)
                check(getattr(self, name) in choices, self, name, f'one of {choices}')
        check_positive(self, 'vocab_size', 'image_size', 'max_prompt_tokens', 'action_dim', 'action_horizon')
        patch = self.siglip.patch_size
        check(self.image_size % patch == 0, self, 'image_size', f'a multiple of patch_size = {patch}')
        self._check_experts()
        self._check_fusion()

    def _check_experts(self) -> None:
        for name in ('depth', 'num_heads', 'num_kv_heads', 'head_dim'):
            shared = getattr(self.paligemma, name)
            what = f'{name} = {shared}, as in paligemma: both experts share one attention'
            check(getattr(self.action_expert, name) == shared, self, 'action_expert', what)
        check(self.action_expert.width % 2 == 0, self, 'action_expert', 'an even width, for the flow time')

    def _check_fusion(self) -> None:
        width, heads = self.paligemma.width, self.fusion_heads
        if self.fusion == 'forcevla':
            check_positive(self, 'fusion_dim', 'fusion_heads')
            check(width % heads == 0, self, 'fusion_heads', f'a divisor of paligemma.width = {width}')
        if self.fusion == 'none':
            check(self.tactile is None, self, 'tactile', "None, since fusion = 'none'")
        if self.tactile is not None:
            views = f'a prophet that reads 3 views of image_size = {self.image_size}'
            check(self.tactile.view_shape[:2] == (3, self.image_size), self, 'tactile', views)
        if self.time_conditioning == 'concat':
            check(self.fusion == 'none', self, 'fusion', "'none', since time_conditioning = 'concat' is pi0")
            check(self.state_input == 'token', self, 'state_input', "'token', since pi0 always has one")

    @property
    def tokens_per_image(self) -> int:
        """Prefix tokens of one camera."""
        return (self.image_size // self.siglip.patch_size) ** 2

    @property
    def uses_touch(self) -> bool:
        """Whether the policy reads the tactile image and the previous action."""
        return self.fusion != 'none'

    @property
    def event_dim(self) -> int:
        """Length of q_event."""
        return 64 if self.tactile is None else self.tactile.quantizer.code_dim

    @property
    def tactile_shape(self) -> tuple[int, int, int]:
        """Rows, columns and channels of the tactile image."""
        return (128, 160, 3) if self.tactile is None else self.tactile.tactile_shape

    @property
    def num_suffix_tokens(self) -> int:
        """Action-expert tokens: surprise and state, where configured, then one per action step."""
        surprise = self.fusion == 'token_in_ae'
        return surprise + (self.state_input == 'token') + self.action_horizon

"""Sizes and options of every tactile encoder, as frozen dataclasses with a strict JSON form."""

import dataclasses
from typing import Literal

from restac_ros.model.tactile.strict import StrictConfig, check, check_positive, check_rate

# A file decides how many layers are built: bounds that no network of this kind comes near.
_MAX_LEVELS = 8
_MAX_LAYERS = 64

TactileKind = Literal['unit_align', 'unit_align_uncoded', 'cnn', 'cnn_map']
"""'unit_align_uncoded' is the ablation without a codebook: the event vector as it is. 'cnn' keeps the maximum
of its last map, wherever it is; 'cnn_map' keeps all of the map."""


@dataclasses.dataclass(frozen=True)
class EncoderConfig(StrictConfig):
    """UniT/VQGAN convolutional encoder of the tactile image (the checkpoint's `ddconfig`)."""

    ch: int = 128
    ch_mult: tuple[int, ...] = (1, 1, 2, 4)
    num_res_blocks: int = 2
    attn_resolutions: tuple[int, ...] = (16,)
    resolution: int = 128  # nominal image height: it only decides at which level attention stands
    in_channels: int = 3
    z_channels: int = 3
    norm_groups: int = 32
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_positive(self, 'ch', 'num_res_blocks', 'resolution', 'in_channels', 'z_channels', 'norm_groups')
        check_rate(self, 'dropout')
        check(self.num_res_blocks <= _MAX_LAYERS, self, 'num_res_blocks', f'at most {_MAX_LAYERS}')
        check(0 < len(self.ch_mult) <= _MAX_LEVELS, self, 'ch_mult', f'1 to {_MAX_LEVELS} levels')
        for mult in self.ch_mult:
            check(
                mult > 0 and self.ch * mult % self.norm_groups == 0,
                self,
                'ch_mult',
                f'widths that are multiples of norm_groups={self.norm_groups}',
            )

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels at each level."""
        return tuple(self.ch * mult for mult in self.ch_mult)

    @property
    def stride(self) -> int:
        """Pixels per latent cell, in rows and in columns."""
        return 2 ** (len(self.ch_mult) - 1)


@dataclasses.dataclass(frozen=True)
class ProphetConfig(StrictConfig):
    """Visual prior: ResNet-18 per view and the previous action to the expected tactile latent."""

    backbone_width: int = 64  # channels of the first stage; the last has eight times as many
    num_views: int = 3
    view_size: int = 224
    view_fusion: Literal['concat', 'mean'] = 'concat'
    action_dim: int = 7
    action_width: int = 128
    mid_dim: int = 256
    fusion_depth: int = 3  # counts one layer too many, as the published code does: 3 means two layers
    bottleneck_size: tuple[int, int] = (16, 20)
    dropout: float = 0.1

    def __post_init__(self) -> None:
        check_positive(self, 'backbone_width', 'num_views', 'action_dim', 'action_width', 'mid_dim')
        check(self.view_size >= 32, self, 'view_size', 'at least 32, the stride of a ResNet-18')
        check(2 <= self.fusion_depth <= _MAX_LAYERS, self, 'fusion_depth', f'2 to {_MAX_LAYERS}')
        check(min(self.bottleneck_size) > 0, self, 'bottleneck_size', 'positive rows and columns')
        check_rate(self, 'dropout')

    @property
    def view_width(self) -> int:
        """Features of one view."""
        return 8 * self.backbone_width

    @property
    def feature_dim(self) -> int:
        """Features of all views together, as `encode_views` returns them."""
        return self.view_width * (self.num_views if self.view_fusion == 'concat' else 1)

    @property
    def num_fusion_layers(self) -> int:
        """Linear + LayerNorm + GELU layers in the fusion body."""
        return self.fusion_depth - 1


@dataclasses.dataclass(frozen=True)
class EventConfig(StrictConfig):
    """Event encoder: prior and residual maps to one vector (its width is the codebook's)."""

    width: int = 64
    num_blocks: int = 3
    norm_groups: int = 8

    def __post_init__(self) -> None:
        check_positive(self, 'width', 'num_blocks', 'norm_groups')
        check(self.num_blocks <= _MAX_LAYERS, self, 'num_blocks', f'at most {_MAX_LAYERS}')
        check(self.width % self.norm_groups == 0, self, 'width', f'a multiple of {self.norm_groups}')


@dataclasses.dataclass(frozen=True)
class QuantizerConfig(StrictConfig):
    """Codebook with exponential-moving-average updates (arXiv 1711.00937, appendix A.1)."""

    num_codes: int = 128
    code_dim: int = 64
    commitment: float = 0.25
    decay: float = 0.99
    epsilon: float = 1e-5
    metric: Literal['l2', 'cosine'] = 'l2'
    kmeans_iterations: int = 10  # of the codebook's start in training

    def __post_init__(self) -> None:
        check_positive(self, 'num_codes', 'code_dim', 'epsilon', 'kmeans_iterations')
        check_rate(self, 'decay')
        check(self.commitment >= 0, self, 'commitment', 'not negative')


@dataclasses.dataclass(frozen=True)
class CnnConfig(StrictConfig):
    """Small trainable stand-in for Unit-Align: no codebook, no map-shaped prior."""

    tactile_widths: tuple[int, ...] = (16, 32, 64)
    view_widths: tuple[int, ...] = (8, 16, 32)
    hidden_dim: int = 128

    def __post_init__(self) -> None:
        check_positive(self, 'hidden_dim')
        for name in ('tactile_widths', 'view_widths'):
            widths = getattr(self, name)
            check(len(widths) > 0 and min(widths) > 0, self, name, 'at least one positive width')


@dataclasses.dataclass(frozen=True)
class TactileConfig(StrictConfig):
    """A tactile encoder: which kind, and the sizes of that kind.

    `tactile_size` is (rows, columns). `prophet` also gives the number and size of the views and the length
    of action_prev to the other kinds; `quantizer.code_dim` is the width of their q_event.
    """

    kind: TactileKind = 'unit_align'
    tactile_size: tuple[int, int] = (128, 160)
    encoder: EncoderConfig = EncoderConfig()
    prophet: ProphetConfig = ProphetConfig()
    event: EventConfig = EventConfig()
    quantizer: QuantizerConfig = QuantizerConfig()
    cnn: CnnConfig = CnnConfig()

    def __post_init__(self) -> None:
        stride = self.encoder.stride
        check(
            min(self.tactile_size) > 0 and all(side % stride == 0 for side in self.tactile_size),
            self,
            'tactile_size',
            f'positive multiples of the encoder stride {stride}',
        )

    @property
    def trains(self) -> bool:
        """Whether the encoder is trained with the policy; Unit-Align is frozen in it."""
        return self.kind in ('cnn', 'cnn_map')

    @property
    def latent_size(self) -> tuple[int, int]:
        """Rows and columns of the tactile latent."""
        rows, columns = self.tactile_size
        return rows // self.encoder.stride, columns // self.encoder.stride

    @property
    def view_shape(self) -> tuple[int, int, int, int]:
        """Views, rows, columns, channels of one sample."""
        return self.prophet.num_views, self.prophet.view_size, self.prophet.view_size, 3

    @property
    def tactile_shape(self) -> tuple[int, int, int]:
        """Rows, columns, channels of one tactile image."""
        return *self.tactile_size, self.encoder.in_channels

    @property
    def view_feature_dim(self) -> int:
        """Length of `encode_views`' result per sample."""
        match self.kind:
            case 'unit_align' | 'unit_align_uncoded':
                return self.prophet.feature_dim
            case 'cnn' | 'cnn_map':
                return self.cnn.view_widths[-1] * self.prophet.num_views


UNIT_ALIGN = TactileConfig()
"""The published sizes: 37.3 million parameters, 63 GFLOP a forward."""

UNIT_ALIGN_TINY = TactileConfig(
    encoder=EncoderConfig(ch=8, num_res_blocks=1, norm_groups=4),
    prophet=ProphetConfig(backbone_width=8, action_width=32, mid_dim=64),
    event=EventConfig(width=16, num_blocks=1, norm_groups=4),
    quantizer=QuantizerConfig(num_codes=32),
)
"""The same structure at small widths, for the `tiny` models: tens of Hz on two cores."""

CNN = TactileConfig(kind='cnn')
"""The small trainable encoder."""

CNN_MAP = TactileConfig(kind='cnn_map', cnn=CnnConfig(tactile_widths=(16, 24, 32, 32, 32)))
"""The same for an imprint that fills the image, at one place in every grasp: 4 x 5 positions are kept."""

"""What a training of Unit-Align is: frozen dataclasses, every field on the command line."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from restac_ros.model.tactile.config import UNIT_ALIGN, UNIT_ALIGN_TINY, TactileConfig
from restac_ros.training.config import LoaderConfig, OptimizerConfig

StageName = Literal['encoder', 'prophet', 'event']
STAGE_NAMES: tuple[StageName, ...] = ('encoder', 'prophet', 'event')
"""In the order in which they are trained: what is predicted stands before its prediction is learnt."""

TactileSize = Literal['unit_align', 'tiny']
_SIZES: dict[TactileSize, TactileConfig] = {'unit_align': UNIT_ALIGN, 'tiny': UNIT_ALIGN_TINY}
_STEPS: dict[TactileSize, tuple[int, int, int]] = {
    'unit_align': (30_000, 20_000, 20_000),
    'tiny': (250, 400, 1_000),
}
_BATCH_SIZE: dict[TactileSize, int] = {'unit_align': 32, 'tiny': 16}
_PEAK: dict[TactileSize, float] = {'unit_align': 1e-4, 'tiny': 2e-3}


@dataclass(frozen=True)
class CodebookConfig:
    """How the event codebook is kept alive.

    Attributes:
        codes: number of codes; None: the size's own (128; tiny: 32). 512 from 100,000 frames of
            contact on.
        cosine: compare codes by direction alone; the published code compares by distance.
        vectors_per_code: event vectors per code that k-means starts the codebook from, at least.
        warmup_share: of the steps, made before the codebook is started: the event encoder learns first.
        restart_share: a code is dead under this share of an even use, batch size / codes.
        restart_every: steps between restarts of dead codes; 0: never.
    """

    codes: int | None = None
    cosine: bool = False
    vectors_per_code: int = 20
    warmup_share: float = 0.3
    restart_share: float = 0.1
    restart_every: int = 100


@dataclass(frozen=True)
class TactileTrainConfig:
    """A run of all stages.

    Attributes:
        to: directory of the run: states, metrics, pictures and the trained encoder.
        size: sizes of the network; 'unit_align' are the published ones.
        contract: names the columns of data sets that are not this package's; None: each brings its own.
        validation_share: of the episodes, held out by a hash of each; health is measured on them.
        encoder_steps, prophet_steps, event_steps: of each stage; None: the size's own.
        batch_size: None: the size's own.
        variance_warmup_share: of the prophet's steps, in which its mean alone is trained.
        codebook: of the events.
        loader: how samples are loaded.
        learning_rate: after the warm-up of each stage, falling to a tenth; None: the size's own.
        seed: of samples, dropout and new weights.
        log_every, validate_every, save_every, keep_every: steps.
        validation_frames: held-out frames that health is measured on, at most; None: 10 per code.
        allow_changes: resume a run although its data, batch size or other settings were changed.
    """

    to: Path = Path('runs/tactile')
    size: TactileSize = 'unit_align'
    contract: Path | None = None
    validation_share: float = 0.1
    encoder_steps: int | None = None
    prophet_steps: int | None = None
    event_steps: int | None = None
    batch_size: int | None = None
    variance_warmup_share: float = 0.2
    codebook: CodebookConfig = CodebookConfig()
    loader: LoaderConfig = field(default_factory=LoaderConfig)
    learning_rate: float | None = None
    seed: int = 42
    log_every: int = 20
    validate_every: int = 200
    save_every: int = 200
    keep_every: int = 5_000
    validation_frames: int | None = None
    allow_changes: bool = False

    @property
    def network(self) -> TactileConfig:
        """Sizes of the encoder."""
        config, codes = _SIZES[self.size], self.codebook.codes
        quantizer = replace(
            config.quantizer,
            num_codes=config.quantizer.num_codes if codes is None else codes,
            metric='cosine' if self.codebook.cosine else 'l2',
        )
        return replace(config, quantizer=quantizer)

    @property
    def steps(self) -> dict[StageName, int]:
        """Of each stage."""
        given = (self.encoder_steps, self.prophet_steps, self.event_steps)
        return {
            name: own if asked is None else asked
            for name, asked, own in zip(STAGE_NAMES, given, _STEPS[self.size], strict=True)
        }

    @property
    def batch(self) -> int:
        """Samples of a step."""
        return _BATCH_SIZE[self.size] if self.batch_size is None else self.batch_size

    @property
    def adam(self) -> OptimizerConfig:
        """Optimiser of each stage."""
        peak = _PEAK[self.size] if self.learning_rate is None else self.learning_rate
        return OptimizerConfig(peak=peak, end=peak / 10)

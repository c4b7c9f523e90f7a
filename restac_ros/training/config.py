"""What a training run is: frozen dataclasses, one named configuration each, every field on the command line."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from restac_ros.model.config import Dtype
from restac_ros.training.augmentation import AugmentationConfig
from restac_ros.training.optimizer import OptimizerConfig
from restac_ros.training.trainable import Part


@dataclass(frozen=True)
class DataConfig:
    """What is trained on.

    Attributes:
        datasets: LeRobot data sets.
        weights: share of each in the samples, in their order; empty: by their number of frames.
        contract: names the columns of data sets that are not this package's; None: each brings its own.
        norm_stats: statistics file of `restac-ros norm-stats`; None: measured at the start.
        min_range: by dimension (ee_x ... gripper), the range to which a narrower one is widened.
        validation_share: of the episodes, held out by a hash of each.
        episodes: episode numbers to train on; empty: all. One data set only.
        skip_idle: leave out frames whose whole chunk moves less than 1 mm, 0.01 rad and 1 mm of opening.
        max_missing: largest number of frames a quality verdict of 'bad' may have; 0 leaves bad episodes out.
    """

    datasets: tuple[Path, ...] = ()
    weights: tuple[float, ...] = ()
    contract: Path | None = None
    norm_stats: Path | None = None
    min_range: dict[str, float] = field(default_factory=dict)
    validation_share: float = 0.1
    episodes: tuple[int, ...] = ()
    skip_idle: bool = False


@dataclass(frozen=True)
class LoaderConfig:
    """How samples come.

    Attributes:
        threads: reading threads of this process; 0: two per core.
        workers: reading processes; 0: threads only, right up to some eight cores.
        prefetch: batches ready ahead.
    """

    threads: int = 0
    workers: int = 0
    prefetch: int = 2


@dataclass(frozen=True)
class TrainConfig:
    """A run.

    Attributes:
        preset: model configuration, a name of `restac-ros init-checkpoint --preset`.
        init: weights to start from: a checkpoint of this package, openpi's params, or LeRobot's files; None:
            random.
        unit_align: Lightning checkpoint of the tactile encoder, in place of the one in `init`.
        to: directory of the run: state, metrics, pictures, the deployable checkpoint.
        steps, batch_size: of the whole run, over all devices.
        accumulate: micro-batches per step, weighted by their valid elements.
        part: which of the leaves that the configuration leaves trainable.
        frozen_dtype: of leaves that are not trained.
        ema_decay: of the exponential moving average that is deployed; None: none, as with LoRA.
        max_delay_steps: training-time real-time chunking; 0: off.
        seed: of samples, noise, augmentation and new weights.
        fsdp: devices over which parameters are sharded; the batch goes over all.
        log_every, validate_every, save_every, keep_every: steps.
    """

    preset: str
    data: DataConfig = DataConfig()
    loader: LoaderConfig = LoaderConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    init: Path | None = None
    unit_align: Path | None = None
    tokenizer: Path | None = None
    to: Path = Path('runs/train')
    steps: int = 50_000
    batch_size: int = 32
    accumulate: int = 1
    part: Part = 'all'
    frozen_dtype: Dtype = 'bfloat16'
    ema_decay: float | None = 0.99
    max_delay_steps: int = 0
    seed: int = 42
    fsdp: int = 1
    log_every: int = 20
    validate_every: int = 500
    validation_batches: int = 8
    save_every: int = 1_000
    keep_every: int = 5_000
    resume: Literal['auto', 'never'] = 'auto'


def _tiny(preset: str) -> TrainConfig:
    """For two cores: small batch, high learning rate from random weights, everything in float32."""
    return TrainConfig(
        preset=preset,
        steps=2_000,
        batch_size=16,
        frozen_dtype='float32',
        optimizer=OptimizerConfig(peak=1e-3, end=1e-4, warmup_steps=100, decay_steps=2_000),
        validate_every=200,
        save_every=200,
    )


CONFIGS: dict[str, TrainConfig] = {
    'pi05': TrainConfig('pi05', steps=30_000),
    'pi05_lora': TrainConfig('pi05_lora', steps=30_000, ema_decay=None),
    'pi05_restac': TrainConfig('pi05_restac'),
    'pi05_restac_lora': TrainConfig('pi05_restac_lora', ema_decay=None),
    'pi05_restac_token_in_ae': TrainConfig('pi05_restac_token_in_ae'),
    'pi05_restac_token_in_ae_lora': TrainConfig('pi05_restac_token_in_ae_lora', ema_decay=None),
    'tiny': _tiny('tiny'),
    'tiny_forcevla': _tiny('tiny_forcevla'),
    'tiny_no_touch': _tiny('tiny_no_touch'),
}
"""The published runs, the control arm without touch, and small ones for a laptop."""

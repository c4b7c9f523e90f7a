"""`restac-ros distil`: a policy that plans its chunks in one or two Euler steps."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional

from restac_ros.commands.training import run_training
from restac_ros.training.config import (
    AugmentationConfig,
    DataConfig,
    DistilConfig,
    LoaderConfig,
    OptimizerConfig,
    TrainConfig,
)


@dataclass(frozen=True)
class Distil:
    """Teach a checkpoint to plan its chunks in fewer Euler steps; Ctrl-C saves, the same command continues.

    Attributes:
        checkpoint: teacher.
        datasets: LeRobot data sets, whose frames the chunks are planned for.
        to: directory of the run; the student lies in it as `checkpoint-N`.
        steps: Euler steps of the student.
        updates: training steps.
        batch_size: samples a training step, over all devices.
        noises: drawn for each sample, on one prefix.
        learning_rate: after the warm-up; falls to a tenth.
        ema_decay: of the moving average that is deployed.
        accumulate: micro-batches per training step.
        augment: change the images, as training does.
        validation_share: of the episodes, held out.
        log_every, validate_every, save_every: in training steps.
        seed: of samples and noise.
        fsdp: devices over which parameters are sharded.
        loader: how samples are loaded.
        allow_changes: resume a run although its settings were changed.
    """

    checkpoint: Annotated[Path, Positional]
    datasets: Annotated[list[Path], Positional]
    to: Path
    steps: Literal[1, 2] = 1
    updates: int = 2_000
    batch_size: int = 32
    noises: int = 4
    learning_rate: float = 1e-4
    ema_decay: float = 0.99
    accumulate: int = 1
    augment: bool = True
    validation_share: float = 0.1
    log_every: int = 20
    validate_every: int = 500
    save_every: int = 500
    seed: int = 42
    fsdp: int = 1
    loader: LoaderConfig = field(default_factory=LoaderConfig)
    allow_changes: bool = False

    def run(self) -> int:
        """Exit status."""
        return run_training(self.config())

    def config(self) -> TrainConfig:
        """Return the training that this is."""
        from restac_ros.model.checkpoint.store import load_info

        return TrainConfig(
            preset='as the checkpoint',
            distil=DistilConfig(self.steps, self.noises),
            init=self.checkpoint,
            data=DataConfig(datasets=tuple(self.datasets), validation_share=self.validation_share),
            to=self.to,
            steps=self.updates,
            batch_size=self.batch_size,
            accumulate=self.accumulate,
            part='flow',
            frozen_dtype=load_info(self.checkpoint, checksums=False).config.dtype,
            ema_decay=self.ema_decay,
            optimizer=OptimizerConfig(
                peak=self.learning_rate,
                end=self.learning_rate / 10,
                warmup_steps=self.updates // 20,
                decay_steps=self.updates,
            ),
            augmentation=AugmentationConfig(enabled=self.augment),
            log_every=self.log_every,
            validate_every=self.validate_every,
            save_every=self.save_every,
            seed=self.seed,
            fsdp=self.fsdp,
            loader=self.loader,
            allow_changes=self.allow_changes,
        )

"""Everything that a training of Unit-Align needs, checked before anything is compiled."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from restac_ros.contract.load import load_contract
from restac_ros.model.tactile.config import TactileConfig
from restac_ros.training.checks import check_one_meaning
from restac_ros.training.data.episodes import Episodes, chosen, open_episodes
from restac_ros.training.data.loader import validation_batches
from restac_ros.training.data.picture_cache import with_cache_of
from restac_ros.training.data.selection import FrameSelection, select
from restac_ros.training.errors import TrainingError
from restac_ros.training.run_identity import selection_digest
from restac_ros.training.tactile.config import STAGE_NAMES, StageName, TactileTrainConfig
from restac_ros.training.tactile.encoder_stage import EncoderStage
from restac_ros.training.tactile.event_stage import EventStage
from restac_ros.training.tactile.prophet_stage import ProphetStage
from restac_ros.training.tactile.samples import TouchBatch, TouchSource, check_touch_data
from restac_ros.training.tactile.stage import TouchStage
from restac_ros.training.tactile.trainee import TraineeLeaves

_RECENT_BATCHES = 4
_VALIDATION_FRAMES_PER_CODE = 10


@dataclass(frozen=True)
class PreparedTactile:
    """A run of all stages, ready to begin.

    Attributes:
        config: of the run.
        network: sizes.
        leaves: the network without its leaves.
        opened: data sets.
        selections: of each, which frames are trained on and which are held out.
        stages: in their order.
    """

    config: TactileTrainConfig
    network: TactileConfig
    leaves: TraineeLeaves
    opened: Sequence[Episodes]
    selections: Sequence[FrameSelection]
    stages: Sequence[TouchStage]

    def sources(self, reads_views: bool) -> list[TouchSource]:
        """Return the training samples of each data set."""
        return [
            TouchSource(episodes, selection.trained, number, reads_views)
            for number, (episodes, selection) in enumerate(zip(self.opened, self.selections, strict=True))
        ]

    def held_out(self, reads_views: bool) -> list[TouchBatch]:
        """Return equal batches of frames evenly spread over the held-out ones."""
        sources = [
            TouchSource(episodes, selection.validated, number, reads_views)
            for number, (episodes, selection) in enumerate(zip(self.opened, self.selections, strict=True))
            if len(selection.validated)
        ]
        frames = (
            self.config.validation_frames or _VALIDATION_FRAMES_PER_CODE * self.network.quantizer.num_codes
        )
        size = min(self.config.batch, sum(len(source) for source in sources))
        return validation_batches(sources, size, max(1, frames // size))

    def identity(self, stage: StageName) -> dict[str, Any]:
        """Return everything that the state of a stage depends on, earlier stages included."""
        config = self.config
        until = STAGE_NAMES[: STAGE_NAMES.index(stage) + 1]
        return {
            'data': [episodes.fingerprint for episodes in self.opened],
            'frames': [len(selection.trained) for selection in self.selections],
            'selection': [selection_digest(selection) for selection in self.selections],
            'network': self.network.to_dict(),
            'batch_size': config.batch,
            'seed': config.seed,
            'steps': {name: config.steps[name] for name in until},
            'optimizer': dataclasses.asdict(config.adam),
            'variance_warmup_share': config.variance_warmup_share,
            'codebook': dataclasses.asdict(config.codebook),
        }

    def describe(self) -> list[str]:
        """Return the lines to print before the first step."""
        lines = [
            f'{episodes.name}: {len(selection.trained)} frames, {len(selection.validated)} held out'
            for episodes, selection in zip(self.opened, self.selections, strict=True)
        ]
        config = self.config
        for name in STAGE_NAMES:
            steps = config.steps[name]
            lines.append(f'{name:<8} {steps} steps of {config.batch}; {config.adam.describe(steps)}')
        return lines


def prepare_tactile(
    config: TactileTrainConfig, datasets: Sequence[Path], show: Callable[[str], None] = lambda _: None
) -> PreparedTactile:
    """Open and check the LeRobot data sets of a run, which are mixed by their numbers of frames.

    `show` prints the progress of long work.

    Raises:
        TrainingError, DatasetError, ContractError, TactileConfigError: what can be refused before compiling,
            naming item, value, expectation and remedy.
    """
    _check_numbers(config)
    network = config.network
    if not datasets:
        raise TrainingError('datasets: found none, expected one or more LeRobot data sets')
    contract = None if config.contract is None else load_contract(config.contract)
    opened = [open_episodes(root, contract) for root in datasets]
    check_one_meaning(opened)
    for episodes in opened:
        check_touch_data(episodes)
    selections = [
        select(episodes, chosen(episodes, None), 1, config.validation_share, skip_idle=False)
        for episodes in opened
    ]
    _check_amount(config, network, selections)
    opened = with_cache_of(config.loader, opened, show)
    recent = max(_RECENT_BATCHES * config.batch, 2 * network.quantizer.num_codes)
    leaves = TraineeLeaves(network, recent)
    return PreparedTactile(config, network, leaves, opened, selections, _stages(config, network))


def _stages(config: TactileTrainConfig, network: TactileConfig) -> list[TouchStage]:
    codebook, steps = config.codebook, config.steps
    return [
        EncoderStage(),
        ProphetStage(mean_steps=round(config.variance_warmup_share * steps['prophet'])),
        EventStage(
            quantizer=network.quantizer,
            warmup_steps=round(codebook.warmup_share * steps['event']),
            vectors=codebook.vectors_per_code * network.quantizer.num_codes,
            batch_size=config.batch,
            restart_share=codebook.restart_share,
            restart_every=codebook.restart_every,
            seed=config.seed,
        ),
    ]


def _check_numbers(config: TactileTrainConfig) -> None:
    shares = {
        'variance_warmup_share': config.variance_warmup_share,
        'codebook.warmup_share': config.codebook.warmup_share,
        'codebook.restart_share': config.codebook.restart_share,
    }
    for name, value in shares.items():
        if not 0 <= value < 1:
            raise TrainingError(f'{name}: found {value:g}, expected at least 0 and below 1')
    if not config.adam.peak > 0 or not np.isfinite(config.adam.peak):
        raise TrainingError(f'learning_rate: found {config.adam.peak:g}, expected a number above 0')
    counts = {'batch_size': config.batch, 'codebook.vectors_per_code': config.codebook.vectors_per_code}
    counts |= {f'{name}_steps': count for name, count in config.steps.items()}
    frames = 1 if config.validation_frames is None else config.validation_frames
    counts |= {'validation_frames': frames, 'log_every': config.log_every}
    counts |= {'validate_every': config.validate_every, 'save_every': config.save_every}
    for name, count in counts.items():
        if count < 1:
            raise TrainingError(f'{name}: found {count}, expected 1 or more')
    _check_codebook_start(config)


def _check_codebook_start(config: TactileTrainConfig) -> None:
    """Refuse a warm-up that rounds to all steps of the events: the codebook would not be started."""
    share, steps = config.codebook.warmup_share, config.steps['event']
    if round(share * steps) >= steps:
        raise TrainingError(
            f'codebook.warmup_share: found {share:g}, which is all {steps} steps of stage event, expected '
            'fewer: the codebook is started after them; ask for less, or for more --event-steps'
        )


def _check_amount(
    config: TactileTrainConfig, network: TactileConfig, selections: Sequence[FrameSelection]
) -> None:
    trained, held_out = (
        sum(len(getattr(selection, side)) for selection in selections) for side in ('trained', 'validated')
    )
    codes = network.quantizer.num_codes
    if trained < codes:
        raise TrainingError(
            f'codebook: found {trained} frames to train on, expected at least one for each of {codes} codes; '
            'record more, or ask for fewer with --codebook.codes'
        )
    if not held_out:
        raise TrainingError(
            f'validation_share: found no held-out episode at {config.validation_share:g}, expected some to '
            'measure health on; record more, or hold out more with --validation-share'
        )
